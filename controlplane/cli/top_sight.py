"""What ``plimsoll top`` sees at a moment: pools, their replicas, and why these moved last."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from controlplane.cli.top_view import Slice, View, slices
from controlplane.client import Client, NotFoundError, Pool, Replica

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
