"""Add up what came of requests while they end: answers in, counts and durations out. Pure.

Memory grows with the number of steps, targets, classes and replicas, not with that of requests.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from controlplane.tools.load.schedule import Departure, Step

GROWTH: Final = 1.01
"""From one bucket's upper bound to the next: a quantile is at most so many times the true one."""

SMALLEST: Final = 1e-6
"""Seconds; what is shorter is in the first bucket."""

_LOG_GROWTH: Final = math.log(GROWTH)

BACKLOG: Final = 0.25
"""Seconds of work for all replicas together; where less is waiting, no queue has grown."""

QUEUE_GROWTH: Final = 2.0
"""A queue grows if it is so many times longer in a run's last third than in its first, with the
second between. Runs begin with empty queues, so growth with the square root of time shows too."""


def nearest_rank(values: Sequence[float], part: float) -> float:
    """Return the smallest value that so large a part of the values does not exceed."""
    return sorted(values)[_rank(part, len(values)) - 1]


def _rank(part: float, count: int) -> int:
    # 0.999 × 1000 is 999.0000000000001 in binary; a rank must not depend on that.
    return max(math.ceil(round(part * count, 6)), 1)


@dataclass(slots=True)
class Histogram:
    """Durations in buckets that grow by `GROWTH`; an hour of load needs some kilobytes.

    Attributes:
        total: Their sum in seconds.
        longest: The longest one, exactly; 0 of none.
    """

    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    _buckets: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """Add a duration; a negative one, which only a clock's resolution makes, counts as 0."""
        seconds = max(seconds, 0.0)
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        self._buckets[_bucket(seconds)] += 1

    @property
    def mean(self) -> float | None:
        """Seconds; None of nothing."""
        return self.total / self.count if self.count else None

    def quantile(self, part: float, endless: int = 0) -> float | None:
        """Return the duration that so large a part does not exceed, at most `GROWTH` × too long.

        Returns:
            Seconds; infinity among the endless ones, None of nothing.
        """
        if not self.count + endless:
            return None
        rank = _rank(part, self.count + endless)
        if rank > self.count:
            return math.inf
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return min(SMALLEST * GROWTH**bucket, self.longest)
        return self.longest

    def curve(self) -> list[tuple[float, float]]:
        """Return points of the distribution: seconds, and the part that takes no longer."""
        seen, points = 0, []
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            points.append((min(SMALLEST * GROWTH**bucket, self.longest), seen / self.count))
        return points


def _bucket(seconds: float) -> int:
    if seconds <= SMALLEST:
        return 0
    return math.ceil(math.log(seconds / SMALLEST) / _LOG_GROWTH)


def queue(thirds: Sequence[float], capacity: float) -> Literal["steady", "growing"]:
    """Tell whether a queue grew from one third of a run to the next.

    Args:
        thirds: Requests without an answer, on average over each third.
        capacity: Requests per second that all replicas together can serve, or are sent.
    """
    first, second, third = thirds
    grew = first < second < third and third >= QUEUE_GROWTH * first
    return "growing" if grew and third >= BACKLOG * capacity else "steady"


MOST_REPLICAS: Final = 1000
"""Names of replicas that are kept apart; a header that names no replica has no end of values."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that has ended, in seconds.

    Attributes:
        late: How long after it was due it left.
        service: From then to the end of its answer, or to its failure.
        upstream: From Envoy having the whole request to Envoy having an answer's headers, as
            ``x-envoy-upstream-service-time`` says; None where the header is missing.
    """

    departure: Departure
    late: float
    service: float
    status: int | None = None
    fault: str | None = None
    upstream: float | None = None
    received: int = 0
    replica: str | None = None
    connected: bool = True

    @property
    def latency(self) -> float:
        """From when it was due, so what the generator holds up is included."""
        return self.late + self.service


