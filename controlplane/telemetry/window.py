"""The last seconds of one replica: readings in, one `Window` of differences out.

Counters only tell something by how much they grow. A window is the difference between the newest
reading and one that is at least `WINDOW` older, and older still, up to `LONGEST`, until it holds
`ENOUGH` requests: a replica with little traffic is judged by more of its past, unless its newest
requests took so much longer or shorter than those before that it is no longer the same.

A thousand replicas scraped twice a second have a hundred thousand readings in a minute, so these
are held in columns of numbers. Most of a reading are the counts of its buckets, which are held only
as long as a window may begin with it.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub
from typing import Final

from controlplane.config import QueueUnit
from controlplane.telemetry.batches import Batches, BatchTotals, Timed, impossible, packed, unpacked
from controlplane.telemetry.counters import Counters
from controlplane.telemetry.histogram import Resolution, quantile
from controlplane.telemetry.processes import Processes
from controlplane.telemetry.reading import Reading
from controlplane.telemetry.sums import GpuMemory

_NOTHING: Final = array("f")


class Points:
    """The readings of one process, the oldest first; all they count is since it started.

    `at` has their times, `counted` the requests that were measured, `totals` their seconds.
    """

    __slots__ = (
        "_batches",
        "_begin",
        "_counts",
        "_errors",
        "_requests",
        "_tokens",
        "at",
        "counted",
        "totals",
    )

    def __init__(self) -> None:
        self.at = array("d")
        self.counted = array("d")
        self.totals = array("d")
        # These have an entry only for readings from `_begin` on: no window begins before it.
        self._begin = 0
        self._counts: list[array[float]] = []
        self._errors = array("d")
        self._requests = array("d")
        self._tokens = array("d")
        self._batches: list[bytes | None] = []

    def __len__(self) -> int:
        return len(self.at)

    @property
    def counts(self) -> Sequence[float]:
        """Count of each bucket at the newest reading; empty where there was no histogram yet."""
        return self._counts[-1] if self._counts else _NOTHING

    @property
    def total(self) -> float:
        """Sum of all durations at the newest reading, in seconds."""
        return self.totals[-1] if self.totals else 0.0

    @property
    def errors(self) -> float:
        """Requests that had failed at the newest reading."""
        return self._errors[-1] if self._errors else 0.0

    @property
    def tokens(self) -> float:
        """Tokens computed up to the newest reading; NaN where it did not say."""
        return self._tokens[-1] if self._tokens else math.nan

    @property
    def batches(self) -> BatchTotals | None:
        """Batches computed up to the newest reading; None where it did not say."""
        row = self._batches[-1] if self._batches else None
        return unpacked(row) if row is not None else None

    def append(
        self,
        at: float,
        counts: tuple[float, ...] | None,
        total: float,
        errors: float,
        tokens: float | None,
        batches: BatchTotals | None = None,
    ) -> None:
        """Take in a newer reading; None: as before, or not exposed."""
        before = self._counts[-1] if self._counts else _NOTHING
        packed_counts = before if counts is None else _packed(counts)
        counted = packed_counts[-1] if packed_counts else 0.0
        if before and counted == before[-1] and packed_counts == before:
            # Where little happens most readings are like the one before.
            packed_counts = before
        self._counts.append(packed_counts)
        self._errors.append(errors)
        self._requests.append(counted + errors)
        self._tokens.append(math.nan if tokens is None else tokens)
        row = None if batches is None else packed(batches)
        self._batches.append(
            self._batches[-1] if self._batches and row == self._batches[-1] else row
        )
        self.at.append(at)
        self.counted.append(counted)
        self.totals.append(total)

    def forget(self, number: int) -> None:
        """Drop so many of the oldest; none where that is less than one."""
        if number > 0:
            for column in (self.at, self.counted, self.totals):
                del column[:number]
            if number > self._begin:
                self._begin_with(number)
            self._begin -= number

    def _begin_with(self, first: int) -> None:
        gone = first - self._begin
        del self._counts[:gone], self._batches[:gone]
        for column in (self._errors, self._requests, self._tokens):
            del column[:gone]
        self._begin = first

    def start(self, seconds: float, requests: float) -> int:
        """The newest reading since which there were so many seconds and requests, or the oldest."""
        old = bisect_right(self.at, self.at[-1] - seconds, self._begin)
        holds = self._begin + bisect_right(self._requests, self._requests[-1] - requests)
        return max(min(old, holds) - 1, 0)

    def mean(self, first: int, last: int) -> float | None:
        """Mean duration in seconds of what came between two readings; None where nothing did."""
        samples = self.counted[last] - self.counted[first]
        return (self.totals[last] - self.totals[first]) / samples if samples > 0 else None

    def grown(self, first: int) -> tuple[Sequence[float], float, float, Batches | None]:
        """What was counted since a reading, the last time that anything is asked of those before.

        Returns:
            By bucket, errors, tokens, and batches; NaN and None where these are not known.
        """
        if first > self._begin:
            self._begin_with(first)
        last, before = self._counts[-1], self._counts[0]
        return (
            [*map(sub, last, before)] if before else last,
            self._errors[-1] - self._errors[0],
            self._tokens[-1] - self._tokens[0],
            self._computed(),
        )

    def _computed(self) -> Batches | None:
        before, last = self._batches[0], self._batches[-1]
        if before is None or last is None:
            return None
        return unpacked(last).since(unpacked(before))


def _packed(counts: tuple[float, ...]) -> "array[float]":
    """Each in half the bytes where all are the same in them, as whole numbers up to 2^24 are."""
    short = array("f", counts)
    return short if tuple(short) == counts else array("d", counts)


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


@dataclass(frozen=True, slots=True)
class Window:
    """The work of a replica in the last seconds; None for what is not exposed.

    Attributes:
        at: Time of the newest reading, seconds of a monotonic clock.
        seconds: What it spans; 0 with a single reading.
        samples: Requests whose duration was measured.
        rate: Measured requests per second, X.
        latency: Their mean duration in seconds, R; None without samples.
        p99: Of their durations in seconds; see `resolution`. None without samples or distribution.
        resolution: Whether the p99 fell between two bounds ("ok") or is only a limit.
        in_flight: Mean number of requests at a time: L = X·R (Little's law).
        error_fraction: Failed of all requests, 0 to 1. Failures are taken not to be among the
            measured durations, as in text-embeddings-inference; where they are, a fraction of 1
            shows as ½.
        queue: Requests or texts that waited at the newest reading; see `queue_unit`.
        running: Requests or texts that were under way at the newest reading.
        count: Requests measured since the process started.
        total: What these took altogether, in seconds.
        tokens: Computed since the process started; `tokens_in` in this window.
        looks: How many times the requests in flight were counted since the process started, where
            `total` is only the sum over these; None where durations were measured.
        batches: Computed in this window; None as well where the figures cannot be true.
        batches_total: Since the process started; see `BatchTotals.since`.
        p50: The median, as `p99`.
        bounds: Upper bounds of the buckets of durations; empty where there is no distribution.
        counts: Of the requests in this window those of each bucket and all below.
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
    batches: Batches | None = None
    batches_total: BatchTotals | None = None
    queue_unit: QueueUnit = "requests"
    p50: float | None = None
    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()


class History:
    """The readings of one replica over the last minute.

    Attributes:
        generation: How many times the replica has restarted while it was watched.
    """

    def __init__(self, generation: int = 0) -> None:
        """Begin without a reading, after so many restarts."""
        self.generation = generation
        self._points = Points()
        self._timed = Timed()
        self._processes = Processes()
        self._bounds: tuple[float, ...] = ()

    def add(self, reading: Reading) -> Window:
        """Take in a newer reading; costs O(buckets + log readings).

        Counters that went down, other buckets or another start of the process: the replica has
        restarted, its history is dropped and `generation` rises. Not so where only some label sets
        went, or where one of several processes answers.
        """
        counters, restarted = self._processes.take(reading)
        if restarted:
            self.generation += 1
            self._points, self._timed = Points(), Timed()
            self._bounds = ()
        if reading.latency is not None:
            self._bounds = reading.latency.bounds
        points = self._points
        if not points or reading.at > points.at[-1]:
            self._append(reading.at, counters)
        # Two readings always stay, so that a pool scraped once in five minutes has windows as well.
        old = bisect_right(points.at, reading.at - LONGEST) - 1
        points.forget(min(old, len(points) - 2))
        self._forget_if_changed()
        return self._window(reading)

    def _append(self, at: float, counters: Counters) -> None:
        """A quantity that a reading leaves out counts as unchanged."""
        points, counts = self._points, counters.counts
        points.append(
            at,
            counts,
            points.total if counts is None else counters.total,
            points.errors if counters.errors is None else counters.errors,
            counters.tokens,
            None if counters.batches is None else self._timed.of(counters.batches),
        )

    def _forget_if_changed(self) -> None:
        """Drop what was before the newest requests when they are not like it any more."""
        points = self._points
        telling = points.start(WINDOW, TELLING)
        before, newest = points.mean(0, telling), points.mean(telling, -1)
        if before and newest and not 1 / CHANGED < newest / before < CHANGED:
            points.forget(telling)

    def _window(self, reading: Reading) -> Window:
        points = self._points
        first = points.start(WINDOW, ENOUGH)
        seconds = points.at[-1] - points.at[first]
        samples = points.counted[-1] - points.counted[first]
        latency = points.mean(first, -1)
        counts, failed, tokens, batches = points.grown(first)
        totals, note = points.batches, reading.note
        if batches and (wrong := impossible(batches, seconds, settled=seconds >= WINDOW)):
            batches = totals = None
            wrong = f"what it says of its batches cannot be true: {wrong}"
            note = f"{note}; {wrong}" if note else wrong
        if (several := self._processes.seen) > 1:
            how = (
                f"{several} processes answer at this address, each with counters of its own: what"
                " they count is added up as each is asked, and a queue is that of one of them (give"
                " each a port, or have the server add them up)"
            )
            note = f"{note}; {how}" if note else how
        p50, p99 = (quantile(part, self._bounds, counts) for part in (0.5, 0.99))
        rate = samples / seconds if seconds > 0 else 0.0
        return Window(
            at=points.at[-1],
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
            note=note,
            running=reading.running,
            count=points.counted[-1],
            total=points.total,
            tokens=_known(points.tokens),
            tokens_in=_known(tokens),
            batches=batches,
            batches_total=totals,
            queue_unit=reading.queue_unit,
            p50=p50[0] if p50 else None,
            bounds=self._bounds,
            counts=tuple(counts),
        )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
