"""Every resource of the fleet, each encoded once, and the part of them that a view shows."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.config import OtlpSettings
from controlplane.config.identity import IdentitySettings
from controlplane.fleet import Fleet
from controlplane.resources.classes import UNPARTED, Parting, leads_to_gateways, pool_of
from controlplane.resources.endpoints import EndpointWeight, Spread
from controlplane.resources.ingress import Ingress
from controlplane.resources.listeners import COLLECTOR, Downstream, collector
from controlplane.resources.pool_resources import (
    NOT_SPREAD,
    PoolResources,
    listener_at,
    pool_resources,
    terminated_of,
)
from controlplane.resources.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    TYPE_URLS,
    Changes,
    Resource,
    Revision,
    Snapshot,
)
from controlplane.resources.routes import GATEWAY, Routed, gateway_routes
from controlplane.resources.tls import Trust
from controlplane.resources.views import View

EndpointWeights = Mapping[str, Mapping[str, EndpointWeight]]
"""Replicas by pool and id."""

NONE_PARTED: Final[Mapping[str, Parting]] = {}
NONE_SPREAD: Final[Mapping[str, Spread]] = {}

ALL: Final = "*"
"""Among the names of released pools: what is made of all of them."""

MAX_VIEWS: Final = 4_096
"""Snapshots that are cached; each costs next to nothing to make."""

REMEMBERED: Final = 64
"""Number of changes that are remembered by name. A stream that has not looked for longer, because
none of them was about it, compares everything that it wants."""


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The resources of a fleet at one moment.

    Attributes:
        recent: What the last changes were, the newest last, by the resources' names.
        released: The pools that are sent to clients whatever these hold of them from before, and
            ``*`` where that holds for what is made of all pools; None: any pool. See
            `controlplane.plane.recovery`.
    """

    pools: Mapping[str, PoolResources] = field(default_factory=dict)
    revision: Revision = field(default_factory=Revision)
    recent: tuple[Changes, ...] = ()
    released: frozenset[str] | None = None
    trust_domain: str = IdentitySettings().trust_domain
    otlp: OtlpSettings | None = None
    _views: dict[View, Snapshot] = field(default_factory=dict, init=False, repr=False)
    _changed: dict[int, Changes] = field(default_factory=dict, init=False, repr=False)

    def view(self, view: View) -> Snapshot:
        """Return the resources of a view; equal views get the same object."""
        if view not in self._views:
            # Those who asked may have left.
            if len(self._views) >= MAX_VIEWS:
                self._views.clear()
            replica = view.replica
            self._views[view] = Ingress(self, view, replica) if replica else Shown(self, view)
        return self._views[view]

    def forget_views(self) -> None:
        """Let go of what refers to this catalog, so that it is freed as soon as nobody uses it."""
        self._views.clear()

    def changed_since(self, revision: Revision | None) -> Changes | None:
        """The resources of pools that came, changed or went; None where that is not known."""
        if revision is None or revision.line is not self.revision.line:
            return None
        steps = self.revision.number - revision.number
        if not 0 <= steps <= len(self.recent):
            return None
        # Thousands of streams ask the same.
        if steps not in self._changed:
            newest = self.recent[len(self.recent) - steps :]
            self._changed[steps] = {
                url: frozenset().union(*(changes.get(url, ()) for changes in newest))
                for url in TYPE_URLS
                if any(url in changes for changes in newest)
            }
        return self._changed[steps]


