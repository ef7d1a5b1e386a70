"""The resources of one pool, encoded once for all clients that see the same."""

from collections.abc import Callable, Collection, Container, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from controlplane.config import Address
from controlplane.fleet import Pool
from controlplane.resources.classes import (
    OTHERS,
    Parting,
    class_of,
    cluster_of,
    retry_cluster_of,
    weights_in_class,
)
from controlplane.resources.clusters import cluster, gateway_clusters, is_scanned, retry_cluster
from controlplane.resources.endpoints import (
    NO_SHARES,
    EndpointWeight,
    Member,
    Members,
    assignment,
    members,
    same_rank,
)
from controlplane.resources.grpc_clients import (
    available,
    grpc_cluster,
    grpc_endpoints,
    grpc_listener,
    sub_zone_of,
)
from controlplane.resources.listeners import Downstream, listener
from controlplane.resources.mesh import Trust
from controlplane.resources.places import NOWHERE, Order, Place, Spread, order
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource
from controlplane.resources.routes import Routed, route_configuration
from controlplane.resources.tls import Terminated, pool_secrets, terminated

POOL_TYPES: Final = (CLUSTER, ENDPOINT, SECRET, LISTENER, ROUTE)
"""The types of which a pool has resources, and all but secrets one of its own name. Of the first
two it has another for each class of its requests, and each of its clusters has a further one for
what is tried again. A class that goes through gateways has two more at sidecars.
Its secrets name the files of its edges that speak TLS."""

NOT_SPREAD: Final = Spread()


@dataclass(frozen=True, slots=True, eq=False)
class _Served:
    """Who serves a class.

    Attributes:
        first: Ids of those that are used first.
    """

    endpoint_weights: Mapping[str, EndpointWeight]
    members: Members
    first: frozenset[str]
    assignment: Resource


@dataclass(frozen=True, slots=True, eq=False)
class PoolResources:
    """One pool, and what it was built from.

    Attributes:
        resources: Of each of `POOL_TYPES` by type URL, as an Envoy sees them that runs nowhere in
            particular: the pool's own, and after it all others.
    """

    pool: Pool
    endpoint_weights: Mapping[str, EndpointWeight]
    members: Members
    cluster_bytes: bytes
    parting: Parting | None
    resources: Mapping[str, tuple[Resource, ...]]
    _served: Mapping[str, _Served] = field(default_factory=dict, repr=False)
    spread: Spread = field(default_factory=Spread)
    _near: dict[tuple[str, Place], Resource] = field(default_factory=dict, repr=False)
    _orders: dict[Hashable, Resource] = field(default_factory=dict, repr=False)
    _secured: dict[Trust, tuple[Resource, ...]] = field(default_factory=dict, repr=False)
    _grpc: dict[tuple[str, Place], Resource] = field(default_factory=dict, repr=False)

    def get(self, type_url: str, name: str) -> Resource | None:
        """A resource; None when there is none of this type and name."""
        return next((each for each in self.resources.get(type_url, ()) if each.name == name), None)

    def cluster(self, name: str, trust: Trust | None) -> Resource | None:
        """A cluster as Envoys with these certificates, or with none, get it."""
        if trust is None or self.pool.settings.mesh.mode == "off":
            return self.get(CLUSTER, name)
        if trust not in self._secured:
            self._secured[trust] = _clusters(self.pool, self.parting, trust)
        return next((each for each in self._secured[trust] if each.name == name), None)

    def empty(self, name: str) -> str:
        """The version of an assignment of this name without replicas."""
        return self.nothing(name).version

    def nothing(self, name: str) -> Resource:
        """An assignment of this name without replicas."""
        return _endpoints(name, (), self.cluster_bytes, may_sleep=_may_sleep(self.pool))

    def endpoints(self, name: str, here: Place) -> Resource | None:
        """The assignment of a cluster for an Envoy that runs here; None: there is no such cluster.

        Those that see the same get the same.
        """
        if (usual := self.get(ENDPOINT, name)) is None or not self.is_near:
            return usual
        if (name, here) not in self._near:
            self._near[name, here] = self._ordered(name, here, usual)
        return self._near[name, here]

    @property
    def is_near(self) -> bool:
        """Whether Envoys use the replicas of their own zone first."""
        return self.pool.settings.balancing.locality == "nearest"

    def _ordered(self, name: str, here: Place, usual: Resource) -> Resource:
        served = self._served.get(class_of(name))
        listed = served.members if served is not None else self.members
        rank, (ranks, shares) = self._order(name, here, listed)
        if served is None and not any(ranks.values()) and len(shares) < 2:
            return usual
        key = (name, tuple(sorted(ranks.items())), tuple(sorted(shares.items())))
        if key not in self._orders:
            self._orders[key] = _endpoints(
                name, listed, self.cluster_bytes, rank, shares, may_sleep=_may_sleep(self.pool)
            )
        return self._orders[key]

    def _order(
        self, name: str, here: Place, listed: Collection[Member]
    ) -> tuple[Callable[[Member], int], Order]:
        """How one that runs here orders these members of a cluster, and the rank of each."""
        served = self._served.get(class_of(name))
        first = served.first if served is not None else None
        gone, by_class = self.spread.gone, self.spread.by_class

        def group(member: Member) -> tuple[Place, bool, bool]:
            is_own = first is None or member.id in first
            return member.place, is_own, not member.draining and member.id not in gone

        found = order(
            here,
            {group(each) for each in listed},
            by_class.get(class_of(name), by_class.get(OTHERS, {})),
        )
        return lambda each: found.ranks[group(each)], found

    def of_grpc(
        self, type_url: str, name: str, here: Place, *, ejects: bool = True
    ) -> Resource | None:
        """A resource for a gRPC client that runs here; None when there is none.

        `ejects`: the client leaves out replicas that fail.
        """
        if type_url == LISTENER:
            return grpc_listener(Routed.to(self.pool, self.parting))
        if type_url not in (CLUSTER, ENDPOINT) or self.get(ENDPOINT, name) is None:
            return None
        if type_url == CLUSTER:
            return grpc_cluster(name, self.pool.settings.balancing.policy, ejects=ejects)
        place = here if self.is_near else NOWHERE
        if (name, place) not in self._grpc:
            self._grpc[name, place] = self._grpc_endpoints(name, place)
        return self._grpc[name, place]

    def _grpc_endpoints(self, name: str, here: Place) -> Resource:
        served = self._served.get(class_of(name))
        listed = available(self.members if served is None else served.members)
        rank: Callable[[Member], int] = same_rank
        shares = NO_SHARES
        if self.is_near:
            rank, (_, shares) = self._order(name, here, listed)
        elif served is not None:
            rank = _first(served.first)
        policy = self.pool.settings.balancing.policy
        sleeps = _may_sleep(self.pool)
        return grpc_endpoints(
            name, listed, policy, rank, shares, self.cluster_bytes, may_sleep=sleeps
        )

    def in_locality(self, cluster: str, place: Place, sub_zone: str) -> list[Address]:
        """The replicas to which a gRPC client sends what it reports of a locality."""
        served, policy = self._served.get(class_of(cluster)), self.pool.settings.balancing.policy
        found = [
            member
            for member in available(self.members if served is None else served.members)
            if member.place == place and sub_zone_of(member, policy) == sub_zone
        ]
        if served is not None:
            found = [member for member in found if member.id in served.first] or found
        return [member.address for member in found]


