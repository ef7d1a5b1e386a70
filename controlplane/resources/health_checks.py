"""HDS: which replicas an Envoy is asked to check, so that the control plane learns what it sees.

An Envoy does not report the health of the hosts in its clusters. Asked over its health discovery
service it makes the same checks from the same place once more, at a fraction of their rate.
"""

from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby
from typing import Final, NamedTuple

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.service.health.v3 as health_v3

from controlplane.fleet import Pool, Replica
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.clusters import health_check
from controlplane.resources.endpoints import endpoint
from controlplane.resources.tls import upstream_socket

PREFIX: Final = "_health/"
"""Before a pool's name: statistics of these checks are not to be taken for those of its cluster."""

RARER: Final = 5.0
"""How many times as long as between two checks of the pool it is between two of these."""
LEAST, MOST = 1.0, 10.0
"""Seconds between two of them."""
DISPUTED_CHECKS: Final = 4.0
"""Checks in a row that must agree before the control plane reports a dispute."""

_AT_ONCE: Final = {"unhealthy_threshold": 1, "healthy_threshold": 1}
"""Made so rarely, a number of checks in a row would hold an opinion that the cluster's own checks
gave up long ago. A dispute waits `DISPUTED_CHECKS` anyway."""


class HealthTarget(NamedTuple):
    """A replica that an Envoy is asked to check, and its pool."""

    pool: Pool
    replica: Replica


def check_interval(pool: Pool) -> float:
    """Seconds between two of these checks of a replica."""
    return min(max(RARER * pool.settings.health_check.interval, LEAST), MOST)


def health_check_specifier(checked: Iterable[HealthTarget]) -> bytes:
    """Encode the ``HealthCheckSpecifier`` that asks for checks of these, grouped by pool."""
    clusters, intervals = [], [MOST]
    for name, found in groupby(checked, key=lambda each: each.pool.name):
        several = [*found]
        settings, interval = several[0].pool.settings, check_interval(several[0].pool)
        check = settings.health_check.model_copy(update=_AT_ONCE)
        intervals.append(interval)
        message = health_check(settings.model_copy(update={"health_check": check}), interval)
        asked = pb.ClusterHealthCheck(
            cluster_name=f"{PREFIX}{name}",
            health_checks=[bytes(message)],
            locality_endpoints=[
                pb.ClusterHealthCheck.LocalityEndpoints(
                    endpoints=[
                        endpoint(
                            each.replica.address,
                            check.host_of(each.replica.address),
                            each.replica.id,
                        )
                        for each in several
                    ]
                )
            ],
        )
        upstream = settings.upstream
        if upstream.tls is not None:
            socket = upstream_socket(name, upstream.protocol, upstream.tls)
            # It has no socket that holds for all of its endpoints but one that matches all.
            matches = [cluster_v3.ClusterTransportSocketMatch(name="tls", transport_socket=socket)]
            secured = health_v3.ClusterHealthCheck(transport_socket_matches=matches)
            # What our own message does not know, it keeps.
            asked.MergeFromString(bytes(secured))
        clusters.append(asked)
    specifier = pb.HealthCheckSpecifier(cluster_health_checks=clusters)
    specifier.interval.FromTimedelta(timedelta(seconds=min(intervals)))
    return specifier.SerializeToString()
