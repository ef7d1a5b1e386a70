"""The shape of a replica's batches: what starting one costs, and how large they get.

A batch of n tokens lasts α + β·n seconds. Large batches show β, and with it the capacity; small ones
show α. So each reading teaches what it can: one with large batches the capacity (see `evidence`),
one with small batches the overhead h = α/β, given the capacity that is known. A replica that gets
nothing but short requests says nothing about its capacity, and what was known before stays.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from controlplane.balancing.evidence import BUDGET, OVERHEAD, Counted
from controlplane.balancing.table import Bools, Floats, Ints

SMALL: Final = 0.125
"""Part of a full batch up to which batches are small."""
FEWEST: Final = 3.0
"""Small batches that say anything."""
SMALLEST: Final = 512.0
"""Tokens that a full batch has at least."""
REMEMBERED: Final = 100.0
"""Batches over which the overhead is averaged."""
LEAST, MOST = 1.0, 4_000.0
"""Tokens that a start may cost; beyond it is a misreading."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """By row.

    Attributes:
        overhead: Tokens that cost as much as starting a batch; NaN: not known.
        seen: Small batches that this rests on.
        budget: Tokens of a full batch; NaN: none was seen.
        batched: Durations of batches were measured.
    """

    overhead: Floats
    seen: Floats
    budget: Floats
    batched: Bools

    @classmethod
    def unknown(cls, size: int) -> Self:
        """Of so many rows of which nothing is known."""
        unknown = np.full(size, np.nan)
        return cls(unknown, np.zeros(size), unknown.copy(), np.zeros(size, np.bool_))

    def known_overhead(self) -> Floats:
        """With the pool's median in place of what is not known."""
        known = self.overhead[~np.isnan(self.overhead)]
        usual = float(np.median(known)) if len(known) else OVERHEAD
        return np.where(np.isnan(self.overhead), usual, self.overhead)

    def full(self) -> float:
        """Tokens of a full batch: the largest that left texts waiting anywhere in the pool."""
        known = self.budget[~np.isnan(self.budget)]
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
    batched[rows] = True
    size = counted.size
    # A batch that left texts waiting was full, as far as its server fills them.
    old = np.nan_to_num(budget[rows])
    budget[rows] = np.where(waiting, np.maximum(0.98 * old, size), budget[rows])
    full = Shapes(overhead, seen, budget, batched).full()
    small = (size < SMALL * full) & (counted.batches >= FEWEST) & ~np.isnan(capacity)
    part = capacity * counted.duration / full
    small &= part < 0.5
    with np.errstate(invalid="ignore"):
        found = np.clip((part * full - size) / (1 - part), LEAST, MOST)
    at, found = rows[small], found[small]
    weight = counted.batches[small]
    rate = weight / np.minimum(seen[at] + weight, REMEMBERED + weight)
    before = np.where(np.isnan(overhead[at]), found, overhead[at])
    overhead[at] = before + rate * (found - before)
    seen[at] = np.minimum(seen[at] + weight, REMEMBERED)
    return Shapes(overhead, seen, budget, batched)
