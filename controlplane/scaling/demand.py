"""The load of a pool and the capacity of its replicas, by class, and a forecast of the load.

The forecast is the present level plus a trend. The trend is the least of three slopes in a row, and
none where their signs differ: the minmod limiter (Roe, 1986), between the means of four spans of
time. A ramp is followed. A step touches two of the slopes at most, so it is no trend to go on with.
"""

import math
from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from controlplane.balancing import Decision, sets
from controlplane.balancing.columns import Bools
from controlplane.balancing.division import Division
from controlplane.balancing.fleet import Fleet, fleet_of
from controlplane.balancing.frame import COUNTING, Frame
from controlplane.balancing.lengths import squares_of, tokens_of
from controlplane.balancing.prediction import Flow
from controlplane.balancing.shares import work_rate
from controlplane.balancing.table import DEFAULT

STEP: Final = 5.0
"""Seconds between two points."""
SPANS: Final = 4
LEAST_SPAN, MOST_SPAN = 20.0, 300.0
"""Seconds of a span: shorter ones show chance, longer ones the past."""


def span_of(horizon: float) -> float:
    """Seconds of a span, for a forecast that goes so far: a third of that, within limits."""
    return min(max(horizon / 3, LEAST_SPAN), MOST_SPAN)


class LoadHistory:
    """What came lately of one class of requests, in tokens per second."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()
        self._forecasts: deque[tuple[float, float]] = deque()
        self._floors: deque[tuple[float, float]] = deque()

    @property
    def level(self) -> float:
        """The newest rate; 0 before any."""
        return self._points[-1][1] if self._points else 0.0

    def add(self, rate: float, now: float) -> None:
        """Take in a rate in tokens per second; the newest of a step stands for it."""
        points, step = self._points, now // STEP * STEP
        if points and points[-1][0] == step:
            points.pop()
        points.append((step, rate))
        while points[0][0] < step - SPANS * MOST_SPAN:
            points.popleft()

    def forecast(self, horizon: float) -> float:
        """The most tokens per second that are expected within so many seconds."""
        return self.level + max(self.trend(horizon), 0.0) * horizon

    def trend(self, horizon: float) -> float:
        """Tokens per second that are added in a second, for a forecast that goes so far."""
        if not self._points:
            return 0.0
        span, now = span_of(horizon), self._points[-1][0]
        if self._points[0][0] > now - SPANS * span + STEP:
            return 0.0
        means = [self._mean(now - n * span, span) for n in range(SPANS, 0, -1)]
        return _minmod([after - before for before, after in pairwise(means)]) / span

    def _mean(self, begin: float, span: float) -> float:
        found = [rate for at, rate in self._points if begin < at <= begin + span]
        return sum(found) / len(found) if found else 0.0

    def keep(self, forecast: float, now: float, seconds: float) -> None:
        """Remember for some seconds the tokens per second that were expected."""
        _keep(self._forecasts, forecast, now, seconds)

    def keep_floor(self, floor: float, now: float, horizon: float) -> None:
        """Remember the tokens per second that work off a backlog, until that has been done.

        That is a start, and then the time in which the backlog is to go.
        """
        _keep(self._floors, floor, now, horizon + span_of(horizon))

    def most(self) -> tuple[float, float]:
        """The largest forecast and the largest floor that are kept."""
        forecasts = (value for _, value in self._forecasts)
        floors = (value for _, value in self._floors)
        return max(forecasts, default=0.0), max(floors, default=0.0)


def _keep(points: deque[tuple[float, float]], value: float, now: float, seconds: float) -> None:
    step = now // STEP * STEP
    if points and points[-1][0] == step:
        value = max(value, points.pop()[1])
    points.append((step, value))
    while points[0][0] < step - seconds:
        points.popleft()


def _minmod(slopes: Sequence[float]) -> float:
    if not (all(slope > 0 for slope in slopes) or all(slope < 0 for slope in slopes)):
        return 0.0
    return min(slopes, key=abs)


def upper_quartile(values: Sequence[float]) -> float:
    """The value that three quarters do not exceed; the largest of up to three."""
    ordered = sorted(values)
    return ordered[-(-3 * len(ordered) // 4) - 1]


SPREAD: Final = math.e
"""E[x²]/E[x]² of lognormal sizes with sigma 1, which are assumed until sizes are known."""
LONG: Final = 6.2
"""The 99th percentile of such sizes, in means."""
ALL: Final = "all requests"


class Typical(NamedTuple):
    """The replica in the middle: what one that is added is taken for.

    Attributes:
        capacity: Tokens per second.
        start: Seconds that starting a batch takes; 0 where nothing is batched.
        budget: Tokens of a full batch.
        slots: Requests at a time.
    """

    capacity: float
    start: float
    budget: float
    slots: float
    are_batches: float

    @classmethod
    def of(cls, fleet: Fleet) -> "Typical | None":
        """Of the medians of some replicas; None where there are none."""
        if not fleet.ids:
            return None
        columns = (fleet.capacity, fleet.start, fleet.budget, fleet.slots, fleet.are_batches)
        return cls(*(float(np.median(each)) for each in columns))


@dataclass(frozen=True, slots=True)
class ClassDemand:
    """One class of requests, and the replicas that serve it.

    Attributes:
        name: Empty for the class of all that no other takes.
        fleet: Its replicas that serve, slowest first.
        backlog: Tokens known to wait at them beyond what the objective allows.
        objective: Seconds of p99; None where none is promised.
        is_short: Its requests are short beside others that are computed together with them.
    """

    name: str
    title: str
    flow: Flow
    fleet: Fleet
    backlog: float = 0.0
    objective: float | None = None
    is_short: bool = False


def demands_of(decision: Decision, now: float, wanted: Set[str]) -> tuple[ClassDemand, ...]:
    """List what comes of each class, by the last decision, to the replicas that count.

    After a decision from long ago nothing comes. Empty where the decision knows nothing, as just
    after a restart.
    """
    frame = decision.frame
    if frame is None:
        return ()
    rows = decision.share != 0
    rows &= np.asarray([id_ in wanted for id_ in frame.ids])
    is_current = now - decision.at <= COUNTING
    settings = frame.settings
    whole = settings.objective.p99 if settings.objective is not None else None
    division = decision.division
    titles = sets.titles(settings, division)
    if division.rest is not None and division.is_in_force(now):
        found = _of_division(frame, division, rows, whole)
    else:
        titles = {DEFAULT: ALL}
        found = [(DEFAULT, _whole(frame), rows, whole, False)]
    return tuple(
        ClassDemand(
            name,
            titles.get(name, name),
            flow if is_current else replace(flow, rate=0.0),
            _fleet(decision, frame, served),
            _backlog(decision, frame, served, objective) if is_current else 0.0,
            objective,
            is_short,
        )
        for name, flow, served, objective, is_short in found
    )


def _of_division(
    frame: Frame, division: Division, rows: Bools, whole: float | None
) -> list[tuple[str, Flow, Bools, float | None, bool]]:
    """Each class with its own replicas; one that has none counts with the rest."""
    known = frame.demand
    flows = dict(known.flows) if known is not None else {}
    names = (*division.sets, division.rest or DEFAULT)
    # A class without requests still has its replicas.
    of_own = {name: flows.get(name) or replace(_whole(frame), rate=0.0) for name in names}
    for name in flows.keys() - of_own.keys():
        of_own[names[-1]] = of_own[names[-1]].plus(flows[name])
    goals = known.objectives if known is not None else {}
    return [
        (
            name,
            flow,
            rows & division.members(name, frame.ids),
            goals.get(name, whole),
            known is not None and name in flows and known.is_short(name),
        )
        for name, flow in of_own.items()
    ]


def _whole(frame: Frame) -> Flow:
    """All requests together."""
    sizes, rate = frame.sizes, frame.rate_of(None)
    served = frame.serving & frame.fresh
    if sizes is not None and sizes.samples:
        # Large requests that begin to come are a load at once.
        mean = tokens_of(frame, sizes.newest_mean)
        if rate is None:
            rate = math.fsum(np.nan_to_num(work_rate(frame)[served])) / mean
        long = tokens_of(frame, sizes.quantile(0.99))
        return Flow(rate, mean, squares_of(frame, sizes.whole), long)
    if rate is None:
        rate = math.fsum(np.nan_to_num(frame.table.column("rate")[served]))
    mean = frame.pool.length or 100.0
    return Flow(rate, mean, SPREAD * mean**2, LONG * mean)


def _fleet(decision: Decision, frame: Frame, rows: Bools) -> Fleet:
    some = np.flatnonzero(rows)
    start, budget, slots, batched = sets.batching(frame, some)
    return fleet_of(
        [frame.ids[row] for row in some],
        decision.capacity[some],
        start[some],
        budget[some],
        slots[some],
        batched[some],
    )


def _backlog(decision: Decision, frame: Frame, rows: Bools, objective: float | None) -> float:
    waits = getattr(frame, "waits", None)
    if waits is None:
        return 0.0
    shapes = frame.state.records.shapes
    allowed = objective or 2 * shapes.full() / np.maximum(decision.capacity, 1e-9)
    over = np.maximum(np.nan_to_num(waits) - allowed, 0.0) * decision.capacity
    return math.fsum(over[rows])
