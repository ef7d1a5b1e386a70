"""Every resource of the fleet, each encoded once, and the part of them that a view shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from controlplane.fleet import Fleet, Pool
from controlplane.resources.clusters import cluster, is_scanned
from controlplane.resources.endpoints import assignment, members
from controlplane.resources.listeners import listener
from controlplane.resources.portion import Portion
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Snapshot
from controlplane.resources.routes import route_configuration
from controlplane.resources.views import View
from controlplane.settings import Address

Portions = Mapping[str, Mapping[str, Portion]]
"""By pool and replica id."""


@dataclass(frozen=True, slots=True)
class PoolResources:
    """What one pool is to Envoy, with what it was built from."""

    pool: Pool
    portions: Mapping[str, Portion]
    cluster: Resource
    cluster_bytes: bytes
    endpoints: Resource
    listener: Resource
    route: Resource


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The resources of a fleet at one moment.

    Attributes:
        pools: By name.
    """

    pools: Mapping[str, PoolResources] = field(default_factory=dict)
    _views: dict[View, Snapshot] = field(default_factory=dict, repr=False)

    def view(self, view: View) -> Snapshot:
        """What an Envoy with this view should hold; equal views get the same object."""
        if view not in self._views:
            self._views[view] = self._snapshot(view)
        return self._views[view]

    def _snapshot(self, view: View) -> Snapshot:
        shown = {name: held for name, held in self.pools.items() if view.shows(name)}
        moved = dict(view.listen)
        return Snapshot.of(
            {
                CLUSTER: {name: held.cluster for name, held in shown.items()},
                ENDPOINT: {name: held.endpoints for name, held in shown.items()},
                LISTENER: {
                    name: _listener(name, moved[name]) if name in moved else held.listener
                    for name, held in shown.items()
                },
                ROUTE: {name: held.route for name, held in shown.items()},
            }
        )


def build(fleet: Fleet, portions: Portions, previous: Catalog) -> Catalog:
    """Build the catalog of a fleet, encoding only what has changed.

    Args:
        fleet: Who exists.
        portions: How much each replica gets.
        previous: The catalog before; what it was built from tells what has changed.

    Returns:
        `previous` itself where nothing has changed.
    """
    pools = {
        name: _pool(pool, portions.get(name, {}), previous.pools.get(name))
        for name, pool in sorted(fleet.pools.items())
    }
    unchanged = pools.keys() == previous.pools.keys() and all(
        pools[name] is previous.pools[name] for name in pools
    )
    return previous if unchanged else Catalog(pools)


def _pool(
    pool: Pool, portions: Mapping[str, Portion], known: PoolResources | None
) -> PoolResources:
    if known is not None and known.pool == pool and known.portions == portions:
        return known
    # A heartbeat makes another pool of it, but nothing that Envoy sees.
    if known is not None and _seen(known.pool, known.portions) == _seen(pool, portions):
        return known
    if known is None or _shape(known.pool) != _shape(pool):
        encoded = cluster(pool)
        return PoolResources(
            pool=pool,
            portions=portions,
            cluster=Resource.of(CLUSTER, pool.name, encoded),
            cluster_bytes=encoded,
            endpoints=_endpoints(pool, portions, encoded),
            listener=_listener(pool.name, pool.settings.listener.address),
            route=Resource.of(ROUTE, pool.name, route_configuration(pool)),
        )
    endpoints = _endpoints(pool, portions, known.cluster_bytes)
    return replace(known, pool=pool, portions=portions, endpoints=endpoints)


def _shape(pool: Pool) -> tuple[object, ...]:
    """All that a pool's cluster, listener and route depend on."""
    return (pool.settings, is_scanned(pool))


def _seen(pool: Pool, portions: Mapping[str, Portion]) -> tuple[object, ...]:
    """All that any of a pool's resources depends on."""
    return (_shape(pool), members(pool, portions))


@lru_cache(maxsize=4096)
def _listener(name: str, address: Address) -> Resource:
    # Encoding one takes milliseconds, and every sidecar on a host may have moved its own.
    return Resource.of(LISTENER, name, listener(name, address))


def _endpoints(pool: Pool, portions: Mapping[str, Portion], encoded: bytes) -> Resource:
    return Resource.of(ENDPOINT, pool.name, assignment(pool, portions), salt=encoded)
