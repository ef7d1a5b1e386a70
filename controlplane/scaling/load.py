"""How much work comes, and how much will have come by the time a new replica serves.

The forecast is the present level plus a trend. The trend is the least of three slopes in a row, and
none where their signs differ: the minmod limiter (Roe, 1986), between the means of four spans of
time. A ramp is followed. A step touches two of the slopes at most, so it is no trend to go on with.
Seasons are left out: a daily wave is slow beside the start of a replica.
"""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

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
        """Begin without a point."""
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


def _keep(kept: deque[tuple[float, float]], value: float, now: float, seconds: float) -> None:
    step = now // STEP * STEP
    if kept and kept[-1][0] == step:
        value = max(value, kept.pop()[1])
    kept.append((step, value))
    while kept[0][0] < step - seconds:
        kept.popleft()


def _minmod(slopes: Sequence[float]) -> float:
    if not (all(slope > 0 for slope in slopes) or all(slope < 0 for slope in slopes)):
        return 0.0
    return min(slopes, key=abs)


def upper_quartile(values: Sequence[float]) -> float:
    """The value that three quarters do not exceed; the largest of up to three."""
    ordered = sorted(values)
    return ordered[-(-3 * len(ordered) // 4) - 1]
