"""Which replicas an Envoy uses, by where it and they run: priorities, and shares of zones."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from controlplane.balancing import NOWHERE, Place, Shares
from controlplane.config import ReplicaSettings

__all__ = ["NOWHERE", "Order", "Place", "Spread", "order", "place_of"]

_OTHERS: Final = 3
"""So many ranks are the class's own replicas'."""
_LAST: Final = 10
"""The rank of replicas that serve nobody: Envoy would take those among others for ill ones, and
send a part of the requests to the next priority."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the Envoys of each zone send a pool's requests.

    Attributes:
        by_class: By the class's name; zones and classes that are left out go by distance alone.
        gone: Ids of replicas at which nobody listens.
    """

    by_class: Mapping[str, Shares] = field(default_factory=dict)
    gone: Collection[str] = frozenset()


class Order(NamedTuple):
    """In which order an Envoy uses replicas.

    Attributes:
        ranks: 0 for those that are used first, and so on without a gap, as Envoy counts
            priorities; by place, whether they serve the class itself, and whether they serve.
        shares: The part of the requests for each place of rank 0; empty where weights say it.
    """

    ranks: Mapping[tuple[Place, bool, bool], int]
    shares: Mapping[Place, float]


def order(
    here: Place, groups: Collection[tuple[Place, bool, bool]], shares_by_zone: Shares
) -> Order:
    """Order replicas as an Envoy that runs `here` uses them; for groups see `Order.ranks`.

    First come the zones that get a part of the requests, then the class's other replicas by
    distance, and then those of other classes.
    """
    able = {place for place, is_own, serves in groups if is_own and serves}
    shares = {place: part for place, part in shares_by_zone.get(here, {}).items() if place in able}

    def rank(place: Place, is_own: bool, serves: bool) -> int:  # noqa: FBT001 - parts of a key
        if not serves:
            return _LAST
        if is_own and place in shares:
            return 0
        return 1 + here.distance(place) + (0 if is_own else _OTHERS)

    found = {group: rank(*group) for group in groups}
    places = {each: at for at, each in enumerate(sorted({*found.values()}))}
    return Order({group: places[each] for group, each in found.items()}, shares)


def place_of(settings: ReplicaSettings) -> Place:
    """Where a replica runs."""
    return _place(settings.locality.region or "", settings.locality.zone or "")


@lru_cache(maxsize=1024)
def _place(region: str, zone: str) -> Place:
    return Place(region, zone)
