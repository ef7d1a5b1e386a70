"""EDS: a pool's replicas as an Envoy assignment, one locality for each zone and capacity tier.

Envoy's least-request compares live request counts only among hosts of equal weight, so a tier is a
locality in which all weights are equal, and the localities' weights carry the capacities.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3

from controlplane.fleet import Pool, Replica
from controlplane.resources.addresses import socket_address
from controlplane.resources.portion import Portion

OVERPROVISIONING_PERCENT: Final = 100
"""A locality that lost a tenth of its hosts gets a tenth less traffic. Envoy's 140 would leave the
others with the load of up to 29 % that are gone."""


def assignment(pool: Pool, portions: Mapping[str, Portion]) -> bytes:
    """Encode a pool's ``ClusterLoadAssignment``.

    Args:
        pool: The pool; its name is the cluster's.
        portions: By replica id. A replica without one is left out: it has not been ready yet.

    Returns:
        The encoded message, the same bytes for the same input in any order.
    """
    localities: dict[tuple[str, str, str], list[tuple[Replica, Portion]]] = defaultdict(list)
    for replica in sorted(pool.replicas.values(), key=lambda it: it.id):
        if (portion := portions.get(replica.id)) is not None:
            where = replica.settings.locality
            key = (where.region or "", where.zone or "", portion.tier)
            localities[key].append((replica, portion))
    return bytes(
        endpoint_v3.ClusterLoadAssignment(
            cluster_name=pool.name,
            endpoints=[_locality(key, localities[key]) for key in sorted(localities)],
            policy=endpoint_v3.ClusterLoadAssignmentPolicy(
                overprovisioning_factor=OVERPROVISIONING_PERCENT
            ),
        )
    )


def _locality(
    key: tuple[str, str, str], members: list[tuple[Replica, Portion]]
) -> endpoint_v3.LocalityLbEndpoints:
    region, zone, tier = key
    return endpoint_v3.LocalityLbEndpoints(
        locality=core_v3.Locality(region=region, zone=zone, sub_zone=tier),
        # Drained members count: Envoy itself scales a locality by the part of it that is healthy.
        load_balancing_weight=sum(portion.weight for _, portion in members),
        lb_endpoints=[_endpoint(replica, portion) for replica, portion in members],
    )


def _endpoint(replica: Replica, portion: Portion) -> endpoint_v3.LbEndpoint:
    draining = portion.draining or replica.draining is not None
    return endpoint_v3.LbEndpoint(
        endpoint=endpoint_v3.Endpoint(
            address=socket_address(replica.settings.address), hostname=replica.id
        ),
        health_status=core_v3.HealthStatus.DRAINING if draining else core_v3.HealthStatus.UNKNOWN,
        load_balancing_weight=portion.weight,
    )
