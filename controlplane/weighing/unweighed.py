"""Pools whose policy has no weights: all replicas are told alike, but for one that must be spared.

Capacity is measured all the same: people read it, and a pool that is given a policy with weights
begins with what is known. Nothing is made of it: no share, no tier, no veto, no slow start.
"""

from collections.abc import Mapping
from typing import Final

from controlplane.settings import BalancingSettings, Policy, PoolSettings
from controlplane.weighing import staleness
from controlplane.weighing.capacities import Capacities
from controlplane.weighing.conclusion import MEDIAN_WEIGHT, known_states
from controlplane.weighing.explanation import Step, percent
from controlplane.weighing.gpus import guarded
from controlplane.weighing.guard import Guard, by_memory
from controlplane.weighing.replica import ReplicaInput, ReplicaWeighing, State, Weighing
from controlplane.weighing.round import patience
from controlplane.weighing.tiers import Placement

_WORDS: Final[Mapping[Policy, str]] = {
    "least-request": "each request goes where an Envoy has the fewest in flight",
    "round-robin": "all get the same number of requests, in turn",
    "client-side-weighted-round-robin": (
        "each Envoy weighs it by the utilisation that its own responses report (ORCA)"
    ),
    "ring-hash": "what has the same {hash} goes to the same replica",
    "maglev": "what has the same {hash} goes to the same replica",
}


def unweighed(
    previous: Weighing | None,
    settings: PoolSettings,
    replicas: Mapping[str, ReplicaInput],
    ready: set[str],
    now: float,
    envoys: int | None,
    gpus: Mapping[str, float],
    *,
    suspect: bool,
) -> Weighing:
    """Weigh a pool whose policy has no weights.

    Args:
        previous: The last weighing of this pool; None for the first.
        settings: Of the pool.
        replicas: Of the pool, by id.
        ready: Those that may get traffic.
        now: Seconds of a monotonic clock.
        envoys: How many Envoys the requests come through; None where that is not known.
        gpus: Memory in use by GPU uuid, by `gpu_use`.
        suspect: Whether most of the pool is silent.
    """
    balancing, interval = settings.balancing, settings.metrics.interval
    prior = known_states(previous, replicas)
    stale = {id_ for id_, it in replicas.items() if staleness.is_stale(it.age, interval)}
    steps: dict[str, list[Step]] = {id_: [] for id_ in replicas}
    known = Capacities(previous, prior, replicas, ready, ready - stale)
    known.measure(envoys, now, steps)
    guards = guarded(prior, replicas, ready, settings, gpus, patience(settings), now)
    serving = {id_ for id_ in ready if not guards[id_].cut}
    weighed = {}
    for id_, replica in replicas.items():
        state = State(
            replica.generation,
            known.estimates[id_],
            known.learned.get(id_),
            known.kinds.get(id_),
            relative=1.0,
            guard=guards[id_],
            placement=Placement(),
        )
        if step := _memory_step(guards[id_], replica, settings):
            steps[id_].append(step)
        steps[id_].append(Step(balancing.policy, 1.0, 1.0, _words(balancing)))
        weighed[id_] = ReplicaWeighing(
            capacity=None if known.usual is None else known.carried[id_],
            weight=MEDIAN_WEIGHT,
            tier="",
            drained=guards[id_].cut,
            stale=id_ in stale,
            share=_share(balancing.policy, id_, serving),
            steps=tuple(steps[id_]),
            state=state,
        )
    return Weighing(
        balancing.policy, weighed, suspect, now, equal=True, anchor=0.0, tokens=known.tokens
    )


def _share(policy: Policy, id_: str, serving: set[str]) -> float | None:
    """Of the traffic; only in turn is it known without a look at the requests."""
    if id_ not in serving:
        return 0.0
    return 1 / len(serving) if policy == "round-robin" else None


def _memory_step(guard: Guard, replica: ReplicaInput, settings: PoolSettings) -> Step | None:
    """A cut needs no weight; that there is none to take from is worth a word before."""
    memory = replica.memory or settings.memory
    if guard.cut:
        return by_memory(guard, memory, 1.0)[1]
    if guard.fraction is None or guard.fraction < memory.soft:
        return None
    words = f"GPU memory {percent(guard.fraction)} is over soft {percent(memory.soft)}"
    if guard.fraction >= memory.hard:
        words = f"GPU memory {percent(guard.fraction)} is over hard {percent(memory.hard)}, but no"
        words += " more may be cut"
    words += f": policy {settings.balancing.policy} has no weight to take from it"
    return Step("memory", 1.0, 1.0, words)


def _words(balancing: BalancingSettings) -> str:
    does = _WORDS[balancing.policy].format(hash=balancing.hash)
    return f"policy {balancing.policy}: {does}; Envoy is not told what it can carry"
