"""EDS: a pool's replicas as an Envoy assignment, one locality for each zone and capacity tier.

Envoy's least-request compares live request counts only among hosts of equal weight, so a tier is a
locality in which all weights are equal, and the localities' weights carry the capacities.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3

from controlplane.fleet import Pool
from controlplane.resources.addresses import socket_address
from controlplane.resources.portion import Portion
from controlplane.settings import Address

OVERPROVISIONING_PERCENT: Final = 100
"""A locality that lost a tenth of its hosts gets a tenth less traffic. Envoy's 140 would leave the
others with the load of up to 29 % that are gone."""


@dataclass(frozen=True, slots=True)
class Member:
    """All of a replica that Envoy sees."""

    id: str
    address: Address
    region: str
    zone: str
    tier: str
    weight: int
    draining: bool


def members(pool: Pool, portions: Mapping[str, Portion]) -> tuple[Member, ...]:
    """The replicas that have a portion, by id; one without it has not been ready yet."""
    return tuple(
        Member(
            id=replica.id,
            address=replica.settings.address,
            region=replica.settings.locality.region or "",
            zone=replica.settings.locality.zone or "",
            tier=portion.tier,
            weight=portion.weight,
            draining=portion.draining or replica.draining is not None,
        )
        for replica in sorted(pool.replicas.values(), key=lambda it: it.id)
        if (portion := portions.get(replica.id)) is not None
    )


def assignment(pool: Pool, portions: Mapping[str, Portion]) -> bytes:
    """Encode a pool's ``ClusterLoadAssignment``.

    Args:
        pool: The pool; its name is the cluster's.
        portions: By replica id. A replica without one is left out.

    Returns:
        The encoded message, the same bytes for the same input in any order.
    """
    localities: dict[tuple[str, str, str], list[Member]] = defaultdict(list)
    for member in members(pool, portions):
        localities[member.region, member.zone, member.tier].append(member)
    return bytes(
        endpoint_v3.ClusterLoadAssignment(
            cluster_name=pool.name,
            endpoints=[_locality(localities[key]) for key in sorted(localities)],
            policy=endpoint_v3.ClusterLoadAssignmentPolicy(
                overprovisioning_factor=OVERPROVISIONING_PERCENT
            ),
        )
    )


def _locality(members: list[Member]) -> endpoint_v3.LocalityLbEndpoints:
    first = members[0]
    return endpoint_v3.LocalityLbEndpoints(
        locality=core_v3.Locality(region=first.region, zone=first.zone, sub_zone=first.tier),
        # Drained members count: Envoy itself scales a locality by the part of it that is healthy.
        load_balancing_weight=sum(member.weight for member in members),
        lb_endpoints=[_endpoint(member) for member in members],
    )


def _endpoint(member: Member) -> endpoint_v3.LbEndpoint:
    status = core_v3.HealthStatus
    return endpoint_v3.LbEndpoint(
        endpoint=endpoint_v3.Endpoint(address=socket_address(member.address), hostname=member.id),
        health_status=status.DRAINING if member.draining else status.UNKNOWN,
        load_balancing_weight=member.weight,
    )
