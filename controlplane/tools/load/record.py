"""What came of the requests, added up while they end: answers in, counts and durations out. Pure.

Memory grows with the number of steps, targets and replicas, not with that of requests.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from controlplane.tools.load.percentiles import Histogram
from controlplane.tools.load.schedule import Step

MOST_REPLICAS: Final = 1000
"""Names of replicas that are kept apart; a header that names no replica has no end of values."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that has ended, in seconds.

    Attributes:
        step: That it belongs to.
        target: Index of where it was sent.
        due: When it was meant to leave, after the begin of the load.
        late: How long after that it did.
        service: From then to the end of its answer, or to its failure.
        upstream: Of it, from Envoy having the whole request to it having an answer's headers, as
            ``x-envoy-upstream-service-time`` says; None when nobody says.
        fault: Why it failed; None for one that did not.
        sent: Bytes of its body.
        received: Bytes of its answer's body.
        replica: Who answered, where answers say so.
    """

    step: Step
    target: int
    due: float
    late: float
    service: float
    upstream: float | None = None
    fault: str | None = None
    sent: int = 0
    received: int = 0
    replica: str | None = None

    @property
    def latency(self) -> float:
        """From when it was meant to leave: what the generator holds up is not forgotten."""
        return self.late + self.service


@dataclass(slots=True)
class Series:
    """Durations of the requests that were answered right, in seconds, and why others were not.

    Attributes:
        latency: From when they were meant to leave.
        service: From when they left.
        hop: Of that, not with a replica: on the way to Envoy and in it.
        upstream: Of that, Envoy waiting for an answer.
    """

    latency: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    hop: Histogram = field(default_factory=Histogram)
    upstream: Histogram = field(default_factory=Histogram)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, answer: Answer) -> None:
        """Take one in."""
        if answer.fault is not None:
            self.faults[answer.fault] += 1
            return
        self.latency.add(answer.latency)
        self.service.add(answer.service)
        if answer.upstream is not None:
            self.hop.add(answer.service - answer.upstream)
            self.upstream.add(answer.upstream)

    @property
    def failed(self) -> int:
        """Requests without a right answer."""
        return self.faults.total()

    @property
    def requests(self) -> int:
        """That have ended."""
        return self.latency.count + self.failed

    def quantile(self, part: float) -> float | None:
        """Of latencies; a failed request took for ever."""
        return self.latency.quantile(part, self.failed)


@dataclass(slots=True)
class StepRecord:
    """What came of a step.

    Attributes:
        whole: Of all requests that count.
        targets: Of those of each target, by its index.
        replicas: Of those of each replica, where answers name theirs.
        late: How long after they were meant to requests left, those of the warm-up too.
        completed: Right answers that ended while the step was measured, whenever they began.
        held_back: Requests that waited because as many as may be were in flight.
        unsent: Requests that never left, because the generator did not keep up.
        cpu: Seconds of CPU that the generator took per second.
        sent: Bytes of bodies.
        received: Likewise, of answers.
    """

    whole: Series = field(default_factory=Series)
    targets: defaultdict[int, Series] = field(default_factory=lambda: defaultdict(Series))
    replicas: defaultdict[str, Series] = field(default_factory=lambda: defaultdict(Series))
    late: Histogram = field(default_factory=Histogram)
    completed: int = 0
    held_back: int = 0
    unsent: int = 0
    cpu: float | None = None
    sent: int = 0
    received: int = 0
    _waited: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, answer: Answer) -> None:
        """Take in a request of this step that has ended."""
        self.late.add(answer.late)
        self._waited[answer.step.third(answer.due)] += answer.latency
        if not answer.step.counts(answer.due):
            return
        self.sent += answer.sent
        self.received += answer.received
        self.whole.add(answer)
        self.targets[answer.target].add(answer)
        name = answer.replica
        if name is not None and (name in self.replicas or len(self.replicas) < MOST_REPLICAS):
            self.replicas[name].add(answer)

    def waiting(self, step: Step) -> list[float]:
        """Requests without an answer, on average over each third of the step (Little's law)."""
        third = (step.end - step.begin) / 3
        return [waited / third for waited in self._waited]


@dataclass(slots=True)
class Record:
    """What came of everything so far.

    Attributes:
        steps: By their numbers; those that have not begun are not there.
        answered: Requests that have ended with a status, by target, those of warm-ups too.
        unreached: By target, why no connection came about, and how often.
    """

    steps: defaultdict[int, StepRecord] = field(default_factory=lambda: defaultdict(StepRecord))
    answered: Counter[int] = field(default_factory=Counter)
    unreached: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, answer: Answer, now_in: Step | None, *, connected: bool) -> None:
        """Take in a request that has ended.

        Args:
            answer: Of it.
            now_in: The step that is being measured at the moment, if one is.
            connected: Whether there was somebody to answer.
        """
        self.steps[answer.step.number].add(answer)
        if now_in is not None and answer.fault is None:
            self.steps[now_in.number].completed += 1
        if connected:
            self.answered[answer.target] += 1
        elif answer.fault is not None:
            self.unreached[answer.target][answer.fault] += 1

    def silent(self, target: int) -> str | None:
        """Why a target was never reached; None once it was, or before anything came of it."""
        reasons = self.unreached.get(target)
        if self.answered[target] or not reasons:
            return None
        return reasons.most_common(1)[0][0]
