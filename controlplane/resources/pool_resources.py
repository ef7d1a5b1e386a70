"""What one pool is to Envoy, encoded once for all who see it alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from controlplane.fleet import Pool
from controlplane.resources.clusters import cluster
from controlplane.resources.endpoints import Member, alike, assignment, members
from controlplane.resources.listeners import listener
from controlplane.resources.long_requests import LongRequests, long_cluster
from controlplane.resources.places import Place, priorities
from controlplane.resources.policies import is_scanned
from controlplane.resources.portion import Portion
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from controlplane.resources.routes import route_configuration
from controlplane.settings import Address

POOL_TYPES: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""The types of which every pool has a resource of its own name. Of the first two it may have
another, for its long requests."""


@dataclass(frozen=True, slots=True, eq=False)
class PoolResources:
    """One pool, and what it was built from.

    Attributes:
        pool: Built from.
        portions: Built from, by replica id.
        members: The replicas that Envoy is told of.
        cluster_bytes: The encoded cluster.
        long: Built from: how requests are parted by length.
        resources: Of each of `POOL_TYPES` by type URL, as an Envoy sees them that runs nowhere in
            particular: the pool's own, and where requests are parted that for the long ones.
    """

    pool: Pool
    portions: Mapping[str, Portion]
    members: tuple[Member, ...]
    cluster_bytes: bytes
    long: LongRequests | None
    resources: Mapping[str, tuple[Resource, ...]]
    _near: dict[tuple[int, ...], Resource] = field(default_factory=dict, repr=False)

    def get(self, type_url: str, name: str) -> Resource | None:
        """A resource; None when there is none of this type and name."""
        return next((it for it in self.resources.get(type_url, ()) if it.name == name), None)

    def endpoints(self, here: Place) -> Resource:
        """The assignment for an Envoy that runs here; those that see the same get the same."""
        if self.pool.settings.balancing.locality == "any":
            return self.resources[ENDPOINT][0]
        places = sorted({member.place for member in self.members})
        ranks = priorities(here, places)
        seen = tuple(ranks.values())
        if not any(seen):
            return self.resources[ENDPOINT][0]
        if seen not in self._near:
            self._near[seen] = _endpoints(
                self.pool.name, self.members, self.cluster_bytes, lambda it: ranks[it.place]
            )
        return self._near[seen]


def pool_resources(
    pool: Pool,
    portions: Mapping[str, Portion],
    known: PoolResources | None,
    long: LongRequests | None = None,
) -> PoolResources:
    """Build a pool's resources, encoding only what has changed.

    Args:
        pool: The pool.
        portions: By replica id; Envoy is not told of replicas without one.
        known: The same pool's resources before.
        long: How requests are parted by length; None: they are not.

    Returns:
        `known` itself where nothing has changed for Envoy.
    """
    if (
        known is not None
        and known.pool == pool
        and known.portions == portions
        and known.long == long
    ):
        return known
    same_shape = known is not None and _shape(known.pool, known.long) == _shape(pool, long)
    if known is None:
        listed = members(pool, portions)
    else:
        listed = members(pool, portions, known.members, (known.pool, known.portions))
    if known is not None and same_shape and known.members == listed and known.long == long:
        # A heartbeat makes another pool of it, but nothing that Envoy sees.
        return known
    encoded = known.cluster_bytes if known is not None and same_shape else cluster(pool)
    resources = (
        dict(known.resources) if known is not None and same_shape else _fixed(pool, encoded, long)
    )
    resources[ENDPOINT] = _assignments(pool.name, listed, encoded, long)
    if known is not None:
        resources = {url: _same(known, url, made) for url, made in resources.items()}
    return PoolResources(pool, portions, listed, encoded, long, resources)


def _same(known: PoolResources, url: str, made: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """The resources that there were, where they say the same: who looks for changes sees none."""
    before = {it.name: it for it in known.resources[url]}
    return tuple(
        old if (old := before.get(it.name)) is not None and old == it else it for it in made
    )


def _shape(pool: Pool, long: LongRequests | None) -> tuple[object, ...]:
    """All that a pool's clusters, listener and route depend on."""
    routed = long.threshold if long is not None and long.routed else None
    return (pool.settings, is_scanned(pool), long is not None, routed)


def _fixed(
    pool: Pool, encoded: bytes, long: LongRequests | None
) -> dict[str, tuple[Resource, ...]]:
    """What does not change with weights."""
    clusters = {pool.name: encoded}
    if long is not None:
        name = long_cluster(pool.name)
        clusters[name] = cluster(pool, name)
    return {
        CLUSTER: tuple(Resource.of(CLUSTER, name, it) for name, it in clusters.items()),
        LISTENER: (listener_at(pool.name, pool.settings.listener.address),),
        ROUTE: (Resource.of(ROUTE, pool.name, route_configuration(pool, long)),),
    }


def _assignments(
    name: str, listed: tuple[Member, ...], cluster_bytes: bytes, long: LongRequests | None
) -> tuple[Resource, ...]:
    own = _endpoints(name, listed, cluster_bytes)
    if long is None:
        return (own,)
    fast = long.fast
    return own, _endpoints(
        long_cluster(name), listed, cluster_bytes, lambda it: 0 if it.id in fast else 1
    )


def _endpoints(
    name: str,
    listed: tuple[Member, ...],
    cluster_bytes: bytes,
    rank: Callable[[Member], int] = alike,
) -> Resource:
    return Resource.of(ENDPOINT, name, assignment(name, listed, rank), salt=cluster_bytes)


@lru_cache(maxsize=16_384)
def listener_at(name: str, address: Address, access_log: str | None = None) -> Resource:
    """A listener, the same object for all who have it there; see `listener`."""
    return Resource.of(LISTENER, name, listener(name, address, access_log))