def pool_resources(
    pool: Pool,
    endpoint_weights: Mapping[str, EndpointWeight],
    known: PoolResources | None,
    parting: Parting | None = None,
    changed: Collection[str] | None = None,
    spread: Spread = NOT_SPREAD,
) -> PoolResources:
    """Build a pool's resources, encoding only what has changed.

    Args:
        endpoint_weights: By replica id; Envoy does not learn of replicas without one.
        changed: Ids of the replicas that came, changed or went since; None: any of them.

    Returns:
        `known` itself where nothing has changed for Envoy.
    """
    if (
        known is not None
        and known.pool == pool
        and known.endpoint_weights == endpoint_weights
        and known.parting == parting
        and known.spread == spread
    ):
        return known
    same_shape = known is not None and _shape(known.pool, known.parting) == _shape(pool, parting)
    if known is None:
        listed = members(pool, endpoint_weights)
    else:
        listed = members(
            pool, endpoint_weights, known.members, (known.pool, known.endpoint_weights), changed
        )
    if (
        known is not None
        and same_shape
        and known.members == listed
        and known.parting == parting
        and known.spread == spread
    ):
        # A heartbeat makes another pool of it, but nothing that Envoy sees.
        return known
    encoded = known.cluster_bytes if known is not None and same_shape else cluster(pool)
    resources = (
        dict(known.resources)
        if known is not None and same_shape
        else _fixed(pool, encoded, parting)
    )
    served = (
        _served(pool, endpoint_weights, listed, known, encoded, parting, changed)
        if parting is not None
        else {}
    )
    resources[ENDPOINT] = (
        tuple(served[name].assignment for name in _names(parting))
        if served
        else (_endpoints(pool.name, listed, encoded, may_sleep=_may_sleep(pool)),)
    )
    if known is not None:
        resources = {url: _same(known, url, made) for url, made in resources.items()}
    made = PoolResources(
        pool, endpoint_weights, listed, encoded, parting, resources, served, spread
    )
    if known is not None and same_shape:
        made._secured.update(known._secured)
    return made


