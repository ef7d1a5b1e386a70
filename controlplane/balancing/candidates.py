"""Ways to divide replicas among classes, scored by the p99 that each class is predicted to have."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from controlplane.balancing.demand import Demand
from controlplane.balancing.fleet import Fleet
from controlplane.balancing.prediction import Flow, Group, percentile

FULL: Final = 0.96
"""Utilisation that a class may bring its replicas to."""
SATURATED: Final = 0.98
"""Utilisation of all replicas from which on the class with the longest requests may have more work
than its replicas do: its clients may be workers that always have a request, whatever it takes."""
WORSE: Final = 1.4
"""Times its goal that the p99 of a class may be."""
HARM: Final = 3.0
"""How many times as much it counts when a p99 is beyond its goal as when it is below."""
NEAR: Final = 0.1
"""The same within which divisions are about equally good."""
TRIED: Final = 48
"""Numbers of replicas that are tried for all classes together, at most."""
SEARCHED: Final = 4
"""Classes up to which divisions are tried; more get replicas in proportion to their load."""

Score = tuple[float, float]
"""What is too much, and the mean logarithm of p99s relative to their goals; less is better."""
HOPELESS: Final[Score] = (math.inf, math.inf)
"""Of a division in which some class has more work than its replicas can do."""


class Candidate(NamedTuple):
    """A division of a fleet, with its score."""

    sets: Mapping[str, frozenset[str]]
    rest: str
    score: Score
    forecasts: Mapping[str, float]


class Candidates:
    """Predicts p99s of what comes, in seconds.

    Attributes:
        together: The p99 of each class where all replicas serve all.
        used: Utilisation of all replicas together.
    """

    def __init__(
        self, fleet: Fleet, demand: Demand, dispatchers: int, gateways: Mapping[str, int]
    ) -> None:
        self._fleet, self._demand, self._flows = fleet, demand, demand.flows
        self._dispatchers, self._gateways = dispatchers, gateways
        everything = demand.all
        groups, shares = fleet.groups(everything.tokens)
        self.used = everything.tokens / float(fleet.capacity.sum())
        self.together = {
            name: self._p99(groups, shares, everything, name, dispatchers) for name in self._flows
        }

    def score(
        self, fleets: Mapping[str, Fleet], goals: Mapping[str, float], rest: str
    ) -> tuple[Score, dict[str, float]]:
        """How bad a division is, and the p99 of each class.

        Args:
            fleets: The replicas of each class.
            goals: See `best`.
            rest: The class that takes whatever is left where all replicas have too much to do.
        """
        forecasts = {}
        for name, flow in self._flows.items():
            some = fleets[name]
            used = flow.tokens / float(some.capacity.sum()) if some.ids else math.inf
            if used > FULL and name == rest and some.ids and self.used > SATURATED:
                forecasts[name] = self.together[name] * used / self.used
                continue
            if used > FULL:
                return HOPELESS, {}
            dispatchers = self._gateways.get(name, self._dispatchers)
            forecasts[name] = self._p99(*some.groups(flow.tokens), flow, name, dispatchers)
        return score_of([forecasts[name] / goals[name] for name in self._flows]), forecasts

    def best(self, goals: Mapping[str, float], ids: Sequence[str]) -> Candidate | None:
        """The best way to divide a fleet; of about equally good ones that with the most room.

        Args:
            goals: Seconds that the p99 of each class is held against.
            ids: Of the replicas, in the order in which classes get them.

        Returns:
            None where some class always has more work than its replicas can do.
        """
        fleet = self._fleet
        names = sorted(self._flows, key=lambda name: (self._flows[name].mean, name))
        if len(names) > len(fleet.ids):
            return None
        tried: Iterator[tuple[int, ...]] = _compositions(len(fleet.ids), len(names))
        if len(names) > SEARCHED:
            tried = iter([_in_proportion(fleet, [self._flows[name].tokens for name in names])])
        found: list[tuple[float, Candidate]] = []
        for counts in tried:
            ends = np.cumsum(counts).tolist()
            ranges = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
            fleets = {name: fleet.of(some) for name, some in zip(names, ranges, strict=True)}
            score, forecasts = self.score(fleets, goals, names[-1])
            if score == HOPELESS:
                continue
            sets = {
                name: frozenset(ids[some])
                for name, some in zip(names[:-1], ranges[:-1], strict=True)
            }
            fullest = max(
                self._flows[name].tokens / float(some.capacity.sum())
                for name, some in fleets.items()
            )
            found.append((fullest, Candidate(sets, names[-1], score, forecasts)))
        if not found:
            return None
        over, mean = min(each.score for _, each in found)
        near = [
            each
            for each in found
            if each[1].score[0] <= over + NEAR and each[1].score[1] <= mean + NEAR
        ]
        return min(near, key=lambda each: each[0])[1]

    def _p99(
        self,
        groups: Sequence[Group],
        shares: Sequence[float],
        flow: Flow,
        name: str,
        dispatchers: int,
    ) -> float:
        of, short = self._flows[name], self._demand.is_short(name)
        return percentile(groups, shares, flow, of, dispatchers, short=short)


def score_of(ratios: Sequence[float]) -> Score:
    """How bad p99s relative to their goals are: what is too much, then the mean logarithm."""
    logs = [math.log(max(ratio, 1e-9)) for ratio in ratios]
    over = sum(max(each - math.log(WORSE), 0.0) for each in logs)
    return over, sum(max(each, HARM * each) for each in logs) / len(logs)


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
