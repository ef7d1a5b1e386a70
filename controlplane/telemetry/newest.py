"""A cache that is bounded by how much it holds, and not by how many."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Newest(Generic[K, V]):
    """What was used last, as far as there is room for it."""

    def __init__(self, most: int, room: int) -> None:
        """Begin with nothing.

        Args:
            most: Entries that are kept.
            room: What their sizes may come to altogether.
        """
        self._most, self._room = most, room
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._size = 0

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    def get(self, key: K) -> V | None:
        """What is kept; None where there is nothing."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep something, the newest even where it is larger than all of the room."""
        _, before = self._kept.pop(key, (None, 0))
        self._kept[key] = value, size
        self._size += size - before
        while len(self._kept) > self._most or (self._size > self._room and len(self._kept) > 1):
            _, (_, gone) = self._kept.popitem(last=False)
            self._size -= gone

    def clear(self) -> None:
        """Keep nothing of it."""
        self._kept.clear()
        self._size = 0
