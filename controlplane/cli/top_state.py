"""What `plimsoll top` shows: filtered and sorted replicas that fit the screen, and their moves."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from controlplane.client import Client, NotFoundError, Pool, Replica, ReplicaInShort

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


_SINCE: Final = "10m"
"""How far back a move is of interest."""

_AT_ONCE: Final = 24
"""Histories that are asked for in one look; of a large fleet the others come with the next ones."""

_PAGE: Final = 500
"""Replicas that are asked for at once."""

_IN_ALL: Final = 500
"""Of one look that is the only one: each takes some milliseconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A replica.

    Attributes:
        moved: Why its share moved last; None if it did not.
        moved_ago: Seconds since then.
    """

    replica: Replica
    moved: str | None = None
    moved_ago: float | None = None

    @property
    def in_flight(self) -> float | None:
        """Requests at it, by load reports or, where there are none, by its own metrics."""
        readings = self.replica.readings
        if self.replica.in_flight is not None or readings is None:
            return self.replica.in_flight
        return readings.in_flight

    @property
    def memory(self) -> float | None:
        """Of the fullest of its GPUs, 0 to 1."""
        sources = (self.replica.readings, self.replica.joined)
        gpus = (gpu.fraction for each in sources if each is not None for gpu in each.memory)
        return max((part for part in gpus if part is not None), default=None)

    @property
    def why(self) -> str | None:
        """Why it moved last, or what keeps requests away from it."""
        replica = self.replica
        if replica.state != "ready" and replica.why:
            return replica.why[0]
        if self.moved is None and (replica.drained or replica.stale or replica.draining):
            return replica.why[0] if replica.why else None
        return self.moved

    def document(self) -> dict[str, Any]:
        """As plain data, with the API's names."""
        replica, readings = self.replica, self.replica.readings
        return {
            "id": replica.id,
            "state": replica.state,
            "draining": replica.draining,
            "tier": replica.tier,
            "weight": replica.weight,
            "share": replica.share,
            "capacity": replica.capacity,
            "capacity_tokens": replica.capacity_tokens,
            "classes": list(replica.classes),
            "rate_rps": readings.rate_rps if readings else None,
            "p99_ms": readings.p99_ms if readings else None,
            "in_flight": self.in_flight,
            "memory": self.memory,
            "why": self.why,
            "moved_ago_s": self.moved_ago,
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """A pool and its replicas.

    Attributes:
        rows: As many as there was room for.
        found: How many pass the filter.
    """

    pool: Pool
    rows: tuple[Row, ...]
    found: int


class Looker:
    """Looks at the control plane again and again, and remembers what it was told of moves.

    Attributes:
        view: What is looked at.
        total: How many replicas pass its filter.
    """

    def __init__(self, client: Client, pools: Sequence[str]) -> None:
        """Look at nothing yet.

        Args:
            client: To ask.
            pools: Their names; none: all of them.
        """
        self._client, self._pools = client, pools
        self.view, self.total = View(), 0
        self._standings: dict[tuple[str, str], tuple[object, ...]] = {}
        self._moves: dict[tuple[str, str], tuple[str, float]] = {}

    async def look(self, height: int | None = None) -> tuple[Shown, ...]:
        """Look once.

        Args:
            height: Lines of the terminal; None: all replicas are shown.
        """
        named = [await self._client.pool(name) for name in self._pools]
        pools = named or await self._client.pools()
        shown, left = list[Shown](), _IN_ALL if height is None else _AT_ONCE
        wanted = self.view
        found, view, self.total = slices(pools, wanted, height)
        for each in found:
            rows = []
            for replica in await self._read(each):
                left = await self._learn(replica, left)
                rows.append(self._row(replica))
            shown.append(Shown(each.pool, tuple(rows), each.found))
        # A key may have been pressed meanwhile.
        self.view = view if self.view == wanted else self.view
        return tuple(shown)

    async def _read(self, wanted: Slice) -> list[Replica]:
        """Ask for everything about replicas: at once where they stand together in the API's list.

        One that has gone meanwhile is left out.
        """
        name, ids = wanted.pool.name, wanted.ids
        if not wanted.is_plain:
            asked = (self._client.replica(name, id_) for id_ in ids)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, NotFoundError):
                    raise answer
            return [it for it in answers if not isinstance(it, BaseException)]
        found: list[Replica] = []
        if ids:
            page = self._client.each_replica(name, page=min(len(ids), _PAGE), after=wanted.after)
            async for replica in page:
                found.append(replica)
                if len(found) >= len(ids):
                    break
        return found

    async def _learn(self, replica: Replica, left: int) -> int:
        """Ask why a replica moved, if it did; returns how many may still be asked about."""
        key = (replica.pool, replica.id)
        standing = (
            replica.generation,
            replica.weight,
            replica.tier,
            replica.draining,
            replica.drained,
            replica.stale,
        )
        if self._standings.get(key) == standing or left == 0:
            return left
        try:
            told = await self._client.history(*key, since=_SINCE)
        except NotFoundError:
            return left  # It has gone meanwhile.
        self._standings[key] = standing
        now = time.monotonic()
        for entry in reversed(told.entries):
            # A record that begins is no move.
            if entry.changes and not entry.changes[0].startswith("the record begins"):
                self._moves[key] = (entry.changes[0], now - entry.age_s)
                break
        return left - 1

    def _row(self, replica: Replica) -> Row:
        moved = self._moves.get((replica.pool, replica.id))
        if moved is None:
            return Row(replica)
        return Row(replica, moved[0], time.monotonic() - moved[1])
