"""What `plimsoll top` shows: filtered and sorted replicas that fit the screen, and their moves."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from controlplane.client import Client, NotFoundError, Pool, Replica, ReplicaInShort

_SORTS: Final[Mapping[str, Callable[[ReplicaInShort], float | str | None]]] = {
    "replica": lambda replica: replica.id,
    "state": lambda replica: (replica.draining or "") + replica.state,
    "tier": lambda replica: replica.tier,
    "share": lambda replica: replica.share,
    "capacity": lambda replica: replica.capacity,
    "rate": lambda replica: replica.rate_rps,
    "p99": lambda replica: replica.p99_ms,
    "in flight": lambda replica: replica.in_flight,
    "memory": lambda replica: replica.memory,
}
"""What replicas can be sorted by, in the order of the columns."""

_TEXTS: Final = ("replica", "state", "tier")
"""Texts are sorted from the first on, numbers from the largest on."""

_POOL_LINES: Final = 5
"""Lines of a pool beside its replicas: headline, classes, heads, how many more, a blank line."""
_FRAME_LINES: Final = 4
"""Lines of the screen beside pools."""

_END: Final = 10**9

HELP: Final = "q quits, ↑↓ scroll, ←→ sort, r reverse, / filter"


@dataclass(frozen=True, slots=True)
class View:
    """What the user wants to see.

    Attributes:
        first: Replicas that are scrolled past, over all pools.
        is_reversed: The last or the smallest come first.
        words: The filter: a replica must have each word somewhere.
    """

    first: int = 0
    sort: str = "replica"
    is_reversed: bool = False
    words: str = ""
    is_typing: bool = False

    @property
    def title(self) -> str:
        """What is filtered and sorted, and which keys there are."""
        if self.is_typing:
            return f"filter: {self.words}_  (Enter keeps, Esc clears)"
        arrow = "↓" if self.is_reversed == (self.sort in _TEXTS) else "↑"
        sort = f"by {self.sort} {arrow}  " if self.sort != "replica" or self.is_reversed else ""
        return f"{f'filter: {self.words}  ' if self.words else ''}{sort}{HELP}"

    def pressed(self, key: str, page: int) -> "View":
        """The view after a key, a character or a name from `top.keys`; `page`: replicas shown."""
        if self.is_typing:
            return self._typed(key)
        names = tuple(_SORTS)
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

    def selected(self, pool: Pool) -> list[str]:
        """The ids of the replicas that pass the filter, sorted; unknown values come last."""
        words, key = self.words.lower().split(), _SORTS[self.sort]
        found = [each for each in pool.replicas if all(word in _text(pool, each) for word in words)]
        known = [(value, each.id) for each in found if (value := key(each)) is not None]
        known.sort(key=lambda each: each[0], reverse=self.is_reversed == (self.sort in _TEXTS))
        return [*(id_ for _, id_ in known), *(each.id for each in found if key(each) is None)]


def _text(pool: Pool, replica: ReplicaInShort) -> str:
    """What the filter searches."""
    draining = f"draining ({replica.draining})" if replica.draining else ""
    flags = ("cut" if replica.drained else "", "stale" if replica.stale else "")
    words = (pool.name, replica.id, replica.address, replica.state, draining, replica.tier or "")
    return " ".join((*words, *replica.classes, *flags)).lower()


class Slice(NamedTuple):
    """The replicas of a pool that are shown.

    Attributes:
        found: How many pass the filter.
        after: The id before the first, where the order is that of the API; None: from the first on.
        is_plain: The order is that of the API, and no replica is left out between two.
    """

    pool: Pool
    ids: tuple[str, ...]
    found: int
    after: str | None
    is_plain: bool


def slices(
    pools: Sequence[Pool], view: View, height: int | None
) -> tuple[tuple[Slice, ...], View, int]:
    """Choose what is shown in `height` lines; None: everything.

    Returns:
        What is shown of each pool, the view that does not scroll past the end, and how many pass
        the filter in all.
    """
    selected = [view.selected(pool) for pool in pools]
    total = sum(map(len, selected))
    view = replace(view, first=min(view.first, max(0, _last_first(selected, height))))
    is_plain = view.sort == "replica" and not view.is_reversed and not view.words
    skip, left, found = view.first, None if height is None else height - _FRAME_LINES, list[Slice]()
    for pool, ids in zip(pools, selected, strict=True):
        if skip >= len(ids) > 0 or (left is not None and left <= _POOL_LINES and found):
            skip -= min(skip, len(ids))
            continue
        room = len(ids) if left is None else max(1, left - _POOL_LINES)
        shown = tuple(ids[skip : skip + room])
        after = ids[skip - 1] if skip else None
        found.append(Slice(pool, shown, len(ids), after, is_plain))
        skip, left = 0, None if left is None else left - _POOL_LINES - len(shown)
    return tuple(found), view, total


def _last_first(selected: Sequence[Sequence[str]], height: int | None) -> int:
    """The largest `View.first`: the last replica is then the last line."""
    if height is None:
        return 0
    last = next((len(ids) for ids in reversed(selected) if ids), 0)
    return sum(map(len, selected)) - min(last, max(1, height - _FRAME_LINES - _POOL_LINES))


_SINCE: Final = "10m"
"""How far back a move is of interest."""

_HISTORIES: Final = 24
"""Histories that one poll asks for; the next polls ask for the rest of a large fleet."""

_HISTORIES_ONCE: Final = 500
"""The same for a poll that is the only one: each takes some milliseconds."""

_PAGE: Final = 500
"""Replicas in one request."""

_DOCUMENTED: Final = (
    *("id", "state", "draining", "tier", "weight", "share", "capacity", "capacity_tokens"),
)


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
    def rate_rps(self) -> float | None:
        """Requests per second, by its own metrics."""
        return self.replica.reading("rate_rps")

    @property
    def p99_ms(self) -> float | None:
        return self.replica.reading("p99_ms")

    @property
    def in_flight(self) -> float | None:
        """Requests at it, by load reports or, where there are none, by its own metrics."""
        known = self.replica.in_flight
        return self.replica.reading("in_flight") if known is None else known

    @property
    def memory(self) -> float | None:
        """The part of its fullest GPU that is in use, 0 to 1."""
        sources = (self.replica.readings, self.replica.joined)
        gpus = (gpu.fraction for each in sources if each is not None for gpu in each.memory)
        return max((part for part in gpus if part is not None), default=None)

    @property
    def why(self) -> str | None:
        """Why its share moved last, or what keeps requests away from it."""
        replica = self.replica
        if replica.state != "ready" and replica.why:
            return replica.why[0]
        if self.moved is None and (replica.drained or replica.stale or replica.draining):
            return replica.why[0] if replica.why else None
        return self.moved

    def document(self) -> dict[str, Any]:
        """As plain data, with the API's names."""
        return {
            **{key: getattr(self.replica, key) for key in _DOCUMENTED},
            "classes": list(self.replica.classes),
            "rate_rps": self.rate_rps,
            "p99_ms": self.p99_ms,
            "in_flight": self.in_flight,
            "memory": self.memory,
            "why": self.why,
            "moved_ago_s": self.moved_ago,
        }


