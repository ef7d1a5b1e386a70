"""A pool's weighing: what was decided before and what is known now in, the next decision out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from controlplane.settings import WEIGHED, PoolSettings
from controlplane.weighing import staleness
from controlplane.weighing.conclusion import concluded, known_states, told_weights
from controlplane.weighing.explanation import Step
from controlplane.weighing.gpus import gpu_use
from controlplane.weighing.guard import Guard, within_limits
from controlplane.weighing.replica import ReplicaInput, State, Weighing
from controlplane.weighing.round import Round
from controlplane.weighing.tiers import Placement
from controlplane.weighing.unweighed import unweighed


def weigh(
    previous: Weighing | None,
    settings: PoolSettings,
    inputs: Sequence[ReplicaInput],
    now: float,
    gpus: Mapping[str, float] | None = None,
    envoys: int | None = None,
) -> Weighing:
    """Weigh a pool. It may be called at any time: a reading counts once, steps follow the clock.

    Args:
        previous: The last weighing of this pool; None for the first.
        settings: Of the pool.
        inputs: Its replicas, in any order.
        now: Seconds of a monotonic clock.
        gpus: Memory in use by GPU uuid, by `gpu_use` over all pools; None: of this pool alone.
        envoys: How many Envoys the pool's requests come through; None where that is not known.
    """
    replicas = {replica.id: replica for replica in inputs}
    ready = {id_ for id_, replica in replicas.items() if replica.ready}
    ages = [replicas[id_].age for id_ in ready]
    suspect = staleness.is_suspect(ages, settings.metrics.interval)
    if gpus is None:
        gpus = gpu_use([(settings, inputs)])
    if settings.balancing.policy not in WEIGHED:
        return unweighed(previous, settings, replicas, ready, now, envoys, gpus, suspect=suspect)
    if suspect and previous is not None:
        return _frozen(previous, settings, replicas, ready, now)
    return Round(previous, settings, replicas, ready, now, envoys).weighing(gpus, suspect=suspect)


def _frozen(
    previous: Weighing,
    settings: PoolSettings,
    replicas: Mapping[str, ReplicaInput],
    ready: set[str],
    now: float,
) -> Weighing:
    """The same as before, for as long as most of the pool is silent; newcomers are ordinary."""
    policy, interval = settings.balancing.policy, settings.metrics.interval
    known = known_states(previous, replicas)
    capacities = {id_: previous.replicas[id_].capacity for id_ in known}
    measured = [value for value in capacities.values() if value is not None]
    usual = median(measured) if measured else None
    # What others left behind may be all that can serve: the limits hold even now.
    guards = within_limits(
        {id_: known[id_].guard if id_ in known else Guard() for id_ in replicas}, ready
    )
    states = {
        id_: replace(known[id_], guard=guards[id_])
        if id_ in known
        else State(replica.generation, None, None, None, 1.0, guards[id_], Placement())
        for id_, replica in replicas.items()
    }
    words = "most of the pool is silent, so it may be us: nothing changes until that is over"
    tiers = {id_: previous.replicas[id_].tier for id_ in known}
    return Weighing(
        policy=policy,
        replicas=concluded(
            policy,
            states,
            {id_: tiers.get(id_) or state.placement.tier for id_, state in states.items()},
            {id_: capacities.get(id_, usual) for id_ in replicas},
            {id_: (Step("suspect", s.relative, s.relative, words),) for id_, s in states.items()},
            {id_ for id_ in ready if not guards[id_].cut},
            {id_ for id_, r in replicas.items() if staleness.is_stale(r.age, interval)},
            told_weights(previous),
            equal=previous.equal,
        ),
        suspect=True,
        at=now,
        equal=previous.equal,
        anchor=previous.anchor,
        used=previous.used,
        tokens=previous.tokens,
        sizes=previous.sizes,
    )
