"""From shares and tiers to what Envoy gets: integer weights, equal within a tier."""

import math
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
    of_short: Mapping[str, float] = MappingProxyType({}),
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
        of_short: What those that long requests go to get of the short ones, relative to their
            share, by id; all others get all of it.
        equal: All replicas are as good as equal.
    """
    shares = {id_: state.relative for id_, state in states.items()}
    means = tier_means(names, shares, serving)
    parts = {names[id_]: part for id_, part in of_short.items()}
    by_tier = {
        tier: damping.held(
            told.get(tier), max(round(MEDIAN_WEIGHT * mean * parts.get(tier, 1.0)), 1), equal=equal
        )
        for tier, mean in means.items()
    }
    weights = {id_: by_tier[names[id_]] for id_ in states}
    expected = {id_: weights[id_] / parts.get(names[id_], 1.0) for id_ in states}
    total = math.fsum(expected[id_] for id_ in serving)
    sizes = Counter(names.values())
    weighed = {}
    for id_, state in states.items():
        tier = names[id_]
        words = f"in {tier}"
        if sizes[tier] > 1:
            words += f" with {counted(sizes[tier] - 1, 'other')}, at their mean"
            words += f" of {number(means[tier])} × the median"
        if state.placement.leaving:
            pace = "faster" if state.placement.leaving > 0 else "slower"
            words += f"; it will move to a {pace} tier if that lasts"
        weighed[id_] = ReplicaWeighing(
            capacity=capacities[id_],
            weight=weights[id_],
            tier=tier,
            drained=state.guard.cut,
            stale=id_ in stale,
            share=expected[id_] / total if id_ in serving else 0.0,
            steps=(*steps[id_], Step("tier", state.relative, means[tier], words)),
            state=state,
        )
    return MappingProxyType(weighed)
