"""What a decision comes to for pools of which something new is known."""

from collections.abc import Collection, Mapping
from typing import Final

from controlplane.fleet import Fleet, Pool
from controlplane.plane.decided import Decided
from controlplane.plane.inputs import Seen, gathered, of_some
from controlplane.plane.timeline import Timelines
from controlplane.weighing import amended, differing, moving, weigh

MOST_LOOKS: Final = 0.5
"""Part of a pool; where more has changed, a look at all of it takes no longer."""


def decide(
    fleet: Fleet,
    due: Mapping[str, Collection[str] | None],
    seen: Seen,
    decided: Decided,
    timelines: Timelines,
    envoys: int | None,
    now: float,
) -> None:
    """Weigh pools.

    Args:
        fleet: All of them.
        due: Ids of the replicas of which something is new, by pool; None: it may be anything.
        seen: Until now.
        decided: Takes what each replica is to get.
        timelines: Take why.
        envoys: How many are connected; None where that is not known.
        now: Seconds of a monotonic clock.
    """
    pools = fleet.pools
    whole = [
        name
        for name, some in due.items()
        if some is None or not _amend(pools[name], some, seen, decided, timelines, now)
    ]
    inputs_of, gpus = gathered(fleet, whole, seen, now)
    for name, inputs in inputs_of.items():
        pool, previous = pools[name], decided.weighings.get(name)
        held = decided.held(name, now)
        weighing = weigh(previous, pool.settings, inputs, now, gpus, envoys, held)
        timelines.record(pool, seen.observed, inputs, weighing)
        shown = {it.id: seen.observed[name, it.id].readiness.is_shown for it in inputs}
        decided.take(pool, weighing, shown, now)


def _amend(
    pool: Pool,
    some: Collection[str],
    seen: Seen,
    decided: Decided,
    timelines: Timelines,
    now: float,
) -> bool:
    """Weigh a pool by a look at some replicas; returns whether that was enough."""
    name, observed = pool.name, seen.observed
    previous = decided.weighings.get(name)
    # What is on its way goes on, whatever else has changed.
    looked_at = moving(previous) | set(some)
    if len(looked_at) > MOST_LOOKS * len(pool.replicas):
        return False
    if (inputs := of_some(pool, looked_at, seen)) is None:
        return False
    weighing = amended(previous, pool.settings, inputs, now)
    if weighing is None:
        return False
    timelines.record(pool, observed, [it for it in inputs.values() if it is not None], weighing)
    told = differing(previous, weighing)
    shown = {
        id_: id_ in pool.replicas and observed[name, id_].readiness.is_shown
        for id_ in (inputs.keys() | weighing.replicas.keys() if told is None else told)
    }
    decided.amend(pool, weighing, shown, now)
    return True
