"""From runs to figures: percentiles by class, ratios to the best peer, how still weights were."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from benchmarks.simulation.fleet import Record
from benchmarks.simulation.told import Told
from controlplane.tools.load.record import nearest_rank

ALL = "all"


@dataclass(frozen=True, slots=True)
class Stillness:
    """How still what Envoys were told was in the time that counts.

    Attributes:
        pushes: Changes that Envoys were told of, per minute.
        moves: Replicas that changed their tier or their class, per minute.
    """

    pushes: float
    moves: float


@dataclass(frozen=True, slots=True)
class Run:
    """One contender once.

    Attributes:
        percentiles: p50 and p99 in milliseconds, by class and of all requests, see `ALL`.
        failed: Part of the requests that got an error.
        busy: Busy time of the replica that was busiest, over the mean.
        tokens: Tokens a second that were served.
        collapsed: It was given up.
        stillness: None where nobody tells Envoys anything.
    """

    percentiles: dict[str, tuple[float, float]]
    failed: float
    busy: float
    tokens: float
    collapsed: bool
    stillness: Stillness | None = None

    def p50(self, kind: str = ALL) -> float:
        """Milliseconds."""
        return self.percentiles[kind][0]

    def p99(self, kind: str = ALL) -> float:
        """Milliseconds."""
        return self.percentiles[kind][1]


def run_of(record: Record, stillness: Stillness | None = None) -> Run:
    """Summarize a run."""
    together = [seconds for each in record.latencies.values() for seconds in each]
    groups = {ALL: together}
    if len(record.latencies) > 1:
        groups |= record.latencies
    mean = sum(record.busy) / len(record.busy)
    return Run(
        percentiles={
            kind: (1e3 * nearest_rank(found, 0.5), 1e3 * nearest_rank(found, 0.99))
            for kind, found in groups.items()
            if found
        },
        failed=record.failed / max(len(together) + record.failed, 1),
        busy=max(record.busy) / mean if mean else 1.0,
        tokens=record.tokens,
        collapsed=record.collapsed,
        stillness=stillness,
    )


def stillness_of(history: Sequence[tuple[float, Told]], since: float, until: float) -> Stillness:
    """Judge what Envoys were told in some time.

    Args:
        history: Each change, and when.
        since: Seconds of the clock.
        until: Likewise.
    """
    minutes = (until - since) / 60
    changes = [(old, new) for (_, old), (at, new) in pairwise(history) if at >= since]
    moves = sum(
        place != after[key]
        for old, new in changes
        for before, after in ((_places(old), _places(new)),)
        for key, place in before.items()
        if key in after
    )
    return Stillness(pushes=len(changes) / minutes, moves=moves / minutes)


def _places(told: Told) -> dict[tuple[str, int], str]:
    """By class and replica: the tier, if it is one of priority 0."""
    return {
        (each.name, number): name
        for each in told.classes
        for name, (members, _) in each.first.items()
        for number in members
    }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Median, lowest and highest of the ratios of runs with the same seeds."""
    found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return median(found), min(found), max(found)
