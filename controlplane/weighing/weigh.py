"""A pool's weighing: what was decided before and what is known now in, the next decision out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Final

from controlplane.settings import WEIGHED, PoolSettings
from controlplane.weighing import staleness
from controlplane.weighing.conclusion import concluded, known_states, told_weights
from controlplane.weighing.explanation import Step
from controlplane.weighing.gpus import gpu_use
from controlplane.weighing.guard import Guard, within_limits
from controlplane.weighing.leaning import leaned
from controlplane.weighing.long_requests import may_divide
from controlplane.weighing.replica import ReplicaInput, State, Weighing
from controlplane.weighing.round import Round
from controlplane.weighing.sizes import sizes_step
from controlplane.weighing.tiers import Placement
from controlplane.weighing.unmeasured import unmeasured
from controlplane.weighing.unweighed import unweighed

_SILENT: Final = "most of the pool is silent, so it may be us: nothing changes until that is over"


def weigh(
    previous: Weighing | None,
    settings: PoolSettings,
    inputs: Sequence[ReplicaInput],
    now: float,
    gpus: Mapping[str, float] | None = None,
    envoys: int | None = None,
    held: str | None = None,
) -> Weighing:
    """Weigh a pool. It may be called at any time: a reading counts once, steps follow the clock.

    Args:
        previous: The last weighing of this pool; None for the first.
        settings: Of the pool.
        inputs: Its replicas, in any order.
        now: Seconds of a monotonic clock.
        gpus: Memory in use by GPU uuid, by `gpu_use` over all pools; None: of this pool alone.
        envoys: How many Envoys the pool's requests come through; None where that is not known.
        held: Why nothing is to change for those that were weighed before; None: it may.
    """
    replicas = {replica.id: replica for replica in inputs}
    ready = {id_ for id_, replica in replicas.items() if replica.ready}
    ages = [replicas[id_].age for id_ in ready]
    suspect = staleness.is_suspect(ages, settings.metrics.interval)
    if gpus is None:
        gpus = gpu_use([(settings, inputs)])
    if settings.balancing.policy not in WEIGHED:
        return unweighed(previous, settings, replicas, ready, now, envoys, gpus, suspect=suspect)
    if previous is not None and (suspect or held is not None):
        words = _SILENT if suspect or held is None else held
        return _frozen(previous, settings, replicas, ready, now, words, suspect=suspect)
    alike = unmeasured(previous, settings, replicas, ready, now)
    if alike is not None:
        return alike
    return Round(previous, settings, replicas, ready, now, envoys).weighing(gpus, suspect=suspect)


def _frozen(
    previous: Weighing,
    settings: PoolSettings,
    replicas: Mapping[str, ReplicaInput],
    ready: set[str],
    now: float,
    words: str,
    *,
    suspect: bool,
) -> Weighing:
    """The same as before; newcomers are ordinary."""
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
    step = "suspect" if suspect else "held"
    steps = {id_: [Step(step, s.relative, s.relative, words)] for id_, s in states.items()}
    serving = {id_ for id_ in ready if not guards[id_].cut}
    sizes = previous.sizes if may_divide(settings) else None
    tiers = {
        id_: (previous.replicas[id_].tier if id_ in known else "") or state.placement.tier
        for id_, state in states.items()
    }
    # What was leaned for lines that nobody sees any more is taken back.
    leans = {} if suspect else previous.leans
    of_short: dict[str, float] = {}
    if sizes is not None and sizes.is_in_force(now):
        shares = leaned({id_: states[id_].relative for id_ in serving}, tiers, leans)
        part = sizes.of_short(shares, now)
        for id_ in sizes.fast & states.keys():
            of_short[id_] = part
            steps[id_].append(sizes_step(sizes, states[id_].relative, part))
    return Weighing(
        policy=policy,
        replicas=concluded(
            policy,
            states,
            tiers,
            {id_: capacities.get(id_, usual) for id_ in replicas},
            steps,
            serving,
            {id_ for id_, r in replicas.items() if staleness.is_stale(r.age, interval)},
            told_weights(previous),
            of_short,
            leans,
            # Within the dead band Envoy keeps what it was told.
            equal=previous.equal and suspect,
        ),
        suspect=suspect,
        at=now,
        equal=previous.equal,
        anchor=previous.anchor,
        used=previous.used,
        tokens=previous.tokens,
        sizes=sizes,
        leans=leans,
    )
