"""What Envoys would be told of a fleet in which every replica is healthy."""

from collections.abc import Mapping
from typing import Final

from controlplane.fleet import Fleet, Pool, whole
from controlplane.plane.plane import Plane
from controlplane.plane.readiness import Probe
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.classes import BULK, OTHERS, Parting, TrafficClass
from controlplane.resources.portion import Portion
from controlplane.settings import ClassMatch

_THRESHOLD: Final = 1024
"""Bytes; a real one is learned from requests."""


def catalog_if_healthy(fleet: Fleet) -> Catalog:
    """Build all that Envoys can come to be told of a fleet.

    Pools whose requests may come to be parted into classes have what that takes.

    Args:
        fleet: Nothing but what is declared is known of it.
    """
    plane = Plane(0.0)
    plane.adopt(whole(fleet), 0.0)
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, 0.0)
    catalog, portions = plane.decide(0.0), plane._decided.portions
    parting = {
        name: found
        for name, pool in fleet.pools.items()
        if (found := _parting(pool, portions.get(name, {}))) is not None
    }
    return build(fleet, portions, catalog, dict.fromkeys(parting), parting)


def _parting(pool: Pool, portions: Mapping[str, Portion]) -> Parting | None:
    """The classes that there may come to be; each has some replicas, and the rest behind them."""
    settings, balancing = pool.settings, pool.settings.balancing
    if settings.classes is not None:
        matches = {it.name: it.match for it in settings.classes}
    elif (
        balancing.policy == "capacity-tiers"
        and balancing.locality == "any"
        and balancing.long_requests == "fast-replicas"
        and len(pool.replicas) > 1
    ):
        matches = {BULK: ClassMatch(min_bytes=_THRESHOLD)}
    else:
        return None
    some = dict(sorted(portions.items())[: len(portions) // 2])
    named = (TrafficClass(name, match, some, routed=True) for name, match in matches.items())
    rest = {id_: portion for id_, portion in portions.items() if id_ not in some}
    return Parting((*named, TrafficClass(OTHERS, None, rest, routed=True)))
