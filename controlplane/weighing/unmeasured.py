"""Pools of which nothing is measured: all that get traffic get alike.

Replicas may have a health check and nothing else, and before the first requests every pool is like
that. `Round` comes to the same rule by rule. Here it is one look at each replica, so that a change
among thousands of them is soon decided.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from controlplane.settings import PoolSettings
from controlplane.weighing import slots, warming
from controlplane.weighing.conclusion import MEDIAN_WEIGHT, last_step
from controlplane.weighing.damping import median_step
from controlplane.weighing.explanation import Step
from controlplane.weighing.guard import UNKNOWN
from controlplane.weighing.replica import ReplicaInput, ReplicaWeighing, State, Weighing
from controlplane.weighing.tiers import Placement

_ORDINARY: Final = Placement()
_ALL: Final = 1.0
"""A share relative to the median, where all are alike."""


def unmeasured(
    previous: Weighing | None,
    settings: PoolSettings,
    replicas: Mapping[str, ReplicaInput],
    ready: set[str],
    now: float,
) -> Weighing | None:
    """Weigh a pool whose policy has weights, if nothing of it is measured.

    Args:
        previous: The last weighing of this pool; None for the first.
        settings: Of the pool.
        replicas: Of the pool, by id.
        ready: Those that may get traffic.
        now: Seconds of a monotonic clock.

    Returns:
        None where a replica was measured, now or before, or starts slowly: not all are alike.
    """
    if not replicas or (previous is not None and previous.used is not None):
        return None
    if any(_is_measured(it) for it in replicas.values()):
        return None
    since = {id_: replicas[id_].ready_since for id_ in ready}
    if warming.cold(since, settings.balancing.slow_start, now):
        return None
    policy, others = settings.balancing.policy, len(replicas) - 1
    is_tiered = policy == "capacity-tiers"
    tier = _ORDINARY.tier if is_tiered else ""
    last = last_step(policy, tier, others, _ALL, _ALL, 0, MEDIAN_WEIGHT)
    # The same words for all that are in the same case.
    steps = {
        (declared, serves): _steps(last, declared=declared, serves=serves)
        for declared in (False, True)
        for serves in (False, True)
    }
    share = 1 / len(ready) if ready else 0.0
    before = previous.replicas if previous is not None else {}
    found = {}
    for id_, replica in replicas.items():
        weighed, serves = before.get(id_), replica.ready
        if weighed is None or weighed.state.generation != replica.generation:
            state = State(replica.generation, None, None, None, _ALL, UNKNOWN, _ORDINARY)
        elif _is_plain(weighed.state):
            state = weighed.state
        else:
            return None
        found[id_] = ReplicaWeighing(
            capacity=None,
            weight=MEDIAN_WEIGHT,
            tier=tier,
            drained=False,
            stale=False,
            share=share if serves else 0.0,
            steps=steps[replica.slots is not None, serves],
            state=state,
        )
    return Weighing(
        policy,
        MappingProxyType(found),
        suspect=False,
        at=now,
        equal=True,
        anchor=0.0,
        tokens=previous.tokens if previous is not None else None,
    )


def _is_measured(replica: ReplicaInput) -> bool:
    return (
        replica.window is not None
        or replica.age is not None
        or replica.gpu_uuid is not None
        or bool(replica.in_flight)
    )


def _is_plain(state: State) -> bool:
    """Whether a replica was like all others, and nothing that was learned of it holds on."""
    placement, guard = state.placement, state.guard
    return (
        state.relative == _ALL
        and state.estimate is None
        and state.learned is None
        and state.kind is None
        and state.line is None
        and not (guard.wanted or guard.cut)
        and guard.fraction is None
        and not (placement.band or placement.leaving or placement.earned)
    )


def _steps(last: Step, *, declared: bool, serves: bool) -> tuple[Step, ...]:
    of_slots = () if declared else (slots.slots_step(None, _ALL),)
    return (*of_slots, median_step(_ALL, serves), last)
