"""From what a generator saw to numbers, and from runs to medians. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from statistics import median
from typing import Any, Final, Literal

from benchmarks.balance.cell import Cell
from benchmarks.balance.replicas import State
from benchmarks.figures import Spread, spread
from benchmarks.generator import Outcome, Request
from controlplane.tools.load.record import nearest_rank, queue

Verdict = Literal["steady", "growing", "collapsed"]

ALL: Final = "all"
"""All requests, of whatever class."""

COLLAPSE: Final = 10.0
"""Seconds of work for all replicas together: with so much of it waiting, a run is cut. Servers that
batch have a second of it or two waiting at 85 % load, and answer."""

LATE: Final = 25.0
"""Milliseconds; where the generator was later than that (99th percentile), something else had the
machine, and the run says more of that than of the contender."""


def most_in_flight(cell: Cell) -> int:
    """Requests without an answer at which a run has collapsed."""
    return ceil(COLLAPSE * cell.capacity)


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the requests of one class that counted, those that were due after the warm-up.

    Attributes:
        requests: How many.
        failed: Of them.
        p50: Milliseconds from when a request should have been sent; a failed one took for ever.
        p99: Likewise.
    """

    requests: int
    failed: int
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One run in numbers.

    Attributes:
        verdict: What the queues did. Latencies of a run that grew would be higher in a longer run;
            those of a collapsed one say nothing.
        cut_at: Seconds after the begin of the load when it was cut, if it was.
        latency: By class, `ALL` first.
        late: Milliseconds that the generator was late itself, 99th percentile.
        waiting: Requests without an answer, on average over the last third of the run.
        overloaded: Requests that counted and were answered with 429.
        errors: Those answered with 5xx, or not at all.
    """

    verdict: Verdict
    cut_at: float | None
    latency: Mapping[str, Latency]
    late: float
    waiting: float
    overloaded: int
    errors: int

    @property
    def is_disturbed(self) -> bool:
        """Whether the machine had too much else to do."""
        return self.late > LATE


@dataclass(frozen=True, slots=True)
class Work:
    """What the replicas did in the time that counts.

    Attributes:
        tokens: That all together computed, per second.
        uneven: The busiest one's busy time over the mean.
    """

    tokens: float
    uneven: float


def work(before: Sequence[State], after: Sequence[State], seconds: float) -> Work:
    """What replicas did between two looks at them."""
    busy = [late.busy - early.busy for early, late in zip(before, after, strict=True)]
    tokens = sum(item.tokens for item in after) - sum(each.tokens for each in before)
    mean = sum(busy) / len(busy)
    return Work(tokens / seconds, max(busy) / mean if mean else 1.0)


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over.

    Attributes:
        summary: What it came to.
        cpu: Seconds of CPU per second of load, by what took it.
        busiest: The same of the one process that took most.
        changes: How often proxies were told of other weights in the time that counts; None of a
            run that was cut.
        work: Of the replicas; None of a run that was cut.
        out_of_memory: How often a replica ran out of memory.
        told: What the contender had learned at its end.
    """

    summary: Summary
    cpu: Mapping[str, float]
    busiest: float
    changes: int | None
    work: Work | None
    out_of_memory: int
    told: Mapping[str, Any]


def summarize(outcome: Outcome, cell: Cell) -> Summary:
    """What one run came to; of a run that was cut, latencies are inf."""
    timing = cell.scenario.timing
    counted = [request for request in outcome.requests if request.at >= timing.warm_up]
    lateness = [1000 * request.late for request in outcome.requests] or [0.0]
    third = timing.total / 3
    thirds = [waiting(outcome.requests, n * third, (n + 1) * third) for n in range(3)]
    cut = outcome.cut_at is not None
    parts = {ALL: counted} | {
        kind: [request for request in counted if request.kind == kind] for kind in cell.kinds
    }
    failed = [] if cut else [request for request in counted if request.latency is None]
    return Summary(
        verdict="collapsed" if cut else queue(thirds, cell.capacity),
        cut_at=outcome.cut_at,
        latency={kind: _of(requests, cut=cut) for kind, requests in parts.items()},
        late=nearest_rank(lateness, 0.99),
        waiting=inf if cut else thirds[-1],
        overloaded=sum(request.status == 429 for request in failed),
        errors=sum(request.status is None or request.status >= 500 for request in failed),
    )


def _of(requests: Sequence[Request], *, cut: bool) -> Latency:
    failed = 0 if cut else sum(request.latency is None for request in requests)
    latencies = [1000 * _latency(request) for request in requests]
    if cut or not latencies:
        return Latency(len(requests), failed, inf, inf)
    p50, p99 = nearest_rank(latencies, 0.5), nearest_rank(latencies, 0.99)
    return Latency(len(requests), failed, p50, p99)


def waiting(requests: Sequence[Request], begin: float, end: float) -> float:
    """How many requests had no answer yet, on average over a time."""
    return sum(
        max(min(request.at + _latency(request), end) - max(request.at, begin), 0.0)
        for request in requests
    ) / (end - begin)


def _latency(request: Request) -> float:
    return inf if request.latency is None else request.latency


@dataclass(frozen=True, slots=True)
class Comparison:
    """Our values over those of the best peer.

    Attributes:
        peer: Which one it is.
        ratio: Below 1 where ours are lower.
        repetitions: In which neither was disturbed.
    """

    peer: int
    ratio: Spread
    repetitions: int


def ratios(
    ours: Sequence[float | None], peers: Sequence[Sequence[float | None]]
) -> Comparison | None:
    """Our values over the best peer's, repetition by repetition.

    The best is the peer with the lowest median; a repetition had the same seed for everyone, so
    what its arrivals did to all cancels.

    Args:
        ours: One value for each repetition; None of one that was disturbed.
        peers: The same of each peer.

    Returns:
        None when we, or all peers, collapsed in any repetition, and where no repetition is left.
    """
    medians = {
        number: median(known)
        for number, values in enumerate(peers)
        if inf not in values and (known := [value for value in values if value is not None])
    }
    if inf in ours:
        return None
    for number in sorted(medians, key=lambda item: medians[item]):
        found = [
            mine / theirs
            for mine, theirs in zip(ours, peers[number], strict=True)
            if mine is not None and theirs is not None
        ]
        if found:
            return Comparison(number, spread(found), len(found))
    return None
