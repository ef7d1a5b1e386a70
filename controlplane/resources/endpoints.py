"""EDS: a pool's replicas as an Envoy assignment, one locality for each zone and capacity tier.

Envoy's least-request compares live request counts only among hosts of equal weight, so a tier is a
locality in which all weights are equal, and the localities' weights carry the capacities. Policies
without tiers have one locality for each zone.

Weights change every few seconds and endpoints hardly ever, so what an endpoint is was encoded
before, and only those whose weight changes are encoded anew.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

import envoy_data_plane.envoy.config.core.v3 as core_v3

from controlplane.balancing import Place, Shares
from controlplane.config import Address, ReplicaSettings
from controlplane.fleet import Pool, Replica
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.tls import mesh_metadata

_OTHERS: Final = 3
"""Number of ranks of the class's own replicas."""
_LAST: Final = 10
"""The rank of replicas that serve nobody: Envoy would take those among others for ill ones, and
send a part of the requests to the next priority."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The zones to which the Envoys of each zone send a pool's requests.

    Attributes:
        by_class: By the class's name; zones and classes that are left out go by distance alone.
        gone: Ids of replicas at which nobody listens.
    """

    by_class: Mapping[str, Shares] = field(default_factory=dict)
    gone: Collection[str] = frozenset()


class Order(NamedTuple):
    """The order in which an Envoy uses replicas.

    Attributes:
        ranks: 0 for the hosts that are used first, and so on without a gap, as Envoy counts
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


@dataclass(frozen=True, slots=True)
class EndpointWeight:
    """One replica as Envoy is to see it.

    Attributes:
        tier: The group of replicas of like capacity that it is balanced in; empty where the policy
            has no tiers.
        weight: Its share relative to the pool's other replicas, at least 1; the same for every
            replica of a tier, and for all where the policy has no weights.
        healthy: Whether the control plane takes it to be well. Envoys see that for themselves, and
            gRPC clients do not.
    """

    tier: str
    weight: int
    draining: bool = False
    healthy: bool = True


@lru_cache(maxsize=4096)
def weight_of(tier: str, weight: int, draining: bool, healthy: bool = True) -> EndpointWeight:  # noqa: FBT001, FBT002 - keywords are slower
    """An endpoint weight; equal ones are the same object, so that they are compared by identity."""
    return EndpointWeight(tier, weight, draining, healthy)


OVERPROVISIONING_PERCENT: Final = 100
"""A locality that lost a tenth of its hosts gets a tenth less traffic. Envoy's 140 would leave the
others with the load of up to 29 % that are gone."""

_POLICY: Final = pb.ClusterLoadAssignment.Policy(
    overprovisioning_factor=pb.UInt32Value(value=OVERPROVISIONING_PERCENT)
)
ASLEEP: Final = "asleep"
"""The category of requests that clients answer by themselves and count in their load reports,
because their pool has no replica and is to be woken by them."""
_ASLEEP: Final = pb.ClusterLoadAssignment.Policy(
    overprovisioning_factor=pb.UInt32Value(value=OVERPROVISIONING_PERCENT),
    drop_overloads=[
        pb.ClusterLoadAssignment.Policy.DropOverload(
            category=ASLEEP, drop_percentage=pb.FractionalPercent(numerator=100)
        )
    ],
)
NO_SHARES: Final[Mapping[Place, float]] = MappingProxyType({})
_MAX_UINT32: Final = (1 << 32) - 1


class Member(NamedTuple):
    """All of a replica that Envoys and gRPC clients see.

    Attributes:
        labels: Envoys are not told of them; Istio is.
    """

    id: str
    address: Address
    place: Place
    tier: str
    weight: int
    draining: bool
    healthy: bool
    encoded: bytes
    labels: Mapping[str, str]


Members = tuple[Member, ...]
"""Replicas of a pool, by id."""


def members(
    pool: Pool,
    endpoint_weights: Mapping[str, EndpointWeight],
    before: tuple[Pool, Mapping[str, EndpointWeight], Members] | None = None,
    changed: Collection[str] | None = None,
) -> Members:
    """The replicas that have a weight, by id; one without has not been ready yet.

    Args:
        before: An earlier result, after its arguments. Equal members are reused.
        changed: Ids of the replicas that came, changed or went since; None: any of them.
    """
    # A host name for all replicas is in the cluster, and in no endpoint.
    is_hosted = pool.settings.health_check.host is not None
    if before is None or is_hosted != (before[0].settings.health_check.host is not None):
        made = [
            _member(replica, endpoint_weight, is_hosted=is_hosted)
            for replica in pool.replicas.values()
            if (endpoint_weight := endpoint_weights.get(replica.id)) is not None
        ]
        return tuple(sorted(made, key=_id))
    replicas, (old, old_weights, known) = pool.replicas, before
    other = {id_ for id_, weight in endpoint_weights.items() if old_weights.get(id_) is not weight}
    other |= old_weights.keys() - endpoint_weights.keys()
    if changed is None:
        changed = replicas.keys() | old.replicas.keys()
    other |= {
        id_ for id_ in changed if _declared(replicas.get(id_)) != _declared(old.replicas.get(id_))
    }
    found = [*known]
    for id_ in other:
        place = bisect_left(found, id_, key=_id)
        replica, endpoint_weight = replicas.get(id_), endpoint_weights.get(id_)
        made = (
            []
            if replica is None or endpoint_weight is None
            else [_member(replica, endpoint_weight, is_hosted=is_hosted)]
        )
        is_known = place < len(found) and found[place].id == id_
        found[place : place + is_known] = made
    return tuple(found)


def _id(member: Member) -> str:
    return member.id


def _declared(replica: Replica | None) -> tuple[object, ...] | None:
    """What a member is made of, beside its weight; a renewed lease is nothing to Envoy."""
    return None if replica is None else (replica.settings, replica.draining)


def _member(replica: Replica, endpoint_weight: EndpointWeight, *, is_hosted: bool) -> Member:
    settings = replica.settings
    address = settings.served_at
    draining = endpoint_weight.draining or replica.draining is not None
    # Encoded messages that follow each other are merged.
    checked_as = None if is_hosted else str(settings.address)
    identity = _identity(replica.id, address, checked_as, settings.ingress is not None)
    share = _share(endpoint_weight.weight, draining)
    return Member(
        replica.id,
        address,
        place_of(settings),
        endpoint_weight.tier,
        endpoint_weight.weight,
        draining,
        endpoint_weight.healthy,
        identity + share,
        settings.labels,
    )


def equal_rank(_: Member) -> int:
    """The rank of every member where none is used before another."""
    return 0


def assignment(
    name: str,
    listed: Iterable[Member],
    rank: Callable[[Member], int] = equal_rank,
    shares: Mapping[Place, float] = NO_SHARES,
    *,
    may_sleep: bool = False,
) -> bytes:
    """Encode a pool's ``ClusterLoadAssignment``: the same bytes for the same input in any order.

    Args:
        rank: 0 for replicas that are used first, 1 for those that are used as far as the first are
            not healthy, and so on; by default all are used first.
        shares: The part of the requests for each place of those that are used first; by default
            their weights say it.
        may_sleep: Whether the pool may be without replicas until a request comes. Its clients then
            count requests that find none.

    Raises:
        ValueError: When a weight, or those of a locality together, are more than Envoy can hold.
    """
    localities: dict[tuple[str, str, str, int], list[Member]] = defaultdict(list)
    for member in listed:
        place = member.place
        localities[place.region, place.zone, member.tier, rank(member)].append(member)
    # Drained members count: Envoy itself scales a locality by the part of it that is healthy.
    weights = {key: sum([each.weight for each in found]) for key, found in localities.items()}
    if len(shares) > 1:
        first = {key: weight for key, weight in weights.items() if not key[3]}
        total, parts = sum(first.values()), math.fsum(shares.values())
        of_place = defaultdict[Place, int](int)
        for (region, zone, *_), weight in first.items():
            of_place[Place(region, zone)] += weight
        for key, weight in first.items():
            place = Place(*key[:2])
            part = shares[place] / parts * weight / max(of_place[place], 1)
            weights[key] = max(round(total * part), 1)
    return pb.ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[_locality(localities[key], key[3], weights[key]) for key in sorted(localities)],
        policy=_ASLEEP if may_sleep and not localities else _POLICY,
    ).SerializeToString()


def _locality(members: list[Member], priority: int, weight: int) -> pb.LocalityLbEndpoints:
    first = members[0]
    return pb.LocalityLbEndpoints(
        locality=pb.Locality(region=first.place.region, zone=first.place.zone, sub_zone=first.tier),
        lb_endpoints=[member.encoded for member in members],
        load_balancing_weight=pb.UInt32Value(value=_checked(weight)),
        priority=priority,
    )


def endpoint(address: Address, checked_as: str | None, id_: str = "") -> pb.Endpoint:
    """Build an ``Endpoint``; health checks name it `checked_as`, else by its cluster."""
    found = pb.Endpoint(hostname=id_)
    at = found.address.socket_address
    at.address, at.port_value = address.host, address.port
    if checked_as is not None:
        found.health_check_config.hostname = checked_as
    return found


@lru_cache(maxsize=1 << 16)
def _identity(id_: str, address: Address, checked_as: str | None, has_ingress: bool) -> bytes:  # noqa: FBT001 - a cache key
    """Encode the part of an ``LbEndpoint`` that identifies the replica.

    Whatever it depends on is an argument, so what is remembered is never stale. Room is for more
    replicas than one control plane has: going round through more than there is room for, each
    would be forgotten just before its turn. Full, it takes some 20 MB.
    """
    found = endpoint(address, checked_as, id_)
    encoded = pb.LbEndpoint(endpoint=found.SerializeToString()).SerializeToString()
    # Encoded messages that follow each other are merged.
    return encoded + mesh_metadata() if has_ingress else encoded


@lru_cache(maxsize=1 << 12)
def _share(weight: int, draining: bool) -> bytes:  # noqa: FBT001 - a cache key
    """Encode the weight and health of an ``LbEndpoint``, the same for all of a tier."""
    status = core_v3.HealthStatus.DRAINING if draining else core_v3.HealthStatus.UNKNOWN
    return pb.LbEndpoint(
        health_status=status, load_balancing_weight=pb.UInt32Value(value=_checked(weight))
    ).SerializeToString()


def _checked(weight: int) -> int:
    if not 0 <= weight <= _MAX_UINT32:
        raise ValueError(f"{weight} does not fit into 32 bits: it must be 0 to {_MAX_UINT32}")
    return weight
