"""The last seconds of one replica: readings in, one `Window` of differences out.

Counters only tell something by how much they grow. A window is the difference between the newest
reading and one that is at least `WINDOW` older, and older still, up to `LONGEST`, until it holds
`ENOUGH` requests: a replica with little traffic is judged by more of its past, unless its newest
requests took so much longer or shorter than those before that it is no longer the same.
"""

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from operator import lt
from typing import Final

from controlplane.signals.histogram import Resolution, quantile
from controlplane.signals.memory import GpuMemory
from controlplane.signals.reading import Reading

WINDOW: Final = 5.0
"""Seconds that a window spans with enough traffic: short enough to see a replica slow down before
its queue is long, long enough that heavy-tailed request sizes average out."""
LONGEST: Final = 60.0
"""Seconds of history; what is older says little about now."""
ENOUGH: Final = 50
"""Requests that stop a window from stretching; a p99 of fewer is a guess."""
CHANGED: Final = 3.0
"""Factor between mean latencies from where on a replica has changed, and its past is forgotten.
Without this one that recovers with little traffic is held for a minute against what it was."""
TELLING: Final = 6
"""Requests that can tell so. The mean of six of a lognormal size with sigma 1 is three times off
one time in forty; all that is lost then is some of the past."""
_SAME_START: Final = 1.0
"""Seconds by which a start time may waver, for servers that derive it from their uptime."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a replica did in the last seconds.

    Attributes:
        at: Time of the newest reading, seconds of a monotonic clock.
        seconds: What it spans; 0 with a single reading.
        samples: Requests whose duration was measured.
        errors: Requests that failed.
        rate: Measured requests per second, X.
        latency: Their mean duration in seconds, R; None without samples.
        p99: Of their durations in seconds; see `resolution`. None without samples, and where a
            server exposes no distribution.
        resolution: Whether the p99 fell between two bounds ("ok") or is only a limit.
        in_flight: Mean number of requests at a time: L = X·R (Little's law).
        error_fraction: Failed of all requests, 0 to 1. Failures are taken not to be among the
            measured durations, as in text-embeddings-inference; where they are, a fraction of 1
            shows as ½.
        queue: Requests that waited at the newest reading.
        memory: Of every GPU at the newest reading; empty where unknown.
        note: Of the newest reading.
        running: Requests that its server counted as under way at the newest reading.
        count: Requests measured since the process started, for those who take differences of their
            own.
        total: What they took altogether, in seconds.
        tokens: Tokens computed since the process started; None where that is not exposed.
        tokens_in: Of them those in this window.
        looks: How many times it was looked at what is in flight, since the process started, where
            `total` is only the sum over these; None where durations were measured.
    """

    at: float
    seconds: float
    samples: float
    errors: float
    rate: float
    latency: float | None
    p99: float | None
    resolution: Resolution
    in_flight: float
    error_fraction: float
    queue: float | None = None
    memory: tuple[GpuMemory, ...] = ()
    note: str | None = None
    running: float | None = None
    count: float = 0.0
    total: float = 0.0
    tokens: float | None = None
    tokens_in: float | None = None
    looks: float | None = None


@dataclass(frozen=True, slots=True)
class _Point:
    """A reading as the history keeps it: totals since the process started."""

    at: float
    counts: "array[float]"
    total: float
    errors: float
    tokens: float | None = None

    @property
    def requests(self) -> float:
        return _counted(self) + self.errors


