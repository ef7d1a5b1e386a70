"""What Envoys would be told of a fleet in which every replica is healthy."""

from collections.abc import Collection
from typing import Final

from controlplane.fleet import Fleet, Pool
from controlplane.plane.plane import Plane
from controlplane.plane.readiness import Probe
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.long_requests import LongRequests

_THRESHOLD: Final = 1024
"""Bytes; a real one is learned from requests."""


def catalog_if_healthy(fleet: Fleet) -> Catalog:
    """Build all that Envoys can come to be told of a fleet.

    Pools whose requests may come to be parted by length have what that takes.

    Args:
        fleet: Nothing but what is declared is known of it.
    """
    plane = Plane(0.0)
    plane.adopt(fleet, 0.0)
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, 0.0)
    catalog = plane.decide(0.0)
    long = {pool.name: _parted(pool.replicas) for pool in fleet.pools.values() if _may_part(pool)}
    return build(fleet, plane._decided.portions, catalog, long, long)


def _may_part(pool: Pool) -> bool:
    balancing = pool.settings.balancing
    return (
        balancing.policy == "capacity-tiers"
        and balancing.long_requests == "fast-replicas"
        and len(pool.replicas) > 1
    )


def _parted(replicas: Collection[str]) -> LongRequests:
    fast = sorted(replicas)[: len(replicas) // 2]
    return LongRequests(_THRESHOLD, frozenset(fast), routed=True)