class Shown(Snapshot):
    """The part of a catalog that a view shows. It copies nothing: thousands may differ."""

    def __init__(self, catalog: Catalog, view: View) -> None:
        super().__init__(catalog.revision, keeps_any=catalog.released is not None)
        self._catalog = catalog
        self._view = view
        self._pools = None if view.pools is None else frozenset(view.pools)
        self._moved = dict(view.listen)
        source = view.identity
        self._trust = Trust(source, catalog.trust_domain) if source is not None else None

    def get(self, type_url: str, name: str) -> Resource | None:
        """A resource of a pool that the view shows, or of the gateway that it is for."""
        if self._view.gateway and type_url in (LISTENER, ROUTE):
            return self._of_gateway(type_url) if name == GATEWAY else None
        otlp = self._catalog.otlp
        if otlp is not None and (type_url, name) == (CLUSTER, COLLECTOR):
            return None if self._view.is_grpc else collector(otlp)
        pool = _owner(type_url, name)
        if pool == ALL and type_url == SECRET:
            return next((file for file in self._view.files if file.name == name), None)
        held = self._catalog.pools.get(pool)
        if held is None or (self._pools is not None and pool not in self._pools):
            return None
        if type_url == ENDPOINT and held.pool.settings.mesh.mode == "strict" and not self._trust:
            # Who has no certificates would ask in plain text, and be refused.
            return held.empty_assignment(name) if held.get(type_url, name) is not None else None
        if self._view.is_grpc:
            return held.of_grpc(type_url, name, self._view.place, ejects=self._view.ejects)
        if type_url == CLUSTER:
            return held.cluster(name, self._trust) if self._has(name) else None
        if type_url == ENDPOINT:
            return held.endpoints(name, self._view.place)
        if type_url == LISTENER:
            settings = held.pool.settings
            address = self._moved.get(name, settings.listener.address)
            tls = terminated_of(held.pool)
            return listener_at(
                name, address, self._view.downstream(settings.route.timeout, tls, otlp)
            )
        return held.get(type_url, name)

    def names(self, type_url: str) -> Collection[str]:
        """The names of the pools that the view shows, or of what its gateway has."""
        if type_url not in TYPE_URLS:
            return ()
        if self._view.gateway and type_url in (LISTENER, ROUTE):
            return (GATEWAY,)
        if self._view.is_grpc and type_url not in (LISTENER, ENDPOINT):
            # Its routes are in its listeners, and it has no cluster for what is tried again.
            return self.names(ENDPOINT) if type_url == CLUSTER else ()
        shown, own = self._shown(), list[str]()
        if type_url in (LISTENER, ROUTE):
            return shown
        if type_url == SECRET:
            own = [each.name for each in self._view.files]
        elif type_url == CLUSTER and self._catalog.otlp is not None:
            own = [COLLECTOR]
        pools = self._catalog.pools
        named = (each.name for name in shown for each in pools[name].resources[type_url])
        return [*own, *filter(self._has, named)]

    def _has(self, name: str) -> bool:
        """Whether it has this of a pool's resources: a gateway sends to replicas alone."""
        return self._view.gateway is None or not leads_to_gateways(name)

    def keeps(self, type_url: str, name: str, version: str | None) -> bool:
        """Whether a client keeps what it has of a pool that is not released.

        An Envoy with an empty assignment has no replica to keep.
        """
        released = self._catalog.released
        if released is None or type_url not in TYPE_URLS or name == COLLECTOR:
            return False
        is_shared = self._view.gateway is not None and type_url in (LISTENER, ROUTE)
        pool = ALL if is_shared else _owner(type_url, name)
        if pool in released:
            return False
        held = self._catalog.pools.get(pool)
        return (
            type_url != ENDPOINT or held is None or version != held.empty_assignment(name).version
        )

    def _shown(self) -> Collection[str]:
        """The names of the pools that the view shows."""
        if self._view.pools is None:
            return self._catalog.pools.keys()
        return [name for name in self._view.pools if name in self._catalog.pools]

    def changed_since(self, revision: Revision | None) -> Changes | None:
        """The resources of the pools that have changed, also of some that the view hides."""
        changed = self._catalog.changed_since(revision)
        if changed is not None and self._view.is_grpc and ROUTE in changed:
            # Its listeners have the routes in them.
            return {**changed, LISTENER: changed.get(LISTENER, frozenset()) | changed[ROUTE]}
        if changed is None or not self._view.gateway:
            return changed
        # Its listener is its own, and its routes are to all pools; both go by their settings.
        seen = {url: names for url, names in changed.items() if url not in (LISTENER, ROUTE)}
        own = frozenset((GATEWAY,))
        return seen | {LISTENER: own, ROUTE: own} if changed.keys() & {ROUTE, CLUSTER} else seen

    def _of_gateway(self, type_url: str) -> Resource | None:
        pools, shown = self._catalog.pools, sorted(self._shown())
        if type_url == LISTENER:
            # It does not know yet for which pool a request is that it still receives.
            timeouts = (pools[name].pool.settings.route.timeout for name in shown)
            upload = max(timeouts, default=Downstream().upload)
            downstream = self._view.downstream(upload, self._view.terminated, self._catalog.otlp)
            asked = tuple(name for name in shown if pools[name].pool.settings.gateways)
            downstream = downstream._replace(asked=asked)
            gateway = self._view.gateway
            return listener_at(GATEWAY, gateway, downstream) if gateway else None
        return gateway_routes(
            tuple(Routed.to(pools[name].pool, pools[name].parting) for name in shown)
        )


