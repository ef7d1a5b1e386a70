"""Every resource of the fleet, each encoded once, and the part of them that a view shows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from controlplane.fleet import Fleet, Pool
from controlplane.resources.clusters import cluster, is_scanned
from controlplane.resources.endpoints import assignment, members
from controlplane.resources.listeners import listener
from controlplane.resources.portion import Portion
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from controlplane.resources.routes import route_configuration
from controlplane.resources.snapshot import Changes, Revision, Snapshot
from controlplane.resources.views import View
from controlplane.settings import Address

Portions = Mapping[str, Mapping[str, Portion]]
"""By pool and replica id."""

POOL_TYPES: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""The types of which every pool has one resource, of its own name."""

REMEMBERED: Final = 64
"""So many changes are remembered by name. A stream that has not looked for longer, because none of
them was about it, compares everything that it wants."""


@dataclass(frozen=True, slots=True)
class PoolResources:
    """What one pool is to Envoy, with what it was built from.

    Attributes:
        pool: Built from.
        portions: Built from, by replica id.
        resources: One of each of `POOL_TYPES`, by type URL.
        cluster_bytes: The encoded cluster.
    """

    pool: Pool
    portions: Mapping[str, Portion]
    resources: Mapping[str, Resource]
    cluster_bytes: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The resources of a fleet at one moment.

    Attributes:
        pools: By name.
        revision: Increases with every change.
        recent: What the last changes were, the newest last.
    """

    pools: Mapping[str, PoolResources] = field(default_factory=dict)
    revision: Revision = field(default_factory=Revision)
    recent: tuple[frozenset[str], ...] = ()
    _views: dict[View, "Shown"] = field(default_factory=dict, repr=False)
    _changed: dict[int, frozenset[str]] = field(default_factory=dict, repr=False)

    def view(self, view: View) -> Snapshot:
        """What an Envoy with this view should hold; equal views get the same object."""
        if view not in self._views:
            self._views[view] = Shown(self, view)
        return self._views[view]

    def pools_changed_since(self, revision: Revision | None) -> frozenset[str] | None:
        """The names of the pools that came, changed or went.

        Returns:
            None when that is not known (any more).
        """
        if revision is None or revision.line is not self.revision.line:
            return None
        steps = self.revision.number - revision.number
        if not 0 <= steps <= len(self.recent):
            return None
        # Thousands of streams ask the same.
        if steps not in self._changed:
            newest = self.recent[len(self.recent) - steps :]
            self._changed[steps] = frozenset().union(*newest)
        return self._changed[steps]


class Shown(Snapshot):
    """The part of a catalog that a view shows. It copies nothing: thousands may differ."""

    def __init__(self, catalog: Catalog, view: View) -> None:
        self._catalog = catalog
        self._view = view
        self._pools = None if view.pools is None else frozenset(view.pools)
        self._moved = dict(view.listen)

    @property
    def revision(self) -> Revision:
        """That of the catalog."""
        return self._catalog.revision

    def get(self, type_url: str, name: str) -> Resource | None:
        """A resource of a pool that the view shows; all of them have the pool's name."""
        held = self._catalog.pools.get(name)
        if held is None or (self._pools is not None and name not in self._pools):
            return None
        if type_url == LISTENER and name in self._moved:
            return _listener(name, self._moved[name])
        return held.resources.get(type_url)

    def names(self, type_url: str) -> Collection[str]:
        """The names of the pools that the view shows."""
        if type_url not in POOL_TYPES:
            return ()
        if self._view.pools is None:
            return self._catalog.pools.keys()
        return [name for name in self._view.pools if name in self._catalog.pools]

    def changed_since(self, revision: Revision | None) -> Changes | None:
        """The resources of the pools that have changed, also of some that the view hides."""
        pools = self._catalog.pools_changed_since(revision)
        return None if pools is None else dict.fromkeys(POOL_TYPES, pools)


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
    changed = {name for name, held in pools.items() if held is not previous.pools.get(name)}
    changed |= previous.pools.keys() - pools.keys()
    if not changed:
        return previous
    recent = (*previous.recent, frozenset(changed))[-REMEMBERED:]
    return Catalog(pools, previous.revision.next(), recent)


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
            resources={
                CLUSTER: Resource.of(CLUSTER, pool.name, encoded),
                ENDPOINT: _endpoints(pool, portions, encoded),
                LISTENER: _listener(pool.name, pool.settings.listener.address),
                ROUTE: Resource.of(ROUTE, pool.name, route_configuration(pool)),
            },
            cluster_bytes=encoded,
        )
    resources = {**known.resources, ENDPOINT: _endpoints(pool, portions, known.cluster_bytes)}
    return replace(known, pool=pool, portions=portions, resources=resources)


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
