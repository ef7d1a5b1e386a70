"""How sidecars choose a replica: each knows its own requests in flight and what it was told."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

Counts = Sequence[int]
"""Of one sidecar: its requests in flight, by replica."""


Tiers = Mapping[str, tuple[Sequence[int], float]]
"""Members and locality weight, by the tier's name."""


@dataclass(frozen=True, slots=True)
class Told:
    """What sidecars know.

    Attributes:
        tiers: Who is there, and how much each tier is to get.
        long: Tiers of the replicas that long requests go to; empty where all go anywhere.
        threshold: Times the mean length from which on a request is long.
    """

    tiers: Tiers = field(default_factory=dict)
    long: Tiers = field(default_factory=dict)
    threshold: float = math.inf


class Sidecar(Protocol):
    """One proxy, or one of its clusters: each counts for itself."""

    def tell(self, tiers: Tiers) -> None:
        """Take in who is there, and how much each tier is to get."""

    def choose(self, counts: Counts) -> int:
        """Pick a replica for a request."""


class FullScan:
    """Envoy's LEAST_REQUEST with FULL_SCAN: the fewest of its own requests, ties at random."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._members: Sequence[int] = ()

    def tell(self, tiers: Tiers) -> None:
        """Take in who is there."""
        self._members = members_of(tiers)

    def choose(self, counts: Counts) -> int:
        """Pick a replica."""
        return fewest(self._random, self._members, counts)


class TwoChoices(FullScan):
    """Envoy's LEAST_REQUEST by default: the better one of two at random."""

    def choose(self, counts: Counts) -> int:
        """Pick a replica."""
        first, second = self._random.choices(self._members, k=2)
        return second if counts[second] < counts[first] else first


class LeastConn:
    """HAProxy's leastconn: the fewest requests for its weight, in turn where none is better."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = weights
        self._used = [0] * len(weights)
        self._turn = 0
        self._members: Sequence[int] = ()

    def tell(self, tiers: Tiers) -> None:
        """Take in who is there."""
        self._members = members_of(tiers)

    def choose(self, counts: Counts) -> int:
        """Pick a replica."""
        chosen = min(self._members, key=lambda n: (counts[n] / self._weights[n], self._used[n]))
        self._turn += 1
        self._used[chosen] = self._turn
        return chosen


class Tiered:
    """Envoy with localities: one by an earliest-deadline-first schedule, then FULL_SCAN in it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._tiers: list[tuple[Sequence[int], float]] = []
        self._deadlines: list[float] = []

    def tell(self, tiers: Tiers) -> None:
        """Take in members and locality weights.

        The schedule begins anew and, as in Envoy, somewhere in its middle, so that sidecars that
        are told at the same time do not all choose the same tier at the same time.
        """
        self._tiers = [tiers[name] for name in sorted(tiers)]
        passed = self._random.random() * 1000 / sum(weight for _, weight in self._tiers)
        self._deadlines = [(int(passed * weight) + 1) / weight for _, weight in self._tiers]

    def choose(self, counts: Counts) -> int:
        """Pick a replica."""
        deadlines = self._deadlines
        tier = deadlines.index(min(deadlines))
        members, weight = self._tiers[tier]
        deadlines[tier] += 1 / weight
        return fewest(self._random, members, counts)


def members_of(tiers: Tiers) -> Sequence[int]:
    """Everyone who is there."""
    return sorted(member for members, _ in tiers.values() for member in members)


def fewest(random: Random, members: Sequence[int], counts: Counts) -> int:
    """The member with the fewest requests, one of the best at random."""
    least = min([counts[member] for member in members])
    best = [member for member in members if counts[member] == least]
    return best[0] if len(best) == 1 else best[int(random.random() * len(best))]
