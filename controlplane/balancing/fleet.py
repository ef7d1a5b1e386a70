"""The replicas that may serve, slowest first, as predictions see them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

import numpy as np

from controlplane.balancing.columns import Bools, Floats, median
from controlplane.balancing.headroom import LEAST_BUSY, with_headroom
from controlplane.balancing.prediction import Group

LIKE: Final = 1.3
"""Capacities within this factor are one group."""
FASTER: Final = 1.6
"""Times as fast as the rest that fast replicas must be, where long requests are to go there."""
LEAST_FAST: Final = 0.2
"""Part of the pool's capacity that the fast replicas must have."""
OF_FAST, OF_ALL = 0.65, 0.5
"""Part of what the fast replicas carry, and of all work, that long requests are to be at most."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The replicas that may serve, slowest first.

    Attributes:
        ids: Of each.
        capacity: Tokens per second.
        start: Seconds that starting a batch takes; 0 where nothing is batched.
        budget: Tokens of a full batch.
        slots: Requests at a time.
        are_batches: Whether it computes batches.
    """

    ids: tuple[str, ...]
    capacity: Floats
    start: Floats
    budget: Floats
    slots: Floats
    are_batches: Floats

    def of(self, chosen: Bools | slice) -> "Fleet":
        """Some of them."""
        ids = self.ids[chosen] if isinstance(chosen, slice) else tuple(compress(self.ids, chosen))
        columns = (self.capacity, self.start, self.budget, self.slots, self.are_batches)
        return Fleet(ids, *(column[chosen] for column in columns))

    def mask(self, ids: Collection[str]) -> Bools:
        """Which of them are these."""
        return np.asarray([id_ in ids for id_ in self.ids], np.bool_)

    def likes(self) -> list[slice]:
        """Runs of replicas that are about as fast as each other."""
        found, begin = list[slice](), 0
        while begin < len(self.ids):
            end = int(np.searchsorted(self.capacity, self.capacity[begin] * LIKE, side="right"))
            found.append(slice(begin, max(end, begin + 1)))
            begin = found[-1].stop
        return found

    def groups(self, tokens: float) -> tuple[list[Group], list[float]]:
        """Like replicas together, and the part of the traffic that each group gets.

        Args:
            tokens: Per second that come.
        """
        if not self.ids:
            return [], []
        total, likes = float(self.capacity.sum()), self.likes()
        found = [
            Group(
                count=some.stop - some.start,
                capacity=float(self.capacity[some].mean()),
                start=float(self.start[some].mean()),
                budget=float(self.budget[some].mean()),
                slots=float(self.slots[some].mean()),
                are_batches=bool(self.are_batches[some].mean() > 0.5),
            )
            for some in likes
        ]
        used = min(max(tokens / total, LEAST_BUSY), 1.0)
        everyone = np.ones(len(self.ids), np.bool_)
        shares = with_headroom(self.capacity / median(self.capacity), everyone, used)
        shares /= shares.sum()
        return found, [float(shares[some].sum()) for some in likes]


def fleet_of(
    ids: Sequence[str],
    capacity: Floats,
    start: Floats,
    budget: Floats,
    slots: Floats,
    are_batches: Floats,
) -> Fleet:
    """Put replicas in order; equal ones by id."""
    order = np.lexsort((np.asarray(ids, dtype=object).astype(str), capacity))
    return Fleet(
        tuple(ids[at] for at in order),
        capacity[order],
        start[order],
        budget[order],
        slots[order],
        are_batches[order],
    )


def fast_set(fleet: Fleet) -> frozenset[str]:
    """The fastest groups that have enough of the capacity, if they are fast enough."""
    groups, _ = fleet.groups(0.0)
    if len(groups) < 2:
        return frozenset()
    ids = list(fleet.ids)
    taken, share = 0, 0.0
    for index in range(len(groups) - 1, 0, -1):
        taken += groups[index].count
        share += groups[index].count * groups[index].capacity / float(fleet.capacity.sum())
        if share < LEAST_FAST:
            continue
        rest = slice(0, len(ids) - taken)
        speed = fleet.capacity / np.maximum(fleet.slots, 1.0)
        quick = float(np.average(speed[len(ids) - taken :]))
        if quick >= FASTER * float(np.average(speed[rest], weights=fleet.capacity[rest])):
            return frozenset(ids[len(ids) - taken :])
        return frozenset()
    return frozenset()


def part_for_fast(fleet: Fleet, fast: frozenset[str]) -> float:
    """The part of all work that long requests are to be, where they go to the fast replicas."""
    own = fleet.mask(fast)
    share = float(fleet.capacity[own].sum() / fleet.capacity.sum())
    return min(OF_FAST * share, OF_ALL)