def build(
    fleet: Fleet,
    endpoint_weights: EndpointWeights,
    previous: Catalog,
    changed: Mapping[str, Collection[str] | None] | None = None,
    parting: Mapping[str, Parting] = NONE_PARTED,
    spreads: Mapping[str, Spread] = NONE_SPREAD,
) -> Catalog:
    """Build the catalog of a fleet, encoding only what has changed; `previous` where nothing has.

    Args:
        changed: The ids of the replicas that came, changed or went since, by pool; None: any of
            them, and the pool itself. Pools that are left out did not change. None: any may have.
        spreads: Where the Envoys of each zone send requests, by pool; elsewhere distance alone
            says it, if it matters.
    """
    pools, other = dict(previous.pools), set()
    if changed is None:
        changed = dict.fromkeys(previous.pools.keys() | fleet.pools.keys())
    for name, ids in changed.items():
        pool, known = fleet.pools.get(name), previous.pools.get(name)
        held = (
            pool_resources(
                pool,
                endpoint_weights.get(name, {}),
                known,
                parting.get(name, UNPARTED),
                ids,
                spreads.get(name, NOT_SPREAD),
            )
            if pool
            else None
        )
        if held is not known:
            other.add(name)
        if held is not None:
            pools[name] = held
        else:
            pools.pop(name, None)
    if not other:
        return previous
    pairs = [(previous.pools.get(name), pools.get(name)) for name in other]
    found = {
        url: frozenset(name for pair in pairs for name in _changed(*pair, url)) for url in TYPE_URLS
    }
    changes = {url: names for url, names in found.items() if names}
    recent = (*previous.recent, changes)[-REMEMBERED:]
    return replace(previous, pools=pools, revision=previous.revision.next(), recent=recent)


def guarded(catalog: Catalog, released: frozenset[str] | None) -> Catalog:
    """The same catalog where these pools are released; see `Catalog.released`.

    Returns:
        `catalog` itself where nothing has changed. Another one is compared whole: what clients keep
        may be of pools that nobody knows here.
    """
    if released == catalog.released:
        return catalog
    return replace(catalog, revision=Revision(), recent=(), released=released)


def _owner(type_url: str, name: str) -> str:
    """The pool that a resource belongs to; `ALL` for the secrets of a gateway itself."""
    if type_url == SECRET:
        return name.partition("/")[0]
    return pool_of(name) if type_url in (CLUSTER, ENDPOINT) else name


def _changed(before: PoolResources | None, after: PoolResources | None, url: str) -> Iterator[str]:
    """The names of a pool's resources of one type that are other ones, or came, or went."""
    old = {resource.name: resource for resource in before.resources[url]} if before else {}
    new = {resource.name: resource for resource in after.resources[url]} if after else {}
    for name in old.keys() | new.keys():
        if old.get(name) is not new.get(name) or (
            before and after and _seen(before, url) != _seen(after, url)
        ):
            yield name


def _seen(pool: PoolResources, url: str) -> tuple[object, ...]:
    """What makes a resource another one for some clients only.

    That is the mesh for clients with certificates, and of endpoints their order and their health.
    """
    if url != ENDPOINT:
        return (pool.pool.settings.mesh,)
    ill = [member.id for member in pool.members if not member.healthy]
    return pool.pool.settings.mesh, pool.is_near, pool.spread, ill
