"""Pools of which nothing is measured: all that get traffic get alike.

Replicas may have a health check and nothing else, and before the first requests every pool is like
that. `Round` comes to the same rule by rule. Here it is one look at each replica, and where only
some may have changed a look at these, so that a change among thousands of them is soon decided.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from controlplane.settings import PoolSettings
from controlplane.weighing import warming
from controlplane.weighing.alike import ALL, ORDINARY, Alike, Standing
from controlplane.weighing.damping import DEAD_BAND
from controlplane.weighing.guard import UNKNOWN
from controlplane.weighing.replica import ReplicaInput, ReplicaWeighing, State, Weighing

MOST_DRIFT: Final = DEAD_BAND
"""By so much, relatively, shares change at most before all replicas are looked at again: history
is to tell of what each one gets."""


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
    before = previous.replicas if previous is not None else {}
    found = {}
    for id_, replica in replicas.items():
        standing = _standing(replica, before.get(id_))
        if standing is None:
            return None
        found[id_] = standing
    policy = settings.balancing.policy
    return Weighing(
        policy,
        Alike.of(policy, found),
        suspect=False,
        at=now,
        equal=True,
        anchor=0.0,
        tokens=previous.tokens if previous is not None else None,
    )


def amended(
    previous: Weighing | None,
    settings: PoolSettings,
    changed: Mapping[str, ReplicaInput | None],
    now: float,
) -> Weighing | None:
    """Weigh a pool of which `unmeasured` has said last what all get, and most still stand so.

    Args:
        previous: The last weighing of this pool; None for the first.
        settings: Of the pool, the same as then.
        changed: By id, at least all of which anything is known that was not known then; None:
            there is no such replica any more.
        now: Seconds of a monotonic clock.

    Returns:
        What `weigh` would return, told everything; None where that takes a look at all replicas.
    """
    alike = previous.replicas if previous is not None else None
    if previous is None or not isinstance(alike, Alike):
        return None
    policy, found = settings.balancing.policy, dict[str, Standing | None]()
    for id_, replica in changed.items():
        standing = None if replica is None else _standing(replica, alike.get(id_))
        if replica is not None and (standing is None or _is_measured(replica)):
            return None
        found[id_] = standing
    made = alike.with_changed(policy, found)
    drift = abs(made.serving - made.looked)
    if not made or policy != previous.policy or drift > MOST_DRIFT * made.looked:
        return None
    if not warming.is_warm(made.latest, settings.balancing.slow_start, now):
        return None
    return replace(previous, replicas=made, at=now)


def _standing(replica: ReplicaInput, before: ReplicaWeighing | None) -> Standing | None:
    """Among others that are like it; None where what was known of it makes it another."""
    if before is None or before.state.generation != replica.generation:
        state = State(replica.generation, None, None, None, ALL, UNKNOWN, ORDINARY)
    elif _is_plain(before.state):
        state = before.state
    else:
        return None
    return Standing(replica.ready, replica.slots is not None, replica.ready_since, state)


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
        state.relative == ALL
        and state.estimate is None
        and state.learned is None
        and state.kind is None
        and state.line is None
        and not (guard.wanted or guard.cut)
        and guard.fraction is None
        and not (placement.band or placement.leaving or placement.earned)
    )
