"""What one pool is to Envoy, encoded once for all who see it alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from controlplane.fleet import Pool
from controlplane.resources.clusters import cluster
from controlplane.resources.endpoints import Member, assignment, members
from controlplane.resources.listeners import listener
from controlplane.resources.places import Place, priorities
from controlplane.resources.policies import is_scanned
from controlplane.resources.portion import Portion
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from controlplane.resources.routes import route_configuration
from controlplane.settings import Address

POOL_TYPES: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""The types of which every pool has one resource, of its own name."""


@dataclass(frozen=True, slots=True, eq=False)
class PoolResources:
    """One pool, and what it was built from.

    Attributes:
        pool: Built from.
        portions: Built from, by replica id.
        members: The replicas that Envoy is told of.
        cluster_bytes: The encoded cluster.
        resources: One of each of `POOL_TYPES`, by type URL, as an Envoy sees them that runs
            nowhere in particular.
    """

    pool: Pool
    portions: Mapping[str, Portion]
    members: tuple[Member, ...]
    cluster_bytes: bytes
    resources: Mapping[str, Resource]
    _near: dict[tuple[int, ...], Resource] = field(default_factory=dict, repr=False)

    def endpoints(self, here: Place) -> Resource:
        """The assignment for an Envoy that runs here; those that see the same get the same."""
        if self.pool.settings.balancing.locality == "any":
            return self.resources[ENDPOINT]
        places = sorted({member.place for member in self.members})
        ranks = priorities(here, places)
        seen = tuple(ranks.values())
        if not any(seen):
            return self.resources[ENDPOINT]
        if seen not in self._near:
            self._near[seen] = _endpoints(self.pool.name, self.members, self.cluster_bytes, ranks)
        return self._near[seen]


def pool_resources(
    pool: Pool, portions: Mapping[str, Portion], known: PoolResources | None
) -> PoolResources:
    """Build a pool's resources, encoding only what has changed.

    Args:
        pool: The pool.
        portions: By replica id; Envoy is not told of replicas without one.
        known: The same pool's resources before.

    Returns:
        `known` itself where nothing has changed for Envoy.
    """
    if known is not None and known.pool == pool and known.portions == portions:
        return known
    listed, same_shape = members(pool, portions), known and _shape(known.pool) == _shape(pool)
    if known is None or not same_shape:
        encoded = cluster(pool)
        resources = {
            CLUSTER: Resource.of(CLUSTER, pool.name, encoded),
            ENDPOINT: _endpoints(pool.name, listed, encoded),
            LISTENER: listener_at(pool.name, pool.settings.listener.address),
            ROUTE: Resource.of(ROUTE, pool.name, route_configuration(pool)),
        }
        return PoolResources(pool, portions, listed, encoded, resources)
    if known.members == listed:
        # A heartbeat makes another pool of it, but nothing that Envoy sees.
        return known
    endpoints = _endpoints(pool.name, listed, known.cluster_bytes)
    resources = {**known.resources, ENDPOINT: endpoints}
    return PoolResources(pool, portions, listed, known.cluster_bytes, resources)


def _shape(pool: Pool) -> tuple[object, ...]:
    """All that a pool's cluster, listener and route depend on."""
    return (pool.settings, is_scanned(pool))


def _endpoints(
    name: str,
    listed: tuple[Member, ...],
    cluster_bytes: bytes,
    ranks: Mapping[Place, int] | None = None,
) -> Resource:
    return Resource.of(ENDPOINT, name, assignment(name, listed, ranks), salt=cluster_bytes)


@lru_cache(maxsize=4096)
def listener_at(name: str, address: Address) -> Resource:
    """A listener; every sidecar on a host may have moved its own, and encoding takes long."""
    return Resource.of(LISTENER, name, listener(name, address))
