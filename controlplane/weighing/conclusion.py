"""From shares and tiers to what Envoy gets: integer weights, equal within a tier."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from controlplane.weighing import damping
from controlplane.weighing.explanation import Step, counted, number
from controlplane.weighing.replica import ReplicaInput, ReplicaWeighing, State, Weighing
from controlplane.weighing.tiers import tier_means

MEDIAN_WEIGHT: Final = 1000
"""Envoy's weight of a replica at the pool's median: fine enough for the floor, 50, and so small
that four hundred thousand replicas at the ceiling stay within the 2³² − 1 of a locality."""


def known_states(
    previous: Weighing | None, replicas: Mapping[str, ReplicaInput]
) -> dict[str, State]:
    """What is still known by id: nothing of a replica that has restarted since."""
    if previous is None:
        return {}
    return {
        id_: weighed.state
        for id_, weighed in previous.replicas.items()
        if id_ in replicas and weighed.state.generation == replicas[id_].generation
    }


def told_weights(previous: Weighing | None) -> dict[str, int]:
    """What Envoy was told, by tier."""
    if previous is None:
        return {}
    return {weighed.tier: weighed.weight for weighed in previous.replicas.values()}


def concluded(
    states: Mapping[str, State],
    names: Mapping[str, str],
    capacities: Mapping[str, float | None],
    steps: Mapping[str, Sequence[Step]],
    serving: Collection[str],
    stale: Collection[str],
    told: Mapping[str, int],
    *,
    equal: bool,
) -> Mapping[str, ReplicaWeighing]:
    """Give every replica the mean of its tier, and work out its part of the traffic.

    Args:
        states: By id.
        names: Of the tier that each is in, by id.
        capacities: Requests per second by id.
        steps: What was decided so far, by id.
        serving: Those that are ready and not cut.
        stale: Those whose last good scrape is too long ago.
        told: The weights that Envoy has, by tier.
        equal: All replicas are as good as equal.
    """
    shares = {id_: state.relative for id_, state in states.items()}
    means = tier_means(names, shares, serving)
    by_tier = {
        tier: damping.held(told.get(tier), max(round(MEDIAN_WEIGHT * mean), 1), equal=equal)
        for tier, mean in means.items()
    }
    weights = {id_: by_tier[names[id_]] for id_ in states}
    total = sum(weights[id_] for id_ in serving)
    sizes = Counter(names.values())
    weighed = {}
    for id_, state in states.items():
        tier = names[id_]
        facts = (tier, sizes[tier] - 1, means[tier], state.placement.leaving)
        weighed[id_] = ReplicaWeighing(
            capacity=capacities[id_],
            weight=weights[id_],
            tier=tier,
            drained=state.guard.cut,
            stale=id_ in stale,
            share=weights[id_] / total if id_ in serving else 0.0,
            steps=(*steps[id_], Step("tier", state.relative, means[tier], _placed, facts)),
            state=state,
        )
    return MappingProxyType(weighed)


def _placed(tier: str, others: int, mean: float, leaving: int) -> str:
    words = f"in {tier}"
    if others:
        words += f" with {counted(others, 'other')}, at their mean of {number(mean)} × the median"
    if leaving:
        pace = "faster" if leaving > 0 else "slower"
        words += f"; it will move to a {pace} tier if that lasts"
    return words