class PoolRows(NamedTuple):
    """A pool, the replicas that there is room for, and how many pass the filter."""

    pool: Pool
    rows: tuple[Row, ...]
    found: int


class Poller:
    """Asks again and again, and remembers why replicas moved; `total` of them pass the filter."""

    def __init__(self, client: Client, pools: Sequence[str]) -> None:
        """Poll some pools by name; none: all of them."""
        self._client, self._pools = client, pools
        self.view, self.total = View(), 0
        self._weighed: dict[tuple[str, str], tuple[object, ...]] = {}
        self._moves: dict[tuple[str, str], tuple[str, float]] = {}

    async def poll(self, height: int | None = None) -> tuple[PoolRows, ...]:
        """Ask once for what fits in `height` lines; None: everything."""
        named = [await self._client.pool(name) for name in self._pools]
        pools = named or await self._client.pools()
        shown, left = list[PoolRows](), _HISTORIES_ONCE if height is None else _HISTORIES
        wanted = self.view
        found, view, self.total = slices(pools, wanted, height)
        for each in found:
            rows = []
            for replica in await self._read(each):
                left = await self._learn(replica, left)
                rows.append(self._row(replica))
            shown.append(PoolRows(each.pool, tuple(rows), each.found))
        # A key may have been pressed meanwhile.
        self.view = view if self.view == wanted else self.view
        return tuple(shown)

    async def _read(self, wanted: Slice) -> list[Replica]:
        """Read replicas: in one list where they are neighbours in the API's list.

        A replica that has gone meanwhile is left out.
        """
        name, ids = wanted.pool.name, wanted.ids
        if not wanted.is_plain:
            asked = (self._client.replica(name, id_) for id_ in ids)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, NotFoundError):
                    raise answer
            return [answer for answer in answers if not isinstance(answer, BaseException)]
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
        weighed = (
            *(replica.generation, replica.weight, replica.tier),
            *(replica.draining, replica.drained, replica.stale),
        )
        if self._weighed.get(key) == weighed or left == 0:
            return left
        try:
            history = await self._client.history(*key, since=_SINCE)
        except NotFoundError:
            return left  # It has gone meanwhile.
        self._weighed[key] = weighed
        now = time.monotonic()
        for entry in reversed(history.entries):
            # The beginning of the record is no move.
            if entry.changes and not entry.changes[0].startswith("the record begins"):
                self._moves[key] = (entry.changes[0], now - entry.age_s)
                break
        return left - 1

    def _row(self, replica: Replica) -> Row:
        moved = self._moves.get((replica.pool, replica.id))
        if moved is None:
            return Row(replica)
        return Row(replica, moved[0], time.monotonic() - moved[1])
