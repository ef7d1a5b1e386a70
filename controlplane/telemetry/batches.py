"""What a server says of the batches that it computed: values of an exposition in, totals out.

A histogram of the tokens of each batch gives their number, their tokens and, from its buckets, the
sum of their squares. Beside it servers count texts, and the time of the batch that each was in.
Figures that cannot be true are an error, and an idle server is none.
"""

import math
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import lt, mul, sub
from typing import Final, NamedTuple

from controlplane.telemetry.layouts import ExpositionError, Layout
from controlplane.telemetry.profile import BatchFamilies, Source
from controlplane.telemetry.sums import Buckets, Sum, added, buckets, counter, counters

EMPTY: Final = 1.0
"""Tokens up to which a batch is none. text-embeddings-inference records each poll of an empty queue
as a batch of 0 tokens (core/src/queue.rs), vLLM some steps without output; the first bucket of both
ends at 1, and no text has a single token: a tokenizer adds at least one."""
_LAST_BUCKET: Final = math.sqrt(2.0)
"""What the middle of the bucket without an upper bound is taken to be, times its lower bound."""
LONGEST_BATCH: Final = 60.0
"""Seconds that no batch lasts: a client would have given up."""
_WAITING: Final = 8
"""Readings for which a batch that has begun is remembered: one that failed is never timed."""
_TELLING: Final = 3
"""Batches from where on one that began before a window does not explain its seconds."""


class BatchError(ValueError):
    """Batch figures cannot be true; the message is a part of a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of a span of time; None for what is not exposed.

    Attributes:
        count: Batches, without polls of an empty queue.
        squares: Sum over batches of tokens²; at least tokens² / count.
        seconds: Sum over `billed` of the time of the batch that each was in: a batch of ten that
            lasts a second adds ten.
        billed: How many durations `seconds` has: texts, or requests of several texts.
    """

    count: float
    tokens: float | None = None
    squares: float | None = None
    texts: float | None = None
    seconds: float | None = None
    billed: float | None = None


class BatchTotals(NamedTuple):
    """The same since the process started, in a form whose differences are right.

    All are numbers, NaN where they are not exposed, so that histories pack them at little cost.

    Attributes:
        middles: Sum over batches of the middle of the bucket that each fell into.
        squares: Sum over batches of that middle squared.
        text_middles: As `middles`, of the texts of batches.
        text_squares: As `squares`, of the texts of batches.
        begun: Texts in batches that were put together, computed or not.
    """

    batches: float
    tokens: float = math.nan
    middles: float = math.nan
    squares: float = math.nan
    texts: float = math.nan
    seconds: float = math.nan
    billed: float = math.nan
    text_middles: float = math.nan
    text_squares: float = math.nan
    begun: float = math.nan

    def since(self, before: "BatchTotals") -> Batches:
        """What was computed between two readings of one process, `before` the older one.

        Within a bucket tokens are taken to be at its middle, times one factor for all buckets by
        which they add up to the tokens that were counted.
        """
        batches, tokens, middles, squares, texts, seconds, billed, *_ = map(sub, self, before)
        if middles > 0:
            squares *= (tokens / middles) ** 2
        return Batches(
            batches, _known(tokens), _known(squares), _known(texts), _known(seconds), _known(billed)
        )

    def is_less(self, before: "BatchTotals") -> bool:
        """Whether something went down that a process only counts up."""
        return any(map(lt, self, before))  # which NaN never is


_ROW: Final = struct.Struct(f"{len(BatchTotals._fields)}d")


def packed(totals: BatchTotals) -> bytes:
    """Pack totals into half the bytes of an array, a third of a tuple's."""
    return _ROW.pack(*totals)


def unpacked(row: bytes) -> BatchTotals:
    """Unpack what `packed` returned."""
    return BatchTotals(*_ROW.unpack(row))


