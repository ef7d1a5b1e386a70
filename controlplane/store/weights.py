"""Writes down what Envoys were sent, and what that rests on, so that a restart changes nothing.

What Envoys were sent is written soon after it has changed; what is only known better by now, from
time to time. In between, and if the disk fails, nothing waits for it.
"""

import asyncio
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias

from controlplane.balancing import Decision
from controlplane.balancing.restart import differing, pool_data, replica_data
from controlplane.plane import Plane
from controlplane.resources.classes import Parting
from controlplane.store.database import Weighing as Row
from controlplane.store.store import Store
from controlplane.store.tables import WriteError, as_text

SOON: Final = 1.0
"""Seconds between two writes of what Envoys were sent."""

FULL: Final = 30.0
"""Seconds between two writes of everything that has changed."""

_Shown: TypeAlias = tuple[str, int, bool, int, bool]
"""Tier, weight, whether it is drained, generation, whether Envoys know of it."""


@dataclass(frozen=True, slots=True)
class _Written:
    """The last state of a pool that was written; `full`: the last decision written in full."""

    shown: Mapping[str, _Shown]
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
        """Prepare to write to a store; the wall clock counts seconds since 1970."""
        self._plane, self._store = plane, store
        self._clock, self._wall_clock = clock, wall_clock
        self._written: dict[str, _Written] = {}
        # Of what decisions were made since it was written: what Envoys were sent, and the rest.
        self._dirty = plane.follow()
        self._behind: set[str] = set()
        self._dirty.add(plane.fleet.pools)
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
        """Write what has changed: all of it, or only what Envoys were sent."""
        if self._begun != self._store.begun:
            # Nothing of what was written before is in the file that is there now.
            self._begun, self._written = self._store.begun, {}
            self._dirty.add(self._plane.fleet.pools)
        taken = self._dirty.taken()
        self._behind |= taken.keys()
        now, written = self._wall_clock(), dict[str, _Written]()
        jobs = list[Callable[[], list[Row]]]()
        for name in self._behind if everything else taken:
            decision, before = self._plane.decision(name), self._written.get(name)
            if decision is None:
                continue
            ids = taken.get(name, set[str]()) if before is not None else None
            shown = new = _shown_of(decision, self._plane.restart_state(name, ids))
            old = before.shown if before is not None and ids is not None else {}
            changed = {id_ for id_, each in new.items() if each != old.get(id_)}
            if before is not None:
                shown = {**before.shown, **new}
                for id_ in (ids or set()) - new.keys():
                    shown.pop(id_, None)
            if everything:
                changed |= self._stale(name, decision, shown)
            parting = self._plane.parting(name)
            if changed or (before is not None and parting != before.parting):
                data = self._plane.scalings.data(name)
                of_changed = {id_: shown[id_] for id_ in changed}
                jobs.append(partial(_rows, name, decision, of_changed, data, now))
            full = before.full if before is not None else None
            written[name] = _Written(
                shown, parting, replace(decision, frame=None) if everything else full
            )
        try:
            if jobs:
                await self._store.keep(lambda: [row for job in jobs for row in job()])
        except WriteError:
            # The store logs the failure; the next save tries again.
            self._dirty.add_replicas(taken)
        else:
            self._written |= written
            if everything:
                self._behind.clear()
        pools = self._plane.fleet.pools
        self._behind &= pools.keys()
        self._written = {name: each for name, each in self._written.items() if name in pools}

    def _stale(self, name: str, decision: Decision, shown: Mapping[str, _Shown]) -> Set[str]:
        """The replicas of a pool whose newest decision is not written."""
        before = self._written.get(name)
        full = before.full if before else None
        # What has gone since has no row any more.
        there = self._plane.fleet.pools[name].replicas
        return {id_ for id_ in differing(full, decision) if id_ in shown and id_ in there}


def _rows(
    pool: str,
    decision: Decision,
    known: Mapping[str, _Shown],
    scaling: Mapping[str, Any],
    now: float,
) -> list[Row]:
    """Make the rows of replicas of a pool, in another thread: nothing here changes."""
    found = [(pool, "", now, as_text({**pool_data(decision), **scaling}))]
    for id_, (_, _, _, generation, shown) in known.items():
        weighing = replica_data(decision, id_)
        data = {"generation": generation, "shown": shown, "weighing": weighing}
        found.append((pool, id_, now, as_text(data)))
    return found


def _shown_of(decision: Decision, known: Mapping[str, tuple[int, bool]]) -> dict[str, _Shown]:
    weights, drained = decision.weight.tolist(), decision.drained.tolist()
    return {
        id_: (decision.tier_of(row), weights[row], drained[row], *of)
        for id_, of in known.items()
        if (row := decision.rows.get(id_)) is not None
    }