@dataclass(slots=True)
class Series:
    """Durations of requests that succeeded, in seconds, and why others failed.

    Attributes:
        latency: From when they were due.
        service: From when they left.
        hop: The part of it that is not upstream: on the way to Envoy and in Envoy.
        upstream: The part of it in which Envoy waited for an answer.
    """

    latency: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    hop: Histogram = field(default_factory=Histogram)
    upstream: Histogram = field(default_factory=Histogram)
    faults: Counter[str] = field(default_factory=Counter)
    tokens: float = 0.0

    def add(self, answer: Answer) -> None:
        if answer.fault is not None:
            self.faults[answer.fault] += 1
            return
        self.latency.add(answer.latency)
        self.service.add(answer.service)
        self.tokens += answer.departure.tokens
        if answer.upstream is not None:
            self.hop.add(answer.service - answer.upstream)
            self.upstream.add(answer.upstream)

    @property
    def failed(self) -> int:
        return self.faults.total()

    @property
    def requests(self) -> int:
        """Requests that have ended."""
        return self.latency.count + self.failed

    def quantile(self, part: float) -> float | None:
        """Return a quantile of latency; a failed request counts as infinite."""
        return self.latency.quantile(part, self.failed)


@dataclass(slots=True)
class StepRecord:
    """What came of a step.

    Attributes:
        late: How long after they were due requests left, those of the warm-up included.
        held_back: Requests that waited because as many as allowed were in flight.
        unsent: Requests that never left, because the generator did not keep up.
        cpu: Seconds of CPU that the generator took per second.
    """

    whole: Series = field(default_factory=Series)
    targets: defaultdict[int, Series] = field(default_factory=lambda: defaultdict(Series))
    classes: defaultdict[str, Series] = field(default_factory=lambda: defaultdict(Series))
    replicas: defaultdict[str, Series] = field(default_factory=lambda: defaultdict(Series))
    late: Histogram = field(default_factory=Histogram)
    completed: int = 0
    tokens: float = 0.0
    held_back: int = 0
    unsent: int = 0
    cpu: float | None = None
    sent: int = 0
    received: int = 0
    _waited: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, answer: Answer) -> None:
        """Add a request of this step that has ended."""
        departure, step = answer.departure, answer.departure.step
        self.late.add(answer.late)
        self._waited[step.third(departure.at)] += answer.latency
        if not step.counts(departure.at):
            return
        self.sent += len(departure.body)
        self.received += answer.received
        self.whole.add(answer)
        self.targets[departure.target].add(answer)
        if departure.kind:
            self.classes[departure.kind].add(answer)
        name = answer.replica
        if name is not None and (name in self.replicas or len(self.replicas) < MOST_REPLICAS):
            self.replicas[name].add(answer)

    def waiting(self, step: Step) -> list[float]:
        """Return the requests in flight, on average over each third of the step (Little's law)."""
        third = (step.end - step.begin) / 3
        return [waited / third for waited in self._waited]


@dataclass(slots=True)
class Record:
    """What came of all requests so far.

    Attributes:
        answered: Requests that had a connection, by target, those of warm-ups included.
        unreached: By target, why there was no connection, and how often.
    """

    steps: defaultdict[int, StepRecord] = field(default_factory=lambda: defaultdict(StepRecord))
    answered: Counter[int] = field(default_factory=Counter)
    unreached: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, answer: Answer, now_in: Step | None) -> None:
        """Add a request that has ended.

        Args:
            now_in: The step that is being measured at the moment, if any.
        """
        departure = answer.departure
        self.steps[departure.step.number].add(answer)
        if now_in is not None and answer.fault is None:
            self.steps[now_in.number].completed += 1
            self.steps[now_in.number].tokens += departure.tokens
        if answer.connected:
            self.answered[departure.target] += 1
        elif answer.fault is not None:
            self.unreached[departure.target][answer.fault] += 1

    def silent(self, target: int) -> str | None:
        """Return why a target was never reached; None once it was, or before any request ended."""
        reasons = self.unreached.get(target)
        if self.answered[target] or not reasons:
            return None
        return reasons.most_common(1)[0][0]
