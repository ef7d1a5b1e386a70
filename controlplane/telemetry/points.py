"""Readings as a history keeps them: in columns of numbers, and only as much as windows ask for.

A thousand replicas scraped twice a second have a hundred thousand readings in a minute, so each
may take some tens of bytes. Most of one are the counts of its buckets, and those are needed only
as long as a window may begin with it.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from operator import sub
from typing import Final

from controlplane.telemetry.batches import Batches, BatchTotals, packed, unpacked

_NOTHING: Final = array("f")


class Points:
    """The readings of one process, the oldest first; all they count is since it started.

    Attributes:
        at: Their times, seconds of a monotonic clock, ascending.
        counted: Requests whose duration was measured.
        totals: Of these durations, in seconds.
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
        """Begin without a reading."""
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
        """Of each bucket at the newest reading; empty where there was no histogram yet."""
        return self._counts[-1] if self._counts else _NOTHING

    @property
    def total(self) -> float:
        """Of all durations at the newest reading, in seconds."""
        return self.totals[-1] if self.totals else 0.0

    @property
    def errors(self) -> float:
        """Requests that had failed at the newest reading."""
        return self._errors[-1] if self._errors else 0.0

    @property
    def tokens(self) -> float:
        """That had been computed at the newest reading; NaN where it did not say."""
        return self._tokens[-1] if self._tokens else math.nan

    @property
    def batches(self) -> BatchTotals | None:
        """That had been computed at the newest reading; None where it did not say."""
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
        """Take in a newer reading.

        Args:
            at: Its time.
            counts: Of each bucket; None: as before.
            total: Of all durations, in seconds.
            errors: Requests that failed.
            tokens: That were computed; None where it does not say.
            batches: The same.
        """
        before = self._counts[-1] if self._counts else _NOTHING
        kept = before if counts is None else _packed(counts)
        counted = kept[-1] if kept else 0.0
        if before and counted == before[-1] and kept == before:
            # Where little happens most readings are like the one before.
            kept = before
        self._counts.append(kept)
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