def _same(known: PoolResources, url: str, made: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """The resources that there were, where they say the same: who looks for changes sees none."""
    before = {each.name: each for each in known.resources[url]}
    return tuple(
        old if (old := before.get(each.name)) is not None and old == each else each for each in made
    )


def _names(parting: Parting | None) -> tuple[str, ...]:
    """The classes that have a cluster, the pool's own first."""
    return (OTHERS, *(each.name for each in parting.named)) if parting is not None else (OTHERS,)


def _shape(pool: Pool, parting: Parting | None) -> tuple[object, ...]:
    """All that a pool's clusters, listener and route depend on."""
    routes = parting.routes if parting is not None else ()
    return (pool.settings, is_scanned(pool), _names(parting), routes)


def _fixed(pool: Pool, encoded: bytes, parting: Parting | None) -> dict[str, tuple[Resource, ...]]:
    """What does not change with weights."""
    return {
        CLUSTER: _clusters(pool, parting, None, encoded),
        SECRET: pool_secrets(pool.name, pool.settings),
        LISTENER: (listener_at(pool.name, pool.settings.listener.address, _downstream(pool)),),
        ROUTE: (Resource.of(ROUTE, pool.name, route_configuration(pool, parting)),),
    }


def _clusters(
    pool: Pool, parting: Parting | None, trust: Trust | None, encoded: bytes | None = None
) -> tuple[Resource, ...]:
    """The pool's own, those of its classes, and for each the one for what is tried again."""
    clusters = {pool.name: cluster(pool, trust=trust) if encoded is None else encoded}
    for name in _names(parting)[1:]:
        of_class = cluster_of(pool.name, name)
        clusters[of_class] = cluster(pool, of_class, trust)
    through: dict[str, bytes] = {}
    for name in clusters:
        if gateways := pool.settings.gateways_of(class_of(name)):
            through |= gateway_clusters(pool, name, gateways)
    clusters |= {retry_cluster_of(name): retry_cluster(pool, name, trust) for name in clusters}
    clusters |= through
    return tuple(Resource.of(CLUSTER, name, each) for name, each in clusters.items())


def _served(
    pool: Pool,
    endpoint_weights: Mapping[str, EndpointWeight],
    listed: Members,
    known: PoolResources | None,
    encoded: bytes,
    parting: Parting,
    changed: Collection[str] | None,
) -> dict[str, _Served]:
    """Who serves each class, by its name."""
    found = {}
    for one in parting.classes:
        in_class, first = weights_in_class(one.endpoint_weights, endpoint_weights)
        before = known._served.get(one.name) if known is not None else None
        if in_class is endpoint_weights:
            in_cluster = listed
        elif known is not None and before is not None:
            of = known.pool, before.endpoint_weights
            in_cluster = members(pool, in_class, before.members, of, changed)
        else:
            in_cluster = members(pool, in_class)
        # One that drains would look like an unhealthy one, and send a part of the class elsewhere.
        first = (
            frozenset(each.id for each in in_cluster if each.id in first and not each.draining)
            or first
        )
        if (
            known is not None
            and before is not None
            and (before.members, before.first) == (in_cluster, first)
            and known.cluster_bytes == encoded
            and _may_sleep(known.pool) == _may_sleep(pool)
        ):
            made = before.assignment
        else:
            name = cluster_of(pool.name, one.name)
            ranks, sleeps = _first(first), _may_sleep(pool)
            made = _endpoints(name, in_cluster, encoded, ranks, may_sleep=sleeps)
        found[one.name] = _Served(in_class, in_cluster, first, made)
    return found


def _first(ids: Container[str]) -> Callable[[Member], int]:
    """The rank of members where some are used first, and the others behind them."""
    return lambda each: 0 if each.id in ids else 1


def _endpoints(
    name: str,
    listed: Members,
    cluster_bytes: bytes,
    rank: Callable[[Member], int] = same_rank,
    shares: Mapping[Place, float] = NO_SHARES,
    *,
    may_sleep: bool,
) -> Resource:
    encoded = assignment(name, listed, rank, shares, may_sleep=may_sleep)
    return Resource.of(ENDPOINT, name, encoded, salt=cluster_bytes)


def _may_sleep(pool: Pool) -> bool:
    return pool.settings.scaling.min_replicas == 0


def _downstream(pool: Pool) -> Downstream:
    """As Envoys have it that say nothing of it."""
    return Downstream(upload=pool.settings.route.timeout, tls=terminated_of(pool))


def terminated_of(pool: Pool) -> Terminated | None:
    """How the listener of a sidecar terminates TLS; None: it does not."""
    tls = pool.settings.listener.tls
    if tls is None:
        return None
    return terminated(pool.name, 1, asks_clients=tls.client_ca is not None)


@lru_cache(maxsize=16_384)
def listener_at(name: str, address: Address, downstream: Downstream) -> Resource:
    """A listener, the same object for all who have it there; see `listener`."""
    encoded = listener(name, address, downstream)
    return Resource.of(LISTENER, name, encoded, claims=str(address))
