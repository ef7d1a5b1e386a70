"""Which replicas the last decisions were about: who follows them need not look at all."""

from collections import deque
from collections.abc import Collection
from typing import Final

REMEMBERED: Final = 64
"""Decisions about a pool that are remembered; who has not looked for longer looks at everything."""


class Touched:
    """Ids of replicas that something was new of, or was decided otherwise of than before."""

    def __init__(self) -> None:
        """Begin with no decision."""
        self._number = 0
        self._pools: dict[str, deque[tuple[int | None, int, Collection[str]]]] = {}

    def add(self, pool: str, ids: Collection[str]) -> None:
        """Take in a decision about a pool."""
        known = self._pools.setdefault(pool, deque(maxlen=REMEMBERED))
        self._number += 1
        known.append((known[-1][1] if known else None, self._number, ids))

    def since(self, pool: str, number: int | None) -> tuple[int | None, Collection[str] | None]:
        """What decisions were about that came after one of them.

        Args:
            pool: Its name.
            number: Of that one; None: there was none.

        Returns:
            The number of the newest, None where there is none; and the ids of all that they were
            about, which may have gone. None: it may be all.
        """
        known = self._pools.get(pool)
        if not known:
            return None, ()
        newest = known[-1][1]
        if number is None or newest == number:
            return newest, None if number is None else ()
        after = [(before, ids) for before, each, ids in known if each > number]
        if not after or after[0][0] != number:
            return newest, None
        return newest, dict.fromkeys(id_ for _, ids in after for id_ in ids).keys()

    def forget(self, pool: str) -> None:
        """A pool has gone."""
        self._pools.pop(pool, None)
