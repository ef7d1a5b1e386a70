"""Pools of which nothing is measured: all that get traffic get alike.

Replicas may have a health check and nothing else, and before the first requests every pool is like
that. `Round` comes to the same rule by rule. Here it is one look at each replica, and where only
some may have changed a look at these, so that a change among thousands of them is soon decided.
Those that have just become ready start slowly by the same rules as everywhere.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from controlplane.fleet.persistent import PersistentMap
from controlplane.settings import PoolSettings
from controlplane.weighing import damping, warming
from controlplane.weighing.alike import ALL, ORDINARY, Alike, Moving, Standing
from controlplane.weighing.conclusion import known_states
from controlplane.weighing.explanation import Step
from controlplane.weighing.guard import UNKNOWN
from controlplane.weighing.replica import ReplicaInput, State, Weighing
from controlplane.weighing.steps_taken import steps_taken

MOST_DRIFT: Final = damping.DEAD_BAND
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
        None where a replica was measured, now or before: not all are alike.
    """
    if not replicas or (previous is not None and previous.used is not None):
        return None
    prior = known_states(previous, replicas)
    if any(_is_measured(it) for it in replicas.values()) or not all(map(_is_plain, prior.values())):
        return None
    standings = {id_: _standing(replica, prior.get(id_)) for id_, replica in replicas.items()}
    slow_start = settings.balancing.slow_start
    some = {
        id_: it
        for id_, it in standings.items()
        if it.state.relative != ALL or not warming.is_warm(it.ready_since, slow_start, now)
    }
    moved = _moved(some, prior, settings, len(ready), previous, now)
    standings |= moved.standings
    policy = settings.balancing.policy
    return Weighing(
        policy,
        Alike(policy, PersistentMap(standings), moved.moving, len(ready), moved.latest),
        suspect=False,
        at=now,
        equal=True,
        anchor=0.0,
        tokens=previous.tokens if previous is not None else None,
        is_moving=moved.goes_on,
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
    policy = settings.balancing.policy
    if policy != previous.policy or any(it and _is_measured(it) for it in changed.values()):
        return None
    if not warming.is_warm(alike.latest, settings.balancing.slow_start, now):
        return None
    before = dict(alike.standings.some(alike.moving.keys() | changed.keys()))
    some = {id_: before[id_] for id_ in alike.moving if id_ not in changed}
    prior = {id_: it.state for id_, it in some.items()}
    for id_, replica in changed.items():
        if replica is None:
            continue
        if id_ in before and before[id_].state.generation == replica.generation:
            prior[id_] = before[id_].state
        some[id_] = _standing(replica, prior.get(id_))
    serving = alike.serving - sum(it.serves for it in before.values())
    serving += sum(it.serves for it in some.values())
    moved = _moved(some, prior, settings, serving, previous, now)
    standings = alike.standings.updated(moved.standings, changed.keys() - some.keys())
    latest = alike.latest if moved.latest is None else moved.latest
    made = Alike(policy, standings, moved.moving, serving, latest, alike.looked)
    if not made or abs(made.share - made.looked) > MOST_DRIFT * made.looked:
        return None
    return replace(previous, replicas=made, at=now, is_moving=moved.goes_on)


class _Moved(NamedTuple):
    """What became of some replicas.

    Attributes:
        standings: As they are now, by id.
        moving: Those whose shares are not those of the others yet.
        latest: See `Alike`.
        goes_on: Whether some share moves by the clock alone.
    """

    standings: Mapping[str, Standing]
    moving: Mapping[str, Moving]
    latest: float | None
    goes_on: bool


def _moved(
    some: Mapping[str, Standing],
    prior: Mapping[str, State],
    settings: PoolSettings,
    serving: int,
    previous: Weighing | None,
    now: float,
) -> _Moved:
    """Let those start slowly that have just become ready, and move on those that have.

    Args:
        some: Of the pool, all that may; by id.
        prior: What is still known of them, by id.
        settings: Of the pool.
        serving: How many of the pool get traffic.
        previous: The last weighing of the pool.
        now: Seconds of a monotonic clock.
    """
    slow_start, steps = settings.balancing.slow_start, dict[str, list[Step]]()
    for id_ in some:
        steps[id_] = []
    since = {id_: it.ready_since for id_, it in some.items() if it.serves}
    cold = warming.cold(since, slow_start, now, serving)
    targets = dict.fromkeys(some, ALL)
    left = warming.warmed(targets, cold, since, slow_start, now, steps)
    at = previous.at if previous is not None else None
    part = damping.rounds(at, now, settings.metrics.interval)
    guards = dict.fromkeys(some, UNKNOWN)
    shares = steps_taken(targets, left, prior, dict.fromkeys(some), guards, part, now, steps)
    standings, moving, times = {}, {}, []
    for id_, it in some.items():
        share, ready_since = shares[id_], it.ready_since
        known = it.state.relative == share
        standings[id_] = it if known else it._replace(state=replace(it.state, relative=share))
        if id_ in cold:
            cohort = warming.cohort(ready_since or 0.0, slow_start or 1.0)
            moving[id_] = Moving(cohort, tuple(steps[id_]))
        elif share != ALL:
            moving[id_] = Moving(None, tuple(steps[id_]))
        elif it.serves and not warming.is_warm(ready_since, slow_start, now):
            times.append(ready_since or 0.0)
    goes_on = bool(cold) or shares != left
    return _Moved(standings, moving, max(times, default=None), goes_on)


def _standing(replica: ReplicaInput, known: State | None) -> Standing:
    """Among others that are like it."""
    if known is None:
        known = State(replica.generation, None, None, None, ALL, UNKNOWN, ORDINARY)
    return Standing(replica.ready, replica.slots is not None, replica.ready_since, known)


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
        state.estimate is None
        and state.learned is None
        and state.kind is None
        and state.line is None
        and not (guard.wanted or guard.cut)
        and guard.fraction is None
        and not (placement.band or placement.leaving or placement.earned)
    )
