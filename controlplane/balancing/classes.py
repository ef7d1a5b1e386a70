"""Which replicas serve which of the classes that a user names, chosen by prediction.

The slowest replicas serve the class with the smallest requests, and so on: a short request costs
the start of a batch and hardly any speed. Each predicted p99 is held against the objective of its
class, or against what it would be without classes. No class may miss that by much, as far as that
can be had; then all of them are to be as fast as possible, on average of their logarithms.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from controlplane.balancing.candidates import Fleet
from controlplane.balancing.prediction import Flow, percentile

FULL: Final = 0.9
"""Utilisation that a class may bring its replicas to."""
WORSE: Final = 1.4
"""Times its goal that the p99 of a class may be."""
TRIED: Final = 24
"""Numbers of replicas that are tried for a class, at most."""
SEARCHED: Final = 4
"""Classes up to which divisions are tried; more get replicas in proportion to their load."""
EVERY: Final = 2.0
"""Seconds between two looks."""
LASTING: Final = 20.0
"""Seconds for which another division must be better."""
COSTS: Final = 0.05
"""Mean logarithm of the p99s that classes may cost beside none."""
BETTER: Final = 0.2
"""Mean logarithm of the p99s by which another division must be better."""
SHORT: Final = 0.2
"""Part of the mean of all requests below which a class is one of short requests."""


Score = tuple[float, float]
"""What is too much, and the mean logarithm of p99s relative to their goals; less is better."""
HOPELESS: Final[Score] = (math.inf, math.inf)
"""Of a division in which some class has more work than its replicas can do."""


@dataclass(frozen=True, slots=True)
class Division:
    """Who serves which class.

    Attributes:
        sets: Ids of replicas by class; a class that has none is served by all.
        begun: From when on requests go by class: Envoys first check the health of new clusters.
        at: When it was last looked at.
        better: Another division that is predicted to be better, since `since`.
        since: See `better`; NaN: none is.
        parts: Part of all work by class.
        forecasts: Predicted p99 in seconds by class; empty where classes have no sets.
    """

    sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    begun: float = math.inf
    at: float = -math.inf
    better: Mapping[str, frozenset[str]] = field(default_factory=dict)
    since: float = math.nan
    parts: Mapping[str, float] = field(default_factory=dict)
    forecasts: Mapping[str, float] = field(default_factory=dict)

    def is_in_force(self, now: float) -> bool:
        """Whether requests go by class already."""
        return now >= self.begun


def divided(
    before: Division | None,
    fleet: Fleet,
    flows: Mapping[str, Flow],
    objectives: Mapping[str, float],
    dispatchers: int,
    notice: float,
    now: float,
) -> Division:
    """Decide anew who serves which class.

    Args:
        before: The last division; None for the first.
        fleet: Replicas that may serve.
        flows: What comes of each class; a class without requests is left out.
        objectives: Seconds of p99 that a class promises, by class.
        dispatchers: Envoys.
        notice: Seconds that Envoys need until requests can go by class.
        now: Seconds of a monotonic clock.
    """
    if before is None:
        before = Division(begun=now + notice)
    present = frozenset(fleet.ids)
    alive = {name: ids & present for name, ids in before.sets.items()}
    lost = any(ids and not alive[name] for name, ids in before.sets.items())
    before = replace(before, sets={name: ids for name, ids in alive.items() if ids})
    if now - before.at < EVERY and not lost:
        return before
    total = sum(flow.tokens for flow in flows.values()) or 1.0
    parts = {name: flow.tokens / total for name, flow in flows.items()}
    before = replace(before, at=now, parts=parts)
    if len(flows) < 2 or len(fleet.ids) < 2:
        return before
    together = _together(fleet, flows, dispatchers)
    goals = {name: objectives.get(name, max(together[name], 1e-6)) for name in flows}
    usual = _worth([together[name] / goals[name] for name in flows])
    best, score, forecasts = _best(fleet, flows, goals, dispatchers)
    # Whoever names classes wants them apart, as long as that costs next to nothing.
    if best is None or score[0] > usual[0] or score[1] > usual[1] + COSTS:
        best, score, forecasts = {}, usual, {}
    now_score, now_forecasts = usual, dict[str, float]()
    if before.sets and before.sets.keys() == flows.keys():
        now_score, now_forecasts = _score(fleet, before.sets, flows, goals, dispatchers)
    is_better = (
        (best and not before.sets) or score[0] < now_score[0] or score[1] < now_score[1] - BETTER
    )
    if best == before.sets or not (is_better or lost):
        return replace(before, better={}, since=math.nan, forecasts=now_forecasts)
    since = now if math.isnan(before.since) else before.since
    at_once = lost or not before.sets or now_score == HOPELESS
    if not at_once and now - since < LASTING:
        return replace(before, better=best, since=since, forecasts=now_forecasts)
    return replace(before, sets=best, better={}, since=math.nan, forecasts=forecasts)


def _together(fleet: Fleet, flows: Mapping[str, Flow], dispatchers: int) -> dict[str, float]:
    everything = _sum([*flows.values()])
    groups, shares = fleet.groups(everything.tokens)
    return {
        name: percentile(
            groups, shares, everything, flow, dispatchers, short=_is_short(flow, everything)
        )
        for name, flow in flows.items()
    }


def _sum(flows: Sequence[Flow]) -> Flow:
    total = flows[0]
    for flow in flows[1:]:
        total = total.plus(flow)
    return total


def _is_short(flow: Flow, everything: Flow) -> bool:
    return flow.mean < SHORT * everything.mean


def _worth(ratios: Sequence[float]) -> Score:
    """How bad p99s relative to their goals are: what is too much, then the mean logarithm."""
    over = sum(max(math.log(ratio / WORSE), 0.0) for ratio in ratios)
    return over, sum(math.log(max(ratio, 1e-9)) for ratio in ratios) / len(ratios)


def _best(
    fleet: Fleet, flows: Mapping[str, Flow], goals: Mapping[str, float], dispatchers: int
) -> tuple[dict[str, frozenset[str]] | None, Score, dict[str, float]]:
    """The best division, its score, and the forecasts."""
    names = sorted(flows, key=lambda name: (flows[name].mean, name))
    found: tuple[dict[str, frozenset[str]] | None, Score, dict[str, float]] = (None, HOPELESS, {})
    if len(names) > len(fleet.ids):
        return found
    tried: Iterator[tuple[int, ...]] = _compositions(len(fleet.ids), len(names))
    if len(names) > SEARCHED:
        tried = iter([_in_proportion(fleet, [flows[name].tokens for name in names])])
    for counts in tried:
        sets, begin = {}, 0
        for name, count in zip(names, counts, strict=True):
            sets[name] = frozenset(fleet.ids[begin : begin + count])
            begin += count
        score, forecasts = _score(fleet, sets, flows, goals, dispatchers)
        if score < found[1]:
            found = (sets, score, forecasts)
    return found


def _in_proportion(fleet: Fleet, tokens: Sequence[float]) -> tuple[int, ...]:
    """Numbers of replicas that have capacities in proportion to the load, at least one each."""
    left, counts, begin = sum(tokens), list[int](), 0
    for index, each in enumerate(tokens[:-1]):
        rest = fleet.capacity[begin:]
        wanted = float(rest.sum()) * each / left if left else 0.0
        most = len(rest) - (len(tokens) - 1 - index)
        count = min(max(int(np.searchsorted(np.cumsum(rest), wanted)) + 1, 1), most)
        counts.append(count)
        begin, left = begin + count, left - each
    return (*counts, len(fleet.ids) - begin)


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Ways to cut so many replicas into so many runs, some of them where there are many."""
    if parts == 1:
        yield (total,)
        return
    most = total - parts + 1
    tried: Sequence[int] = range(1, most + 1)
    if most > TRIED // parts:
        tried = sorted({round(each) for each in np.geomspace(1, most, max(TRIED // parts, 2))})
    for first in tried:
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _score(
    fleet: Fleet,
    sets: Mapping[str, frozenset[str]],
    flows: Mapping[str, Flow],
    goals: Mapping[str, float],
    dispatchers: int,
) -> tuple[Score, dict[str, float]]:
    """How bad a division is, and the p99 of each class in seconds."""
    everything = _sum([*flows.values()])
    forecasts = {}
    for name, flow in flows.items():
        some = fleet.of(np.asarray([id_ in sets[name] for id_ in fleet.ids]))
        if not some.ids or flow.tokens > FULL * float(some.capacity.sum()):
            return HOPELESS, {}
        short = _is_short(flow, everything)
        groups, shares = some.groups(flow.tokens)
        forecasts[name] = percentile(groups, shares, flow, flow, dispatchers, short=short)
    return _worth([forecasts[name] / goals[name] for name in flows]), forecasts
