"""Which replicas are like enough to share a tier, within which Envoy compares live requests.

A tier is a band of capacities, a factor of `SPAN` wide, on a grid of bands. Where the grid lies is
not fixed: its anchor is where most replicas already are, the median over all of log capacity minus
the middle of their band. So when every replica slows down together because requests have become
longer, the grid moves with them, and when replicas join or leave it stays: only a replica that
moves relative to the others changes its tier, and no tier is ever renamed. (A grid fixed in
requests per second would rename all tiers when traffic changes, one around the median capacity
whenever the median jumps from one kind of replica to another, and clusters numbered by rank
whenever one appears or vanishes.) A tier move makes Envoy recreate the host.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

SPAN: Final = 2.1
"""Fastest to slowest in a tier; wider and equal weights are wrong, narrower and tiers are small.
Two kinds of replica whose speeds are 2 : 1 or 4 : 1 lie in the middle of their bands."""
MARGIN: Final = 1.1
"""Factor by which a replica must leave its band, so that one at the edge does not go to and fro."""
AT_ONCE: Final = 3.0
"""Off by this factor, a replica changes its tier without further windows."""
EARNED: Final = 200
"""Requests from which on a replica has a tier worth defending; before, it is placed at once."""
ORDINARY: Final = 8
"""Number of band 0. The floor is five bands below the median and the ceiling four above."""

_WIDTH: Final = math.log(SPAN)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a replica is.

    Attributes:
        band: Steps of `SPAN` from the anchor; higher is faster.
        leaving: Direction of a move that is waiting for more windows: 1, −1, or 0 for none.
        since: When it started to wait.
        earned: It was placed by what it did itself, and not for want of knowledge.
    """

    band: int = 0
    leaving: int = 0
    since: float = 0.0
    earned: bool = False

    @property
    def tier(self) -> str:
        """The tier's name; a lower number is faster."""
        return _tier(self.band)


@lru_cache(maxsize=64)
def _tier(band: int) -> str:
    # One object for all in a tier: they are compared and looked up for every replica.
    return f"tier-{ORDINARY - band}"


def anchored(
    previous: Mapping[str, Placement], logs: Mapping[str, float], anchor: float | None
) -> float:
    """The logarithm of the capacity in the middle of band 0.

    Args:
        previous: Placements; a replica without one counts as of band 0 only if all are.
        logs: Logarithms of capacities of the replicas that can be relied on, not empty.
        anchor: The previous one, which decides when as many say one thing as the other.
    """
    implied = sorted(
        [value - previous[id_].band * _WIDTH for id_, value in logs.items() if id_ in previous]
        or logs.values()
    )
    low, high = implied[(len(implied) - 1) // 2], implied[len(implied) // 2]
    return low if anchor is None or abs(low - anchor) <= abs(high - anchor) else high


def home(placements: Iterable[Placement], log: float, anchor: float) -> int:
    """The band for replicas that are taken together, of which some may be apart by history.

    Args:
        placements: That they have so far; none for replicas that are all new.
        log: Logarithm of the capacity of each.
        anchor: By `anchored`.

    Returns:
        Where most of those are that have earned their place, as long as it is not clearly wrong;
        otherwise the nearest band.
    """
    nearest = math.floor((log - anchor) / _WIDTH + 0.5)
    earned = [placement.band for placement in placements if placement.earned]
    if not earned:
        return nearest
    bands = Counter(earned)
    most = max(bands, key=lambda band: (bands[band], -abs(band - nearest), band))
    off = abs(log - anchor - most * _WIDTH)
    return most if off <= _WIDTH / 2 + math.log(MARGIN) else nearest


def placed(
    previous: Placement | None,
    band: int,
    log: float,
    anchor: float,
    patience: float,
    now: float,
    *,
    earned: bool,
) -> Placement:
    """Leave a replica in its band, let it wait, or move it.

    Args:
        previous: None for a replica that is new.
        band: Where it belongs, by `home`.
        log: Logarithm of its capacity.
        anchor: By `anchored`.
        patience: Seconds that it must have belonged elsewhere, always on the same side.
        now: Seconds of a monotonic clock.
        earned: Whether its capacity is of its own measuring. A replica that was unknown before
            has no tier worth defending: it is placed at once.
    """
    if previous is None or not previous.earned:
        return _settled(band, earned=earned)
    if band == previous.band:
        return _settled(band, earned=True)
    if abs(log - anchor - previous.band * _WIDTH) > math.log(AT_ONCE):
        return _settled(band, earned=True)
    direction = 1 if band > previous.band else -1
    since = previous.since if previous.leaving == direction else now
    if now - since >= patience:
        return _settled(band, earned=True)
    return Placement(previous.band, direction, since, earned=True)


@lru_cache(maxsize=64)
def _settled(band: int, *, earned: bool) -> Placement:
    # One object for all that are alike: nearly every replica of a pool is.
    return Placement(band, earned=earned)


def named(
    placements: Mapping[str, Placement], cohorts: Mapping[str, int], vetoed: Collection[str]
) -> dict[str, str]:
    """The tier of each replica.

    In a tier all get alike. So those that start slowly together have their own in each band, and
    one whose line is too long is alone.

    Args:
        placements: By id.
        cohorts: Of those that start slowly, by id; see `warming.cohort`.
        vetoed: Ids of those whose lines are too long.
    """
    return {
        id_: f"vetoed-{id_}"
        if id_ in vetoed
        else f"warming-{cohorts[id_]}-{ORDINARY - placement.band}"
        if id_ in cohorts
        else placement.tier
        for id_, placement in placements.items()
    }


def tier_means(
    names: Mapping[str, str], shares: Mapping[str, float], serving: Collection[str]
) -> dict[str, float]:
    """The mean share of each tier's serving members; of all where none serves."""
    members: dict[str, list[str]] = {}
    for id_, tier in names.items():
        members.setdefault(tier, []).append(id_)
    means = {}
    for tier, ids in members.items():
        counting = [id_ for id_ in ids if id_ in serving] or ids
        # fsum: the same to the last bit in whatever order the replicas come.
        means[tier] = math.fsum(shares[id_] for id_ in counting) / len(counting)
    return means