class Timed:
    """Counts a batch when it has been timed.

    text-embeddings-inference counts a batch when it puts it together and times its texts when they
    are computed, a batch or two later: beside a search of 50 ms a batch of 2,000 tokens may stand
    that has only begun. Texts are timed in the order in which they came into batches. So the
    batches that have been timed are those that were put together up to the last text with a time.
    """

    def __init__(self) -> None:
        self._begun: deque[bytes] = deque(maxlen=_WAITING)

    def of(self, totals: BatchTotals) -> BatchTotals:
        """Return the totals of what has been timed; the same where texts in batches are unknown."""
        begun, texts = self._begun, totals.texts
        if math.isnan(totals.begun) or math.isnan(texts):
            return totals
        if not begun or totals.begun > unpacked(begun[-1]).begun:
            begun.append(packed(totals))
        while len(begun) > 1 and unpacked(begun[1]).begun <= texts:
            begun.popleft()
        first, last = unpacked(begun[0]), unpacked(begun[min(1, len(begun) - 1)])
        part = (texts - first.begun) / max(last.begun - first.begun, 1.0)
        part = min(max(part, 0.0), 1.0)
        pairs = zip(first, last, strict=True)
        there = BatchTotals(*(low + part * (high - low) for low, high in pairs))
        return there._replace(
            texts=texts, seconds=totals.seconds, billed=totals.billed, begun=totals.begun
        )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def impossible(done: Batches, seconds: float, *, settled: bool) -> str | None:
    """Say why what was computed in so many seconds cannot be true; None where it can.

    `settled`: the seconds are so many that few of the batches began before them.
    """
    if done.tokens is not None and done.tokens < done.count:
        return f"{done.count:g} batches of {done.tokens:g} tokens"
    if done.seconds is None or done.billed is None:
        return None
    most = seconds if settled and done.count >= _TELLING else seconds + LONGEST_BATCH
    if done.seconds > done.billed * most:
        return (
            f"{done.billed:g} texts were {done.seconds:g} s in batches, each longer than the"
            f" {seconds:g} s in which it was"
        )
    return None


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the histogram of batches' tokens, or texts, is in expositions of one layout.

    Attributes:
        first: The first bucket that holds batches.
        middles: Of the buckets from there on.
    """

    buckets: Buckets
    first: int
    middles: tuple[float, ...]
    squares: tuple[float, ...]
    total: Sum

    def counts(self, values: Sequence[float]) -> list[float]:
        """Cumulative counts of the buckets, over all label sets."""
        return added(self.buckets.counts(values))


@dataclass(frozen=True, slots=True)
class BatchSums:
    """Which values of expositions of one layout are about batches: see `BatchFamilies`."""

    tokens: _Grid | None
    sizes: _Grid | None
    count: Sum
    texts: Sum
    seconds: Sum
    billed: Sum

    def of(self, values: Sequence[float]) -> BatchTotals | None:
        """The totals; None where no batches are exposed."""
        try:
            return self._of(values)
        except ExpositionError as error:
            raise BatchError(str(error)) from None

    def _of(self, values: Sequence[float]) -> BatchTotals | None:
        found = self._batches(values)
        if found is None:
            return None
        texts, seconds = self.texts.of(values), self.seconds.of(values)
        billed = texts if self.billed is self.texts else self.billed.of(values)
        if seconds is None or billed is None:
            seconds = billed = math.nan
        elif seconds > 0 and billed == 0:
            raise BatchError(f"{seconds:g} s in batches without a text")
        *totals, empty = found
        middles, squares, begun = self._texts(values, empty)
        of_texts = math.nan if texts is None else texts
        batches, tokens, *moments = totals
        of = (*moments, of_texts, seconds, billed, middles, squares, begun)
        return BatchTotals(batches, tokens, *of)

    def _texts(self, values: Sequence[float], empty: float) -> tuple[float, float, float]:
        """Both moments of the texts of batches, and all texts, less polls of an empty queue."""
        if self.sizes is None:
            return math.nan, math.nan, math.nan
        counts = self.sizes.counts(values)
        within = [*map(sub, counts, [empty, *counts])]
        first, second = (
            sum(map(mul, within, each)) for each in (self.sizes.middles, self.sizes.squares)
        )
        begun = self.sizes.total.of(values)
        return first, second, math.nan if begun is None else begun

    def _batches(self, values: Sequence[float]) -> tuple[float, ...] | None:
        """Batches, tokens, both moments of tokens, and polls of an empty queue."""
        grid = self.tokens
        if grid is None:
            count = self.count.of(values)
            return None if count is None else (count, math.nan, math.nan, math.nan, 0.0)
        counts = grid.counts(values)
        first = grid.first
        empty = counts[first - 1] if first else 0.0
        within = [*map(sub, counts[first:], [empty, *counts[first:]])]
        count = counts[-1] - empty
        if not math.isfinite(count):
            return None
        if empty < 0 or min(within) < 0:
            raise BatchError(f"{grid.total.family.removesuffix('_sum')} is not cumulative")
        tokens = grid.total.of(values)
        if tokens is None:
            return None
        if count > tokens or (count == 0 and tokens > empty):
            raise BatchError(f"{count:g} batches of {tokens:g} tokens")
        middles = sum(map(mul, within, grid.middles))
        return count, tokens, middles, sum(map(mul, within, grid.squares)), empty


def batch_sums(layout: Layout, families: BatchFamilies | None) -> BatchSums | None:
    """Find a profile's batches in a layout; None where it has none."""
    if families is None:
        return None
    tokens = _grid(layout, families.tokens, EMPTY) if families.tokens else None
    sizes = _grid(layout, families.sizes, 0.0) if families.sizes else None
    count = counter(layout, families.count)
    if tokens is None and not count.indices:
        return None
    texts = counters(layout, families.texts)
    billed = counters(layout, families.billed) if families.billed else texts
    return BatchSums(tokens, sizes, count, texts, counters(layout, families.seconds), billed)


def _grid(layout: Layout, source: Source, empty: float) -> _Grid | None:
    """Find a histogram; batches of up to `empty` tokens or texts are none."""
    found = buckets(layout, source)
    if found is None or found.bounds[-1] != math.inf:
        return None
    bounds = found.bounds
    first = sum(bound <= empty for bound in bounds)
    lower = [empty, *bounds[first:-1]]
    pairs = zip(lower, bounds[first:-1], strict=False)
    # Texts and tokens are whole: a bucket above one and up to two has the batches of two.
    middles = [math.sqrt((low + 1) * high) for low, high in pairs]
    middles.append(lower[-1] * _LAST_BUCKET)
    return _Grid(
        buckets=found,
        first=first,
        middles=tuple(middles),
        squares=tuple(middle * middle for middle in middles),
        total=counter(
            layout,
            replace(
                source, family=f"{layout.family_of(source, '_bucket')}_sum", others=(), unit=""
            ),
        ),
    )
