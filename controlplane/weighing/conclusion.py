"""From shares to what Envoy gets: whole weights, equal in a tier, or of each replica's own."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from controlplane.settings import Policy
from controlplane.weighing import damping
from controlplane.weighing.explanation import Step, counted, number
from controlplane.weighing.leaning import Lean
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
    before = previous.replicas
    return {
        id_: weighed.state
        for id_, replica in replicas.items()
        if (weighed := before.get(id_)) is not None
        and weighed.state.generation == replica.generation
    }


def told_weights(previous: Weighing | None) -> dict[str, int]:
    """What Envoy was told: by tier, or by id where there was none."""
    if previous is None:
        return {}
    return {it.tier or id_: it.weight for id_, it in previous.replicas.items()}


def concluded(
    policy: Policy,
    states: Mapping[str, State],
    tiers: Mapping[str, str],
    capacities: Mapping[str, float | None],
    steps: Mapping[str, Sequence[Step]],
    serving: Collection[str],
    stale: Collection[str],
    told: Mapping[str, int],
    of_short: Mapping[str, float] = MappingProxyType({}),
    leans: Mapping[str, Lean] = MappingProxyType({}),
    *,
    equal: bool,
) -> Mapping[str, ReplicaWeighing]:
    """Give every replica its weight, in a tier the mean, and work out its part of the traffic.

    Args:
        policy: One with weights.
        states: By id.
        tiers: That each is in, by id; not looked at where the policy has none.
        capacities: Requests per second by id.
        steps: What was decided so far, by id.
        serving: Those that are ready and not cut.
        stale: Those whose last good scrape is too long ago.
        told: The weights that Envoy has, by `told_weights`.
        of_short: What those that long requests go to get of the short ones, relative to their
            share, by id; all others get all of it.
        leans: How tiers lean, by name.
        equal: All replicas are as good as equal.
    """
    shares = {id_: state.relative for id_, state in states.items()}
    names = tiers if policy == "capacity-tiers" else {id_: id_ for id_ in states}
    means = tier_means(names, shares, serving)
    parts = {names[id_]: part for id_, part in of_short.items()}
    lean_steps = {name: lean.step(means[name]) for name, lean in leans.items() if name in means}
    exact = {
        name: MEDIAN_WEIGHT
        * (lean_steps[name].after if name in lean_steps else mean)
        * parts.get(name, 1.0)
        for name, mean in means.items()
    }
    by_name = {
        name: damping.held(told.get(name), max(round(weight), 1), equal=equal)
        for name, weight in exact.items()
    }
    # A part of all work, whatever the length of the requests that it comes in.
    expected = {name: weight / parts.get(name, 1.0) for name, weight in by_name.items()}
    total = math.fsum([expected[names[id_]] for id_ in serving])
    sizes, is_tiered = Counter(names.values()), policy == "capacity-tiers"
    last_steps: dict[tuple[str, float, int], Step] = {}
    weighed = {}
    for id_, state in states.items():
        name, relative = names[id_], state.relative
        weight, leaving = by_name[name], state.placement.leaving
        # Said of thousands in the same words: most of a tier has the same share.
        step = last_steps.get((name, relative, leaving))
        if step is None:
            others, mean = sizes[name] - 1, means[name]
            step = last_step(policy, name, others, mean, relative, leaving, weight)
            last_steps[name, relative, leaving] = step
        weighed[id_] = ReplicaWeighing(
            capacities[id_],
            weight,
            name if is_tiered else "",
            state.guard.cut,
            id_ in stale,
            expected[name] / total if id_ in serving else 0.0,
            (*steps[id_], step, lean_steps[name]) if name in lean_steps else (*steps[id_], step),
            state,
        )
    return MappingProxyType(weighed)


def last_step(
    policy: Policy,
    tier: str,
    others: int,
    mean: float,
    relative: float,
    leaving: int,
    weight: int,
) -> Step:
    """What to tell of the end: in its tier a replica gets the mean, else its own share.

    Args:
        policy: One with weights.
        tier: That it is in; not looked at where the policy has none.
        others: How many more are in it.
        mean: Of the shares of the tier.
        relative: Its own share, relative to the pool's median.
        leaving: See `Placement`.
        weight: That Envoy is told.
    """
    if policy == "capacity-tiers":
        return Step("tier", relative, mean, _placed, (tier, others, mean, leaving))
    return Step("weight", relative, relative, _told, (policy, weight))


def _placed(tier: str, others: int, mean: float, leaving: int) -> str:
    words = f"in {tier}"
    if others:
        words += f" with {counted(others, 'other')}, at their mean of {number(mean)} × the median"
    if leaving:
        pace = "faster" if leaving > 0 else "slower"
        words += f"; it will move to a {pace} tier if that lasts"
    return words


def _told(policy: Policy, weight: int) -> str:
    return f"policy {policy}: Envoy is told a weight of its own, {weight}"