class History:
    """The readings of one replica over the last minute.

    Attributes:
        generation: How many times the replica has restarted while it was watched.
    """

    def __init__(self, generation: int = 0) -> None:
        """Begin without a reading.

        Args:
            generation: How many restarts were seen before.
        """
        self.generation = generation
        self._points: list[_Point] = []
        self._bounds: tuple[float, ...] = ()
        self._started_at: float | None = None

    def add(self, reading: Reading) -> Window:
        """Take in a newer reading; costs O(buckets + log readings).

        A counter that went down, other buckets or another start of the process: the replica has
        restarted, its history is dropped and `generation` rises.
        """
        point = self._point(reading)
        if self._points and self._is_restart(reading, point):
            self.generation += 1
            self._points.clear()
            self._bounds, self._started_at = (), None
            point = self._point(reading)
        if reading.latency is not None:
            self._bounds = reading.latency.bounds
        if reading.started_at is not None:
            self._started_at = reading.started_at
        if not self._points or point.at > self._points[-1].at:
            self._points.append(point)
        # Two are always kept, so that a pool scraped once in five minutes has windows as well.
        while len(self._points) > 2 and self._points[1].at <= point.at - LONGEST:
            del self._points[0]
        self._forget_if_changed()
        return self._window(reading)

    def _forget_if_changed(self) -> None:
        """Drop what was before the newest requests when they are not like it any more."""
        points = self._points
        telling = self._start(TELLING)
        before, newest = _mean(points[0], points[telling]), _mean(points[telling], points[-1])
        if before and newest and not 1 / CHANGED < newest / before < CHANGED:
            del points[:telling]

    def _start(self, enough: float) -> int:
        """The point that a window begins at which is to hold so many requests."""
        points, last = self._points, self._points[-1]
        old = bisect_right(points, last.at - WINDOW, key=lambda point: point.at)
        holds = bisect_right(points, last.requests - enough, key=lambda point: point.requests)
        return max(min(old, holds) - 1, 0)

    def _point(self, reading: Reading) -> _Point:
        """What a reading leaves out, it has not changed; nor has a family that is not there yet."""
        last = self._points[-1] if self._points else _Point(-math.inf, array("d"), 0.0, 0.0)
        errors = last.errors if reading.errors is None else reading.errors
        if reading.latency is None:
            return _Point(reading.at, last.counts, last.total, errors, reading.tokens)
        counts = array("d", reading.latency.counts)
        return _Point(reading.at, counts, reading.latency.total, errors, reading.tokens)

    def _is_restart(self, reading: Reading, point: _Point) -> bool:
        last = self._points[-1]
        if (
            self._started_at is not None
            and reading.started_at is not None
            and abs(reading.started_at - self._started_at) > _SAME_START
        ):
            return True
        if reading.latency is not None and self._bounds not in ((), reading.latency.bounds):
            return True
        if point.tokens is not None and last.tokens is not None and point.tokens < last.tokens:
            return True
        return (
            point.errors < last.errors
            or point.total < last.total
            or any(map(lt, point.counts, last.counts))
        )

    def _window(self, reading: Reading) -> Window:
        first, last = self._points[self._start(ENOUGH)], self._points[-1]
        seconds = last.at - first.at
        counts = last.counts
        if first.counts:
            counts = array("d", map(float.__sub__, last.counts, first.counts))
        samples = counts[-1] if counts else 0.0
        failed = last.errors - first.errors
        total = last.total - first.total
        p99 = quantile(0.99, self._bounds, counts)
        rate = samples / seconds if seconds > 0 else 0.0
        latency = total / samples if samples > 0 else None
        return Window(
            at=last.at,
            seconds=seconds,
            samples=samples,
            errors=failed,
            rate=rate,
            latency=latency,
            p99=p99[0] if p99 else None,
            resolution=p99[1] if p99 else "ok",
            in_flight=rate * (latency or 0.0),
            error_fraction=failed / (samples + failed) if failed > 0 else 0.0,
            queue=reading.queue,
            memory=reading.memory,
            note=reading.note,
            running=reading.running,
            count=_counted(last),
            total=last.total,
            tokens=last.tokens,
            tokens_in=None
            if first.tokens is None or last.tokens is None
            else last.tokens - first.tokens,
        )


def _counted(point: _Point) -> float:
    return point.counts[-1] if point.counts else 0.0


def _mean(first: _Point, last: _Point) -> float | None:
    """Mean latency in seconds of what came between two points; None where nothing did."""
    samples = _counted(last) - _counted(first)
    return (last.total - first.total) / samples if samples > 0 else None
