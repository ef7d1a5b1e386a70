"""The shape of a replica's batches: what starting one costs, and how large they get.

A batch of n tokens lasts α + β·n seconds. Large batches show β, and with it the capacity; small
ones show α. So each reading teaches what it can: one with large batches the capacity (see
`evidence`), one with small batches the overhead h = α/β, given the capacity that is known. A
replica that gets only short requests says nothing about its capacity; what was known before stays.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controlplane.balancing.columns import Bools, Columns, Floats, Ints, column, flag
from controlplane.balancing.evidence import BUDGET, OVERHEAD, Counted

SMALL: Final = 0.125
"""Part of a full batch up to which batches are small."""
FEWEST: Final = 3.0
"""Small batches that say anything."""
SMALLEST: Final = 512.0
"""Tokens that a full batch has at least."""
FADING: Final = 0.999
"""What is left of the largest batch, with each reading that finds texts waiting."""
CHUNKS: Final = 6.0
"""Chunks that draw a line."""
LINE: Final = 60.0
"""Chunks over which it is drawn."""
TELLING: Final = 0.25
"""Chunks times the squared coefficient of variation of their sizes that count as much as what is
usual: chunks of about one size say nothing of what a batch of nothing would take."""
QUIET: Final = 2.0
"""Readings before it that must have had small batches only."""
REMEMBERED: Final = 2_000.0
"""Batches over which the overhead is averaged: it changes more slowly than the speed."""
LEAST, MOST = 1.0, 4_000.0
"""Tokens that a start may cost; beyond it is a misreading."""


@dataclass(frozen=True, slots=True)
class Shapes(Columns):
    """By row.

    Attributes:
        overhead: Tokens that cost as much as starting a batch; NaN: not known.
        seen: Small batches that this rests on.
        budget: Tokens of a full batch; NaN: none was seen.
        largest: Tokens of the largest batch of late; NaN: none was seen.
        batched: Durations of batches were measured.
        quiet: Readings in a row with small batches only.
        sums: Of 1, n, T, n², n·T over chunks of batches of n tokens and T seconds, fading.
    """

    overhead: Floats = column()
    seen: Floats = column(0.0)
    budget: Floats = column()
    largest: Floats = column()
    batched: Bools = flag()
    quiet: Floats = column(0.0)
    sums: Floats = column(0.0, 5)

    def known_overhead(self) -> Floats:
        """By small batches, or else by what a start takes in the pool, in seconds.

        A start is work of the host and takes about as long on any accelerator, so one start is
        more tokens of a fast replica.
        """
        count, n1, t1, n2, nt = self.sums.T
        some = np.maximum(count, 1e-9)
        n, took = n1 / some, t1 / some
        variance, covariance = n2 / some - n**2, nt / some - n * took
        drawn = (count >= CHUNKS) & (variance > 0) & (covariance > 0)
        slope = np.where(drawn, covariance, 1.0) / np.where(drawn, variance, 1.0)
        tells = count * variance / np.maximum(n, 1.0) ** 2
        tells = tells / (tells + TELLING)
        usual = OVERHEAD / (OVERHEAD + n) * took
        by_line = tells * np.maximum(took - slope * n, 0.0) + (1 - tells) * usual
        by_line = np.where(drawn, by_line, np.nan)
        own = self.overhead
        by_small = np.where(count > 0, own / np.maximum(own + n, 1.0) * took, np.nan)
        for starts in (by_small, by_line):
            known = starts[~np.isnan(starts)]
            if len(known):
                start = float(np.median(known))
                per_token = np.maximum(took - start, 0.1 * took) / np.maximum(n, 1.0)
                found = np.where(count > 0, start / np.maximum(per_token, 1e-12), OVERHEAD)
                return np.where(np.isnan(own), np.clip(found, LEAST, MOST), own)
        return np.where(np.isnan(own), OVERHEAD, own)

    def full(self) -> float:
        """Tokens of a full batch: the largest that left texts waiting anywhere in the pool."""
        return _most(self.budget)

    def are_small(self, size: Floats) -> Bools:
        """Return which batches are small beside the largest recent one of the pool.

        Where all are about as small, what a start costs cancels out between replicas.
        """
        known = self.largest[~np.isnan(self.largest)]
        return np.asarray(size < SMALL * known.max(initial=0.0))

    def usual(self) -> float:
        """Tokens of the largest batch that was seen of late anywhere in the pool."""
        return _most(self.largest)


def _most(tokens: Floats) -> float:
    known = tokens[~np.isnan(tokens)]
    return max(float(known.max()), SMALLEST) if len(known) else BUDGET


def learned(
    shapes: Shapes, rows: Ints, counted: Counted, waiting: Bools, capacity: Floats
) -> Shapes:
    """Take in the batches between two readings.

    Args:
        shapes: So far.
        rows: Those that computed batches.
        counted: What these did.
        waiting: Whether texts wait there: then batches are full.
        capacity: Tokens per second that each carries; NaN: not known.
    """
    overhead, seen = shapes.overhead.copy(), shapes.seen.copy()
    budget, batched = shapes.budget.copy(), shapes.batched.copy()
    quiet = shapes.quiet.copy()
    batched[rows] = True
    size = counted.size
    # A batch that left texts waiting was full, as far as its server fills them.
    old = np.nan_to_num(budget[rows])
    budget[rows] = np.where(waiting, np.maximum(FADING * old, size), budget[rows])
    full = replace(shapes, budget=budget).full()
    largest = _grown(shapes, rows, size)
    small = (size < SMALL * full) & ~waiting
    quiet[rows] = np.where(small, quiet[rows] + 1, 0.0)
    # Batches are counted when they begin and timed when they end: one may have begun before.
    small &= (quiet[rows] > QUIET) & (counted.batches >= FEWEST) & ~np.isnan(capacity)
    part = capacity * counted.duration / full
    small &= part < 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.clip((part * full - size) / (1 - part), LEAST, MOST)
    at, found = rows[small], found[small]
    weight = counted.batches[small]
    rate = weight / np.minimum(seen[at] + weight, REMEMBERED + weight)
    before = np.where(np.isnan(overhead[at]), found, overhead[at])
    overhead[at] = before + rate * (found - before)
    seen[at] = np.minimum(seen[at] + weight, REMEMBERED)
    return Shapes(overhead, seen, budget, largest, batched, quiet, shapes.sums)


def worked_out(shapes: Shapes, rows: Ints, size: Floats) -> Shapes:
    """Take in batches whose durations were worked out.

    Args:
        shapes: So far.
        rows: Replicas that computed them.
        size: Tokens of one at each.
    """
    batched = shapes.batched.copy()
    batched[rows] = True
    # A queue that grows looks like an ever larger batch.
    largest = _grown(shapes, rows, np.minimum(size, BUDGET))
    return replace(shapes, largest=largest, batched=batched)


def _grown(shapes: Shapes, rows: Ints, size: Floats) -> Floats:
    largest = shapes.largest.copy()
    largest[rows] = np.fmax(FADING * largest[rows], size)
    return largest


def drawn(shapes: Shapes, rows: Ints, counted: Counted) -> Shapes:
    """Take in chunks of batches for the line through their sizes and durations.

    Args:
        shapes: So far.
        rows: Those that completed a chunk.
        counted: What it was.
    """
    known = counted.are_batches
    rows, n, took = rows[known], counted.size[known], counted.duration[known]
    sums = shapes.sums.copy()
    left = np.minimum(1.0, 1 - 1 / (LINE + 1))
    sums[rows] *= left
    sums[rows] += np.column_stack([np.ones(len(n)), n, took, n * n, n * took])
    return replace(shapes, sums=sums)
