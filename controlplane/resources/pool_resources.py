"""The resources of one pool, encoded once for all clients that see the same."""

from collections.abc import Callable, Collection, Container, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeVar

from controlplane.balancing import NOWHERE, Place
from controlplane.config import Address
from controlplane.fleet import Pool
from controlplane.resources.classes import (
    OTHERS,
    UNPARTED,
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
    Order,
    Spread,
    assignment,
    equal_rank,
    members,
    order,
)
from controlplane.resources.grpc_clients import (
    available,
    grpc_cluster,
    grpc_endpoints,
    grpc_listener,
    sub_zone_of,
)
from controlplane.resources.listeners import Downstream, listener
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource
from controlplane.resources.routes import Routed, route_configuration
from controlplane.resources.tls import Terminated, Trust, pool_secrets, terminated

K = TypeVar("K")
V = TypeVar("V")

NOT_SPREAD: Final = Spread()

MAX_SEEN: Final = 1_024
"""Places, and files with certificates, for which something is kept. Each Envoy names its own, and
those for which it was made may have left."""


@dataclass(frozen=True, slots=True, eq=False)
class _ClassMembers:
    """The replicas of a class; `first` holds the ids of its own, which are used before others."""

    endpoint_weights: Mapping[str, EndpointWeight]
    members: Members
    first: frozenset[str]
    assignment: Resource


@dataclass(frozen=True, slots=True, eq=False)
class PoolResources:
    """One pool, and what it was built from.

    Attributes:
        resources: By type URL, as an Envoy sees them that runs nowhere in particular. There is one
            of the pool's own name for each type but secrets, and it comes first. Each class of
            requests has a further cluster and assignment, and each cluster has a further one for
            what is tried again. Secrets name the files of the pool's edges that speak TLS.
    """

    pool: Pool
    endpoint_weights: Mapping[str, EndpointWeight]
    members: Members
    cluster_bytes: bytes
    parting: Parting
    resources: Mapping[str, tuple[Resource, ...]]
    spread: Spread
    _served: Mapping[str, _ClassMembers] = field(repr=False)
    _secured: dict[Trust, tuple[Resource, ...]] = field(repr=False)
    # Assignments for some clients.
    _made: dict[Hashable, Resource] = field(default_factory=dict, repr=False)

    def get(self, type_url: str, name: str) -> Resource | None:
        """A resource; None when there is none of this type and name."""
        return next((each for each in self.resources.get(type_url, ()) if each.name == name), None)

    def cluster(self, name: str, trust: Trust | None) -> Resource | None:
        """A cluster as Envoys with these certificates, or with none, get it."""
        if trust is None or self.pool.settings.mesh.mode == "off":
            return self.get(CLUSTER, name)
        made = _cached(self._secured, trust, lambda: _clusters(self.pool, self.parting, trust))
        return next((each for each in made if each.name == name), None)

    def empty_assignment(self, name: str) -> Resource:
        """An assignment of this name without replicas."""
        return _endpoints(self.pool, name, (), self.cluster_bytes)

    def endpoints(self, name: str, here: Place) -> Resource | None:
        """The assignment of a cluster for an Envoy that runs here; None: there is no such cluster.

        Those that see the same get the same.
        """
        if (usual := self.get(ENDPOINT, name)) is None or not self.is_near:
            return usual
        return _cached(self._made, (name, here), lambda: self._ordered(name, here, usual))

    @property
    def is_near(self) -> bool:
        """Whether Envoys use the replicas of their own zone first."""
        return self.pool.settings.balancing.locality == "nearest"

    def _serving(self, cluster: str) -> tuple[Members, frozenset[str] | None]:
        """The members of a cluster, and the ids of the first choices; None: all of them are."""
        served = self._served.get(class_of(cluster))
        return (self.members, None) if served is None else (served.members, served.first)

    def _ordered(self, name: str, here: Place, usual: Resource) -> Resource:
        listed, first = self._serving(name)
        rank, (ranks, shares) = self._order(name, here, listed, first)
        if first is None and not any(ranks.values()) and len(shares) < 2:
            return usual
        key = (name, tuple(sorted(ranks.items())), tuple(sorted(shares.items())))
        return _cached(
            self._made,
            key,
            lambda: _endpoints(self.pool, name, listed, self.cluster_bytes, rank, shares),
        )

    def _order(
        self, name: str, here: Place, listed: Collection[Member], first: Container[str] | None
    ) -> tuple[Callable[[Member], int], Order]:
        """How one that runs here orders these members of a cluster, and the rank of each."""
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
        key = ("grpc", name, here if self.is_near else NOWHERE)

        def made() -> Resource:
            encoded = self._grpc_endpoints(name, here)
            return Resource.of(ENDPOINT, name, encoded, salt=self.cluster_bytes)

        return _cached(self._made, key, made)

    def _grpc_endpoints(self, name: str, here: Place) -> bytes:
        listed, first = self._serving(name)
        usable = available(listed)
        rank, shares = _first(first), NO_SHARES
        if self.is_near:
            rank, (_, shares) = self._order(name, here, usable, first)
        policy, may_sleep = self.pool.settings.balancing.policy, _may_sleep(self.pool)
        return grpc_endpoints(name, usable, policy, rank, shares, may_sleep=may_sleep)

    def in_locality(self, cluster: str, place: Place, sub_zone: str) -> list[Address]:
        """The replicas to which a gRPC client sends what it reports of a locality."""
        policy, (listed, first) = self.pool.settings.balancing.policy, self._serving(cluster)
        found = [
            member
            for member in available(listed)
            if member.place == place and sub_zone_of(member, policy) == sub_zone
        ]
        used = [each for each in found if first is None or each.id in first] or found
        return [member.address for member in used]


