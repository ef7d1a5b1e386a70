"""Which replicas of a pool are fast ones: those that long requests are to go to.

In come replicas with their tiers and what they carry, out come the ids of the fastest tiers that
have enough of the pool's capacity and are fast enough.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

FASTER: Final = 1.6
"""Times as fast as the rest that fast replicas must be, request by request."""
STILL_FASTER: Final = 1.4
"""As long as long requests go there already."""
LEAST: Final = 0.2
"""Part of the pool's capacity that the fast replicas must have, at least."""
STILL_LEAST: Final = 0.15
"""As long as long requests go to just these already."""
KNOWN: Final = 200.0
"""Requests that must have been measured on either side."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a replica had done at its last reading: requests and tokens since its start."""

    generation: int
    requests: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Member:
    """A replica that may get requests, as far as sizes go.

    Attributes:
        band: Of its tier; higher is faster. None while it starts slowly.
        share: Of the pool's work, relative to the others.
        carries: Requests per second.
        slots: In which it computes them.
        requests: How many its capacity rests on.
        seen: At its newest reading; None where it does not count tokens.
        tokens: Of its requests lately, on average, and how many they were.
    """

    band: int | None
    share: float
    carries: float
    slots: int
    requests: float
    seen: Seen | None
    tokens: tuple[float, float] | None = None

    @property
    def speed(self) -> float:
        """Requests per second and slot."""
        return self.carries / self.slots


def fast_replicas(
    members: Mapping[str, Member], before: frozenset[str] | None
) -> frozenset[str] | None:
    """The fastest bands that have enough of the capacity, if they are fast enough.

    Args:
        members: That may get requests, by id.
        before: Ids of those that long requests go to already; None: they go to all.
    """
    placed = {id_: it for id_, it in members.items() if it.band is not None}
    bands = sorted({it.band for it in placed.values() if it.band is not None}, reverse=True)
    for count in range(1, len(bands)):
        chosen = set(bands[:count])
        fast = frozenset(id_ for id_, it in placed.items() if it.band in chosen)
        if not _is_enough(members, fast, already=fast == before):
            continue
        rest = placed.keys() - fast
        speeds = [_speed([placed[id_] for id_ in ids]) for ids in (fast, rest)]
        known = (math.fsum(placed[id_].requests for id_ in ids) >= KNOWN for ids in (fast, rest))
        if before is None and not all(known):
            return None
        ratio = FASTER if before is None else STILL_FASTER
        return fast if speeds[0] >= ratio * speeds[1] else None
    return None


def _is_enough(members: Mapping[str, Member], fast: frozenset[str], *, already: bool) -> bool:
    """Whether the fast replicas have enough of the pool's capacity.

    Shares have a reserve by the square-root rule as long as requests are not parted, so what lasts
    is what they can carry; what they get is less than that where one of them is not well.
    """
    share = share_of(members, fast)
    if already:
        return share >= STILL_LEAST
    carries = part_of({id_: member.carries for id_, member in members.items()}, fast)
    return min(share, carries) >= LEAST


def _speed(members: Sequence[Member]) -> float:
    """The mean, each counting as much as it gets."""
    total = math.fsum(member.share for member in members)
    return math.fsum(member.share * member.speed for member in members) / total if total else 0.0


def share_of(members: Mapping[str, Member], ids: frozenset[str]) -> float:
    """Their part of what all get, 0 to 1."""
    return part_of({id_: member.share for id_, member in members.items()}, ids)


def part_of(shares: Mapping[str, float], ids: frozenset[str]) -> float:
    """The part of some numbers in the sum of all, 0 to 1; 0 of nothing."""
    total = math.fsum(shares.values())
    return math.fsum(it for id_, it in shares.items() if id_ in ids) / total if total else 0.0
