"""A map that never changes: each change makes another one, which shares all the rest with it.

The entries lie in buckets, about the square root of their number of them. A change copies the list
of buckets and one bucket, and two versions are compared by looking for the buckets that they do not
share. So both grow with what has changed, and not with what there is.
"""

from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping, ValuesView
from itertools import chain
from typing import Final, Self, TypeVar
from zlib import crc32

V = TypeVar("V")

ONE_BUCKET: Final = 64
"""Up to so many entries lie in one bucket, and keep the order in which they came."""


class PersistentMap(Mapping[str, V]):
    """Values by text. Versions of one map may be kept and read for ever; none is ever changed."""

    __slots__ = ("_buckets", "_size")

    def __init__(self, entries: Mapping[str, V] | None = None) -> None:
        """Begin with these entries; a mapping that is changed later changes nothing here."""
        self._buckets: tuple[dict[str, V], ...] = ({},)
        self._size = 0
        if entries:
            self._fill(_spread(entries.items(), _width(len(entries))), len(entries))

    def __getitem__(self, key: str) -> V:
        return self._buckets[_place(key, len(self._buckets))][key]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._buckets[_place(key, len(self._buckets))]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._buckets)

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PersistentMap) and self._size == other._size:
            return all(
                key in self and key in other and self[key] == other[key]
                for key in self.differing(other)
            )
        return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]  # its values need not have one

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self.items())!r})"

    def values(self) -> ValuesView[V]:
        """All values, in the order of the keys."""
        return _Values(self)

    def items(self) -> ItemsView[str, V]:
        """All entries, in the same order."""
        return _Items(self)

    def some(self, keys: Collection[str] | None) -> Iterable[tuple[str, V]]:
        """The entries of these keys, without those that it does not have; None: all entries."""
        if keys is None:
            return self.items()
        return ((key, self[key]) for key in keys if key in self)

    def updated(self, put: Mapping[str, V], gone: Collection[str] = ()) -> Self:
        """The map with these entries put and these keys gone, whether they were there or not.

        Args:
            put: Entries that are added or replaced.
            gone: Keys; of one that is put as well, what is put is there.
        """
        buckets, width = list(self._buckets), len(self._buckets)
        copied: set[int] = set()

        def bucket(key: str) -> dict[str, V]:
            place = _place(key, width)
            if place not in copied:
                copied.add(place)
                buckets[place] = buckets[place].copy()
            return buckets[place]

        size = self._size
        for key in gone:
            if key in (found := bucket(key)):
                del found[key]
                size -= 1
        for key, value in put.items():
            found = bucket(key)
            size += key not in found
            found[key] = value
        made = self.__class__.__new__(self.__class__)
        wanted = _width(size)
        # Narrower only once it is far too wide: at a limit nothing is to be spread time and again.
        if wanted > width or wanted * 4 <= width:
            entries = chain.from_iterable(it.items() for it in buckets)
            buckets = list(_spread(entries, wanted))
        made._fill(buckets, size)
        return made

    def differing(self, other: "PersistentMap[V]") -> Iterator[str]:
        """The keys that only one of the two has, or with another object as their value.

        The work grows with the buckets that the two do not share.
        """
        pairs: Iterable[tuple[Mapping[str, V], Mapping[str, V]]]
        if len(self._buckets) == len(other._buckets):
            pairs = zip(self._buckets, other._buckets, strict=True)
        else:
            pairs = ((self, other),)
        for mine, others in pairs:
            if mine is others:
                continue
            yield from (key for key in mine if key not in others or mine[key] is not others[key])
            yield from (key for key in others if key not in mine)

    def _fill(self, buckets: Iterable[dict[str, V]], size: int) -> None:
        self._buckets, self._size = tuple(buckets), size


class _Items(ItemsView[str, V]):
    """As those of the mixin, but they look up every key."""

    _mapping: PersistentMap[V]

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return chain.from_iterable(it.items() for it in self._mapping._buckets)


class _Values(ValuesView[V]):
    """As above."""

    _mapping: PersistentMap[V]

    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(it.values() for it in self._mapping._buckets)


def _place(key: str, width: int) -> int:
    """Of a key's bucket; not by `hash`, which would be another one in every process."""
    return crc32(key.encode("utf-8", "surrogatepass")) & (width - 1) if width > 1 else 0


def _width(size: int) -> int:
    """How many buckets, a power of two: 128 for 10,000 entries."""
    return 1 if size <= ONE_BUCKET else 1 << size.bit_length() // 2


def _spread(entries: Iterable[tuple[str, V]], width: int) -> list[dict[str, V]]:
    buckets: list[dict[str, V]] = [{} for _ in range(width)]
    for key, value in entries:
        buckets[_place(key, width)][key] = value
    return buckets
