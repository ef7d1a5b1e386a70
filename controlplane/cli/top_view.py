"""What of the replicas is looked at: filtered, sorted, and as many as there is room for. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from controlplane.client import Pool, ReplicaInShort

_BY: Final[Mapping[str, Callable[[ReplicaInShort], float | str | None]]] = {
    "replica": lambda it: it.id,
    "state": lambda it: (it.draining or "") + it.state,
    "tier": lambda it: it.tier,
    "share": lambda it: it.share,
    "capacity": lambda it: it.capacity,
    "rate": lambda it: it.rate_rps,
    "p99": lambda it: it.p99_ms,
    "in flight": lambda it: it.in_flight,
    "memory": lambda it: it.memory,
}
"""What replicas can be sorted by, in the order of the columns."""

_NAMES: Final = ("replica", "state", "tier")
"""Of these those that are texts: they begin with the first, numbers with the largest."""

_HEADLINES: Final = 5
"""Lines of a pool beside its replicas: its own, its classes, heads, how many more, a blank one."""
_FRAME: Final = 4
"""Lines of the screen beside pools."""

HELP: Final = "q quits, ↑↓ scroll, ←→ sort, r reverse, / filter"


class Slice(NamedTuple):
    """The replicas of a pool that are shown.

    Attributes:
        ids: In their order.
        found: How many pass the filter.
        after: The id before the first, where the order is that of the API; None: from the first on.
        is_plain: The order is that of the API, and nobody is left out between two.
    """

    pool: Pool
    ids: tuple[str, ...]
    found: int
    after: str | None
    is_plain: bool


@dataclass(frozen=True, slots=True)
class View:
    """What somebody wants to see.

    Attributes:
        first: Replicas that are scrolled past, over all pools.
        sort: A key of `_BY`.
        is_reversed: The last or the smallest come first.
        words: That a replica must have, each somewhere; empty: all are shown.
        is_typing: Keys go into `words`.
    """

    first: int = 0
    sort: str = "replica"
    is_reversed: bool = False
    words: str = ""
    is_typing: bool = False

    @property
    def title(self) -> str:
        """Say what is filtered and sorted, and which keys there are."""
        if self.is_typing:
            return f"filter: {self.words}_  (Enter keeps, Esc clears)"
        arrow = "↓" if self.is_reversed == (self.sort in _NAMES) else "↑"
        sort = f"by {self.sort} {arrow}  " if self.sort != "replica" or self.is_reversed else ""
        return f"{f'filter: {self.words}  ' if self.words else ''}{sort}{HELP}"

    def pressed(self, key: str, page: int) -> "View":
        """The view after a key; see `keyboard.keys`.

        Args:
            key: A character, or the name of a key.
            page: Replicas that are shown.
        """
        if self.is_typing:
            return self._typed(key)
        names = tuple(_BY)
        moves = {"j": 1, "down": 1, "k": -1, "up": -1, " ": page, "page down": page}
        moves |= {"page up": -page, "g": -self.first, "home": -self.first}
        if key in moves:
            return replace(self, first=max(0, self.first + moves[key]))
        if key in ("G", "end"):
            return replace(self, first=_END)
        if key in ("left", "<", "right", ">"):
            step = 1 if key in ("right", ">") else -1
            sort = names[(names.index(self.sort) + step) % len(names)]
            return replace(self, sort=sort, is_reversed=False, first=0)
        if key == "r":
            return replace(self, is_reversed=not self.is_reversed, first=0)
        if key == "/":
            return replace(self, is_typing=True)
        return replace(self, words="", first=0) if key == "escape" else self

    def _typed(self, key: str) -> "View":
        if key == "enter":
            return replace(self, is_typing=False)
        if key == "escape":
            return replace(self, is_typing=False, words="", first=0)
        if key == "backspace":
            return replace(self, words=self.words[:-1], first=0)
        typed = key if len(key) == 1 and key.isprintable() else ""
        return replace(self, words=self.words + typed, first=0)

    def chosen(self, pool: Pool) -> list[str]:
        """The ids of the replicas that pass the filter, in the order that is wanted."""
        words = self.words.lower().split()
        found = [it for it in pool.replicas if all(word in _text(pool, it) for word in words)]
        by = _BY[self.sort]
        known = [(value, it.id) for it in found if (value := by(it)) is not None]
        known.sort(key=lambda each: each[0], reverse=self.is_reversed == (self.sort in _NAMES))
        # What is unknown comes last, whichever way.
        return [*(id_ for _, id_ in known), *(it.id for it in found if by(it) is None)]


_END: Final = 10**9


def _text(pool: Pool, it: ReplicaInShort) -> str:
    odd = ("cut" if it.drained else "", "stale" if it.stale else "")
    draining = f"draining ({it.draining})" if it.draining else ""
    words = (pool.name, it.id, it.address, it.state, draining, it.tier or "", *it.classes, *odd)
    return " ".join(words).lower()


def slices(
    pools: Sequence[Pool], view: View, height: int | None
) -> tuple[tuple[Slice, ...], View, int]:
    """Choose what is shown.

    Args:
        pools: With their replicas in short.
        view: What is wanted.
        height: Lines of the terminal; None: all is shown.

    Returns:
        What is shown of each pool, the view that does not scroll past the end, and how many pass
        the filter in all.
    """
    chosen = [view.chosen(pool) for pool in pools]
    total = sum(map(len, chosen))
    view = replace(view, first=min(view.first, max(0, _last(chosen, height))))
    is_plain = view.sort == "replica" and not view.is_reversed and not view.words
    skip, left, found = view.first, None if height is None else height - _FRAME, list[Slice]()
    for pool, ids in zip(pools, chosen, strict=True):
        if skip >= len(ids) > 0 or (left is not None and left <= _HEADLINES and found):
            skip -= min(skip, len(ids))
            continue
        room = len(ids) if left is None else max(1, left - _HEADLINES)
        shown = tuple(ids[skip : skip + room])
        after = ids[skip - 1] if skip else None
        found.append(Slice(pool, shown, len(ids), after, is_plain))
        skip, left = 0, None if left is None else left - _HEADLINES - len(shown)
    return tuple(found), view, total


def _last(chosen: Sequence[Sequence[str]], height: int | None) -> int:
    """How far one can scroll: the last replica is then the last line."""
    if height is None:
        return 0
    last = next((len(ids) for ids in reversed(chosen) if ids), 0)
    return sum(map(len, chosen)) - min(last, max(1, height - _FRAME - _HEADLINES))