def _cached(known: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """Return the value that is kept under a key, or make it."""
    if (found := known.get(key)) is None:
        if len(known) >= MAX_SEEN:
            known.clear()
        found = known[key] = make()
    return found


def pool_resources(
    pool: Pool,
    endpoint_weights: Mapping[str, EndpointWeight],
    known: PoolResources | None,
    parting: Parting = UNPARTED,
    changed: Collection[str] | None = None,
    spread: Spread = NOT_SPREAD,
) -> PoolResources:
    """Build a pool's resources, encoding only what has changed; `known` where nothing has.

    Args:
        endpoint_weights: By replica id; Envoy does not learn of replicas without one.
        changed: Ids of the replicas that came, changed or went since; None: any of them.
    """
    is_alike = known is not None and (known.parting, known.spread) == (parting, spread)
    if (
        known is not None
        and is_alike
        and (known.pool, known.endpoint_weights) == (pool, endpoint_weights)
    ):
        return known
    before = (known.pool, known.endpoint_weights, known.members) if known is not None else None
    listed = members(pool, endpoint_weights, before, changed)
    # All but the endpoints is the same.
    similar = (
        known if known and _shape(known.pool, known.parting) == _shape(pool, parting) else None
    )
    if similar is not None and is_alike and similar.members == listed:
        # A heartbeat makes another pool of it, but nothing that Envoy sees.
        return similar
    encoded = cluster(pool) if similar is None else similar.cluster_bytes
    resources = _fixed(pool, encoded, parting) if similar is None else dict(similar.resources)
    served = _served(pool, endpoint_weights, listed, known, encoded, parting, changed)
    resources[ENDPOINT] = (
        tuple(served[name].assignment for name in _names(parting))
        if served
        else (_endpoints(pool, pool.name, listed, encoded),)
    )
    if known is not None:
        resources = {url: _same(known, url, made) for url, made in resources.items()}
    secured = {} if similar is None else similar._secured.copy()
    return PoolResources(
        pool, endpoint_weights, listed, encoded, parting, resources, spread, served, secured
    )


def _same(known: PoolResources, url: str, made: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """The resources that there were, where they say the same: who looks for changes sees none."""
    before = {each.name: each for each in known.resources[url]}
    return tuple(
        old if (old := before.get(each.name)) is not None and old == each else each for each in made
    )


def _names(parting: Parting) -> tuple[str, ...]:
    """The classes that have a cluster, the pool's own first."""
    return (OTHERS, *(each.name for each in parting.named))


def _shape(pool: Pool, parting: Parting) -> tuple[object, ...]:
    """All that a pool's clusters, listener and route depend on."""
    return (pool.settings, is_scanned(pool), _names(parting), parting.routes)


def _fixed(pool: Pool, encoded: bytes, parting: Parting) -> dict[str, tuple[Resource, ...]]:
    """The resources that do not change with weights."""
    # As for Envoys that ask for nothing special.
    downstream = Downstream(upload=pool.settings.route.timeout, tls=terminated_of(pool))
    return {
        CLUSTER: _clusters(pool, parting, None, encoded),
        SECRET: pool_secrets(pool.name, pool.settings),
        LISTENER: (listener_at(pool.name, pool.settings.listener.address, downstream),),
        ROUTE: (Resource.of(ROUTE, pool.name, route_configuration(pool, parting)),),
    }


def _clusters(
    pool: Pool, parting: Parting, trust: Trust | None, encoded: bytes | None = None
) -> tuple[Resource, ...]:
    """The pool's own, those of its classes, and for each the one for what is tried again."""
    names = [cluster_of(pool.name, name) for name in _names(parting)]
    clusters = {name: cluster(pool, name, trust) for name in names[encoded is not None :]}
    if encoded is not None:
        clusters = {pool.name: encoded, **clusters}
    clusters |= {retry_cluster_of(name): retry_cluster(pool, name, trust) for name in names}
    for name in names:
        if gateways := pool.settings.gateways_of(class_of(name)):
            clusters |= gateway_clusters(pool, name, gateways)
    return tuple(Resource.of(CLUSTER, name, each) for name, each in clusters.items())


def _served(
    pool: Pool,
    endpoint_weights: Mapping[str, EndpointWeight],
    listed: Members,
    known: PoolResources | None,
    encoded: bytes,
    parting: Parting,
    changed: Collection[str] | None,
) -> dict[str, _ClassMembers]:
    """The replicas of each class, by its name."""
    found = {}
    for one in parting.classes:
        in_class, first = weights_in_class(one.endpoint_weights, endpoint_weights)
        known_class = known._served.get(one.name) if known is not None else None
        in_cluster = listed
        if in_class is not endpoint_weights:
            before = (
                (known.pool, known_class.endpoint_weights, known_class.members)
                if known is not None and known_class is not None
                else None
            )
            in_cluster = members(pool, in_class, before, changed)
        # One that drains would look like an unhealthy one, and send a part of the class elsewhere.
        first = (
            frozenset(each.id for each in in_cluster if each.id in first and not each.draining)
            or first
        )
        if (
            known is not None
            and known_class is not None
            and (known_class.members, known_class.first) == (in_cluster, first)
            and known.cluster_bytes == encoded
            and _may_sleep(known.pool) == _may_sleep(pool)
        ):
            made = known_class.assignment
        else:
            name = cluster_of(pool.name, one.name)
            made = _endpoints(pool, name, in_cluster, encoded, _first(first))
        found[one.name] = _ClassMembers(in_class, in_cluster, first, made)
    return found


def _first(ids: Container[str] | None) -> Callable[[Member], int]:
    """The rank of members where some are used first, and the others behind them; None: all are."""
    return equal_rank if ids is None else lambda each: 0 if each.id in ids else 1


def _endpoints(
    pool: Pool,
    name: str,
    listed: Members,
    cluster_bytes: bytes,
    rank: Callable[[Member], int] = equal_rank,
    shares: Mapping[Place, float] = NO_SHARES,
) -> Resource:
    encoded = assignment(name, listed, rank, shares, may_sleep=_may_sleep(pool))
    return Resource.of(ENDPOINT, name, encoded, salt=cluster_bytes)


def _may_sleep(pool: Pool) -> bool:
    return pool.settings.scaling.min_replicas == 0


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
