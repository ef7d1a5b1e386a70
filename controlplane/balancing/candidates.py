"""Ways to divide replicas between searches and bulk, each with what it would come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controlplane.balancing.headroom import LEAST_BUSY, with_headroom
from controlplane.balancing.prediction import Flow, Group, percentile
from controlplane.balancing.table import Floats

CLEAR: Final = 10.0
"""Times the mean of short requests that the mean of long ones must be to be another class."""
BIMODAL: Final = 0.85
"""Fraction of the variance of sizes that two classes explain. Without a gap it is less: 0.64 for a
lognormal distribution, 0.75 for a uniform one."""
BULK_FULL: Final = 0.96
"""Utilisation that bulk may bring its replicas to."""
SEARCH_FULL: Final = 0.8
"""Utilisation that searches may bring theirs to."""
BULK_WORSE: Final = 1.4
"""Times the p99 of bulk that parting may cost."""
GAIN: Final = 1.25
"""Times that the p99 of searches must be better."""
NEAR: Final = 1.4
"""Times the least p99 of searches within which fewer replicas for them are preferred."""
LIKE: Final = 1.3
"""Capacities within this factor are one group."""
CANDIDATES: Final = 40
"""Numbers of replicas that are tried, at most."""
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

    def of(self, chosen: np.typing.NDArray[np.bool_]) -> "Fleet":
        """Some of them."""
        ids = tuple(id_ for id_, each in zip(self.ids, chosen, strict=True) if each)
        return Fleet(
            ids,
            self.capacity[chosen],
            self.start[chosen],
            self.budget[chosen],
            self.slots[chosen],
            self.are_batches[chosen],
        )

    def groups(self, tokens: float) -> tuple[list[Group], list[float]]:
        """Like replicas together, and the part of the traffic that each group gets.

        Args:
            tokens: Per second that come.
        """
        if not self.ids:
            return [], []
        found, begin, total = [], 0, float(self.capacity.sum())
        edges = self.capacity
        while begin < len(edges):
            end = int(np.searchsorted(edges, edges[begin] * LIKE, side="right"))
            some = slice(begin, max(end, begin + 1))
            found.append(
                Group(
                    count=len(edges[some]),
                    capacity=float(edges[some].mean()),
                    start=float(self.start[some].mean()),
                    budget=float(self.budget[some].mean()),
                    slots=float(self.slots[some].mean()),
                    are_batches=bool(self.are_batches[some].mean() > 0.5),
                )
            )
            begin = some.stop
        used = min(max(tokens / total, LEAST_BUSY), 1.0)
        everyone = np.ones(len(self.ids), np.bool_)
        shares = with_headroom(self.capacity / np.median(self.capacity), everyone, used)
        shares /= shares.sum()
        ends = np.cumsum([group.count for group in found])
        return found, [float(each.sum()) for each in np.split(shares, ends[:-1])]


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


@dataclass(frozen=True, slots=True)
class Demand:
    """What comes, by size.

    Attributes:
        threshold: Bytes from which on a request is long.
        short: Requests below.
        long: Requests from there on.
        enough: There were enough of both sides to rely on it.
        explained: See `Split`.
    """

    threshold: int
    short: Flow
    long: Flow
    enough: bool
    explained: float = 1.0

    @property
    def all(self) -> Flow:
        """Both together."""
        return self.short.plus(self.long)

    @property
    def is_clear(self) -> bool:
        """Whether the two sides are two classes, with a gap between them."""
        return self.explained >= BIMODAL and self.long.mean >= CLEAR * self.short.mean


@dataclass(frozen=True, slots=True)
class Forecast:
    """What p99 a division of the replicas would come to, in seconds."""

    search: float
    bulk: float


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
    own = np.asarray([id_ in fast for id_ in fleet.ids])
    share = float(fleet.capacity[own].sum() / fleet.capacity.sum())
    return min(OF_FAST * share, OF_ALL)


def forecast_together(fleet: Fleet, demand: Demand, dispatchers: int) -> Forecast:
    """What comes of requests that are not parted."""
    mixed = demand.all
    groups, shares = fleet.groups(mixed.tokens)
    return Forecast(
        percentile(groups, shares, mixed, demand.short, dispatchers, short=True),
        percentile(groups, shares, mixed, demand.long, dispatchers, short=False),
    )


def forecast_apart(fleet: Fleet, own: frozenset[str], demand: Demand, dispatchers: int) -> Forecast:
    """What comes of sets apart."""
    mask = np.asarray([id_ in own for id_ in fleet.ids])
    for_search = fleet.of(mask).groups(demand.short.tokens)
    for_bulk = fleet.of(~mask).groups(demand.long.tokens)
    return Forecast(
        percentile(*for_search, demand.short, demand.short, dispatchers, short=True),
        percentile(*for_bulk, demand.long, demand.long, dispatchers, short=False),
    )


def best_for_searches(
    fleet: Fleet, demand: Demand, dispatchers: int
) -> tuple[int, Forecast, Forecast] | None:
    """How many of the slowest replicas searches are to have, and both forecasts."""
    total = len(fleet.ids)
    if total < 2:
        return None
    together = forecast_together(fleet, demand, dispatchers)
    summed = np.cumsum(fleet.capacity)
    found: list[tuple[float, float, int, Forecast]] = []
    for count in _counts(total):
        for_search = float(summed[count - 1])
        for_bulk = float(summed[-1]) - for_search
        if demand.long.tokens > BULK_FULL * for_bulk:
            break
        if demand.short.tokens > SEARCH_FULL * for_search:
            continue
        apart = forecast_apart(fleet, frozenset(fleet.ids[:count]), demand, dispatchers)
        if apart.bulk <= BULK_WORSE * together.bulk and GAIN * apart.search <= together.search:
            found.append((apart.search, for_search, count, apart))
    if not found:
        return None
    least = min(search for search, *_ in found)
    near = [each for each in found if each[0] <= NEAR * least]
    _, _, count, apart = min(near, key=lambda each: (each[1], each[0]))
    return count, together, apart


def _counts(total: int) -> list[int]:
    if total <= CANDIDATES:
        return [*range(1, total)]
    return sorted({round(each) for each in np.geomspace(1, total - 1, CANDIDATES)})
