"""The shape of a replica's batches: what starting one costs, and how large they get.

A batch of n tokens lasts α + β·n seconds. The line through batches of different sizes shows both:
β, and with it the capacity (see `evidence`), and the overhead h = α/β. A replica whose batches are
all of one size says nothing about α, so it is taken to start a batch as others of its pool do.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controlplane.balancing.columns import Bools, Columns, Floats, Ints, column, flag
from controlplane.balancing.evidence import BUDGET, OVERHEAD, Counted

SMALL: Final = 0.125
"""Part of the largest batch of late up to which batches are small."""
SMALLEST: Final = 512.0
"""Tokens that a full batch has at least."""
FADING: Final = 0.999
"""What is left of the largest batch, with each reading that finds texts waiting."""
LINE: Final = 60.0
"""Chunks over which it is drawn."""
TELLING: Final = 0.1
"""Chunks times the squared coefficient of variation of their sizes that count as much as what is
usual: chunks of about one size say nothing of what a batch of nothing would take."""
LEAST, MOST = 1.0, 4_000.0
"""Tokens that a start may cost; beyond it is a misreading."""


@dataclass(frozen=True, slots=True)
class Shapes(Columns):
    """By row.

    Attributes:
        budget: Tokens of a full batch; NaN: none was seen.
        largest: Tokens of the largest batch of late; NaN: none was seen.
        batched: Durations of batches were measured.
        sums: Of 1, n, T, n², n·T over chunks of batches of n tokens and T seconds, fading.
    """

    budget: Floats = column()
    largest: Floats = column()
    batched: Bools = flag()
    sums: Floats = column(0.0, 5)

    def in_units(self, factor: float) -> "Shapes":
        """The same with so many times as many tokens."""
        sums = self.sums * np.array([1.0, factor, 1.0, factor**2, factor])
        return replace(self, budget=self.budget * factor, largest=self.largest * factor, sums=sums)

    def overhead(self) -> tuple[Floats, float]:
        """Tokens that cost as much as starting a batch, and how far lines tell that, 0 to 1.

        A start is mostly work of the host and takes about as long on any accelerator, so the lines
        of all replicas tell of one time, and one start is more tokens of a fast replica. As far as
        they do not tell, a start is `OVERHEAD` everywhere: then capacities are wrong, but alike.
        """
        count, n1, t1, n2, nt = self.sums.T
        some = np.maximum(count, 1e-9)
        n, took = np.maximum(n1 / some, 1.0), np.maximum(t1 / some, 1e-9)
        variance = np.maximum(n2 / some - n**2, 0.0)
        slope = (nt / some - n * took) / np.maximum(variance, 1e-9)
        line = np.clip(took - slope * n, 0.0, took)
        tells = count * variance / n**2
        told = float(tells.sum() / (tells.sum() + TELLING))
        usual = OVERHEAD / (OVERHEAD + n) * took
        start = usual
        if told > 0:
            start = told * np.average(line, weights=tells / took**2) + (1 - told) * usual
        per_token = np.maximum(took - start, 0.1 * took) / n
        found = np.clip(start / per_token, LEAST, MOST)
        return np.where(count > 0, found, OVERHEAD), told

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


def learned(shapes: Shapes, rows: Ints, counted: Counted, waiting: Bools) -> Shapes:
    """Take in the batches between two readings.

    Args:
        shapes: So far.
        rows: Those that computed batches.
        counted: What these did.
        waiting: Whether texts wait there: then batches are full.
    """
    budget, batched = shapes.budget.copy(), shapes.batched.copy()
    batched[rows] = True
    size = counted.size
    # A batch that left texts waiting was full, as far as its server fills them.
    old = np.nan_to_num(budget[rows])
    budget[rows] = np.where(waiting, np.maximum(FADING * old, size), budget[rows])
    return replace(shapes, budget=budget, largest=_grown(shapes, rows, size), batched=batched)


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
