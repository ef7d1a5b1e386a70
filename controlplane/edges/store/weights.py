"""Writes down what Envoys were told, and what that rests on, so that a restart changes nothing.

What Envoys were told is written soon after it has changed; what is only known better by now, from
time to time. In between, and if the disk fails, nothing waits for it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from controlplane.balancing import Decision
from controlplane.balancing.restart import differing, pool_data, replica_data
from controlplane.edges.store.database import Weighing as Row
from controlplane.edges.store.errors import WriteError
from controlplane.edges.store.rows import KeptPool, weighing_row
from controlplane.edges.store.store import Store
from controlplane.plane import Plane, RememberedPool
from controlplane.resources.classes import Parting

SOON: Final = 1.0
"""Seconds between two writes of what Envoys were told."""

FULL: Final = 30.0
"""Seconds between two writes of everything that has changed."""

_Told: TypeAlias = tuple[str, int, bool, int, bool]
"""Tier, weight, whether it is drained, generation, whether Envoys know of it."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was written last of a pool.

    Attributes:
        number: Of the decision of which what Envoys were told is written, by `Plane.touched`.
        told: Of every replica, by id.
        parting: How requests are parted into classes.
        full: The last decision of which everything is written, without its frame.
    """

    number: int | None
    told: Mapping[str, _Told]
    parting: Parting | None
    full: Decision | None


class WeightKeeper:
    """Follows the decisions of a plane; `run` it, and `save` before the end."""

    def __init__(
        self,
        plane: Plane,
        store: Store,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """Prepare.

        Args:
            plane: Decides.
            store: Where it is kept.
            clock: Seconds that never go back.
            wall_clock: Seconds since 1970.
        """
        self._plane, self._store = plane, store
        self._clock, self._wall_clock = clock, wall_clock
        self._kept: dict[str, _Kept] = {}
        self._begun = store.begun
        self._full_at = clock() + FULL

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        while True:
            await asyncio.sleep(SOON)
            is_full = self._clock() >= self._full_at
            if is_full:
                self._full_at = self._clock() + FULL
            await self.save(everything=is_full)

    async def save(self, *, everything: bool = True) -> None:
        """Write what has changed.

        Args:
            everything: And not only what Envoys were told.
        """
        if self._begun != self._store.begun:
            # Nothing of what was written before is in the file that is there now.
            self._begun, self._kept = self._store.begun, {}
        now, jobs, kept = self._wall_clock(), list[_Job](), dict[str, _Kept]()
        for name in self._plane.fleet.pools:
            decision, before = self._plane.decision(name), self._kept.get(name)
            if decision is None:
                continue
            number, touched = self._plane.touched(name, before.number if before else None)
            if before is not None and before.number == number:
                continue
            old = before.told if before else {}
            told = new = _told(decision, self._plane.remembered(name, touched))
            ids = {id_ for id_, each in new.items() if each != old.get(id_)}
            if touched is not None:
                told = {**old, **new}
                for id_ in touched:
                    if id_ not in new:
                        told.pop(id_, None)
            if everything:
                ids |= self._stale(name, decision, told)
            parting = self._plane.parting(name)
            is_told = bool(ids) or (before is not None and parting != before.parting)
            if is_told:
                jobs.append(_Job(name, decision, {id_: told[id_] for id_ in ids}))
            if everything or is_told:
                full = before.full if before is not None else None
                if everything:
                    full = replace(decision, frame=None)
                kept[name] = _Kept(number, told, parting, full)
        if not jobs:
            return
        # A disk that fails is told of by the store; this is tried again in any case.
        with suppress(WriteError):
            await self._store.keep(lambda: [row for job in jobs for row in job.rows(now)])
            self._kept |= kept
        self._kept = {
            name: it for name, it in self._kept.items() if name in self._plane.fleet.pools
        }

    def _stale(self, name: str, decision: Decision, told: Mapping[str, _Told]) -> Set[str]:
        """The replicas of a pool of which something is known that is not written."""
        before = self._kept.get(name)
        full = before.full if before else None
        # What has gone since has no row any more.
        there = self._plane.fleet.pools[name].replicas
        return {id_ for id_ in differing(full, decision) if id_ in told and id_ in there}


@dataclass(frozen=True, slots=True)
class _Job:
    """Replicas of a pool whose rows are to be made, in another thread: nothing here changes."""

    pool: str
    decision: Decision
    told: Mapping[str, _Told]

    def rows(self, now: float) -> Sequence[Row]:
        found = [(self.pool, "", now, weighing_row(pool_data(self.decision)))]
        for id_, (_, _, _, generation, shown) in self.told.items():
            data = {
                "generation": generation,
                "shown": shown,
                "weighing": replica_data(self.decision, id_),
            }
            found.append((self.pool, id_, now, weighing_row(data)))
        return found


def _told(decision: Decision, known: Mapping[str, tuple[int, bool]]) -> dict[str, _Told]:
    weights, drained = decision.weight.tolist(), decision.drained.tolist()
    return {
        id_: (decision.tier_of(row), weights[row], drained[row], *of)
        for id_, of in known.items()
        if (row := decision.rows.get(id_)) is not None
    }


def remembered(kept: Mapping[str, KeptPool], wall_now: float) -> dict[str, RememberedPool]:
    """Kept weighings as a plane takes them up.

    Args:
        kept: As read from the store.
        wall_now: Seconds since 1970; where the clock was set back, nothing has an age.
    """
    return {
        name: RememberedPool(max(wall_now - pool.kept_at, 0.0), pool.weighing, pool.replicas)
        for name, pool in kept.items()
    }
