"""EDS: a pool's replicas as an Envoy assignment, one locality for each zone and capacity tier.

Envoy's least-request compares live request counts only among hosts of equal weight, so a tier is a
locality in which all weights are equal, and the localities' weights carry the capacities. Policies
without tiers have one locality for each zone.

Weights change every few seconds and endpoints hardly ever, so an assignment is spliced: what an
endpoint is was encoded before, and only what it gets is written anew, of those that get something
else than before.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3

from controlplane.fleet import Pool, Replica
from controlplane.resources.encoding import (
    VARINT,
    delimited,
    implicit,
    tag,
    uint32_value,
    varint,
)
from controlplane.resources.places import Place
from controlplane.resources.portion import Portion
from controlplane.settings import Address

OVERPROVISIONING_PERCENT: Final = 100
"""A locality that lost a tenth of its hosts gets a tenth less traffic. Envoy's 140 would leave the
others with the load of up to 29 % that are gone."""

_POLICY: Final = delimited(
    4,
    bytes(
        endpoint_v3.ClusterLoadAssignmentPolicy(overprovisioning_factor=OVERPROVISIONING_PERCENT)
    ),
)
_DRAINING: Final = varint(tag(2, VARINT)) + varint(core_v3.HealthStatus.DRAINING)


class Member(NamedTuple):
    """All of a replica that Envoy sees.

    Attributes:
        encoded: An ``LbEndpoint`` of it, as the field of a locality.
    """

    id: str
    address: Address
    place: Place
    tier: str
    weight: int
    draining: bool
    encoded: bytes


Members = tuple[Member, ...]
"""Of a pool, by id."""


def members(
    pool: Pool,
    portions: Mapping[str, Portion],
    known: Members = (),
    of: tuple[Pool, Mapping[str, Portion]] | None = None,
    changed: Collection[str] | None = None,
) -> Members:
    """The replicas that have a portion, by id; one without it has not been ready yet.

    Args:
        pool: Its replicas.
        portions: By replica id.
        known: Members that there were before: what is the same is taken from there.
        of: What those were made of.
        changed: Ids of the replicas that came, changed or went since; None: any of them.
    """
    # Where one host is said for all, the cluster says it and no endpoint does.
    is_hosted = pool.settings.health_check.host is not None
    member = _member_of_host if is_hosted else _member
    if of is None or is_hosted != (of[0].settings.health_check.host is not None):
        made = [
            member(replica, portion)
            for replica in pool.replicas.values()
            if (portion := portions.get(replica.id)) is not None
        ]
        return tuple(sorted(made, key=_id))
    replicas, (old, before) = pool.replicas, of
    other = {id_ for id_, portion in portions.items() if before.get(id_) is not portion}
    other |= before.keys() - portions.keys()
    if changed is None:
        changed = replicas.keys() | old.replicas.keys()
    other |= {
        id_ for id_ in changed if _declared(replicas.get(id_)) != _declared(old.replicas.get(id_))
    }
    found = [*known]
    for id_ in other:
        place = bisect_left(found, id_, key=_id)
        replica, portion = replicas.get(id_), portions.get(id_)
        made = [] if replica is None or portion is None else [member(replica, portion)]
        is_known = place < len(found) and found[place].id == id_
        found[place : place + is_known] = made
    return tuple(found)


def _id(member: Member) -> str:
    return member.id


def _declared(replica: Replica | None) -> tuple[object, ...] | None:
    """What a member is made of, beside its portion; a renewed lease is nothing to Envoy."""
    return None if replica is None else (replica.settings, replica.draining)


def _member(replica: Replica, portion: Portion) -> Member:
    return _made(replica, portion, str(replica.settings.address))


def _member_of_host(replica: Replica, portion: Portion) -> Member:
    return _made(replica, portion, None)


def _made(replica: Replica, portion: Portion, checked_as: str | None) -> Member:
    settings = replica.settings
    where, address = settings.locality, settings.address
    draining = portion.draining or replica.draining is not None
    # UNKNOWN is the default status of health, and left out.
    identity = _identity(replica.id, address.host, address.port, checked_as)
    share = (_DRAINING if draining else b"") + uint32_value(4, portion.weight)
    return Member(
        replica.id,
        address,
        _place(where.region or "", where.zone or ""),
        portion.tier,
        portion.weight,
        draining,
        delimited(2, identity + share),
    )


@lru_cache(maxsize=1024)
def _place(region: str, zone: str) -> Place:
    return Place(region, zone)


def alike(_: Member) -> int:
    """The rank of every member where none is used before another."""
    return 0


def assignment(name: str, listed: Iterable[Member], rank: Callable[[Member], int] = alike) -> bytes:
    """Encode a pool's ``ClusterLoadAssignment``.

    Args:
        name: Of the cluster.
        listed: Its members.
        rank: 0 for replicas that are used first, 1 for those that are used as far as the first are
            not healthy, and so on; by default all are used alike.

    Returns:
        The encoded message, the same bytes for the same input in any order; betterproto2 makes
        the same of it.

    Raises:
        ValueError: When a weight, or those of a locality together, are more than Envoy can hold.
    """
    localities: dict[tuple[str, str, str, int], list[Member]] = defaultdict(list)
    for member in listed:
        place = member.place
        localities[place.region, place.zone, member.tier, rank(member)].append(member)
    encoded = [_locality(localities[key], key[3]) for key in sorted(localities)]
    return b"".join([implicit(1, name.encode()), *encoded, _POLICY])


def _locality(members: list[Member], priority: int) -> bytes:
    """A ``LocalityLbEndpoints``, as the field of an assignment."""
    first = members[0]
    names = (
        implicit(1, first.place.region.encode())
        + implicit(2, first.place.zone.encode())
        + implicit(3, first.tier.encode())
    )
    # Drained members count: Envoy itself scales a locality by the part of it that is healthy.
    weight = uint32_value(3, sum([member.weight for member in members]))
    rank = varint(tag(5, VARINT)) + varint(priority) if priority else b""
    endpoints = [member.encoded for member in members]
    return delimited(2, b"".join([delimited(1, names), *endpoints, weight, rank]))


@lru_cache(maxsize=1 << 16)
def _identity(id_: str, host: str, port: int, checked_as: str | None) -> bytes:
    """An ``Endpoint``, as the field of an ``LbEndpoint``.

    Whatever it depends on is an argument, so what is remembered is never stale. Room is for more
    replicas than one control plane has: going round through more than there is room for, each
    would be forgotten just before its turn. Full, it takes some 20 MB.
    """
    socket_address = implicit(2, host.encode()) + varint(tag(3, VARINT)) + varint(port)
    address = delimited(1, socket_address)
    # The header Host of health checks, which is the cluster's name where nobody says it.
    check = b"" if checked_as is None else delimited(2, implicit(2, checked_as.encode()))
    return delimited(1, delimited(1, address) + check + implicit(3, id_.encode()))
