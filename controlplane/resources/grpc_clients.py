"""What a gRPC client without a proxy holds: ``xds:///NAME`` is the pool of that name.

gRPC takes a part of what Envoy takes and rejects some of the rest, so its listeners, clusters and
assignments are its own (gRFC A27, A28, A48, A50, A52). It checks no replica's health and scales no
locality by the part of it that is healthy, so an assignment has only the replicas that the control
plane takes to be well.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Final

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.filters.http.router.v3 as router_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 as least_request_v3  # noqa: E501 - a module's name has no shorter form
import envoy_data_plane.envoy.extensions.load_balancing_policies.wrr_locality.v3 as wrr_locality_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.balancing import Place
from controlplane.config import COMPARING, Policy
from controlplane.config.balancing import HASHING
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.classes import cluster_of
from controlplane.resources.clusters import (
    CHOICES,
    UNLIMITED,
    client_side,
    ejection,
    ring_hash,
    taking_turns,
)
from controlplane.resources.endpoints import Member, assignment
from controlplane.resources.messages import http_filter, lb_policy, over_ads
from controlplane.resources.resource import CLUSTER, LISTENER, Resource
from controlplane.resources.routes import Routed, hash_policy, header_matchers, path_match

FAILING_PERCENT: Final = 85
"""Percentage of a replica's calls in a second that must fail before a client leaves it out. To gRPC
every status but OK is a failure, also of a call that is wrong in itself."""

_WELL: Final = pb.LbEndpoint(health_status=core_v3.HealthStatus.HEALTHY).SerializeToString()


@lru_cache(maxsize=16_384)
def grpc_listener(to: Routed) -> Resource:
    """The ``Listener`` of a pool; it has the routes in it."""
    routes = [
        _route(to, cluster_of(to.cluster, name), match.prefix or to.settings.prefix, headers)
        for name, match in to.classes
        # A call does not say how long it is.
        if match.lengths is None
        for headers in (header_matchers(match),)
    ]
    host = route_v3.VirtualHost(
        name=to.cluster,
        domains=["*"],
        routes=[*routes, _route(to, to.cluster, to.settings.prefix, [])],
    )
    manager = hcm_v3.HttpConnectionManager(
        stat_prefix=to.cluster,
        route_config=route_v3.RouteConfiguration(name=to.cluster, virtual_hosts=[host]),
        http_filters=[http_filter("router", router_v3.Router())],
    )
    message = listener_v3.Listener(
        name=to.cluster,
        api_listener=listener_v3.ApiListener(api_listener=protobuf.Any.pack(manager)),
    )
    return Resource.of(LISTENER, to.cluster, bytes(message))


def _route(
    to: Routed, cluster: str, prefix: str, headers: list[route_v3.HeaderMatcher]
) -> route_v3.Route:
    hashed = to.hashed
    return route_v3.Route(
        match=path_match(prefix, headers),
        route=route_v3.RouteAction(
            cluster=cluster,
            # gRPC's name for the time in which a call must be over.
            max_stream_duration=route_v3.RouteActionMaxStreamDuration(
                max_stream_duration=timedelta(seconds=to.settings.timeout)
            ),
            # A replica that refuses because it has too much would only get more of it.
            retry_policy=route_v3.RetryPolicy(retry_on="unavailable", num_retries=1),
            hash_policy=hash_policy(hashed) if hashed is not None and hashed.header else [],
        ),
    )


@lru_cache(maxsize=16_384)
def grpc_cluster(name: str, policy: Policy, *, ejects: bool = True) -> Resource:
    """The ``Cluster`` of a pool or class; `ejects`: clients leave out replicas that fail."""
    message = cluster_v3.Cluster(
        name=name,
        type=cluster_v3.ClusterDiscoveryType.EDS,
        eds_cluster_config=cluster_v3.ClusterEdsClusterConfig(eds_config=over_ads()),
        load_balancing_policy=_policies(policy),
        # Load reports come over the stream's own server.
        lrs_server=core_v3.ConfigSource(self=core_v3.SelfConfigSource()),
        # Without it gRPC fails what is over 1,024 at a time.
        circuit_breakers=cluster_v3.CircuitBreakers(
            thresholds=[cluster_v3.CircuitBreakersThresholds(max_requests=UNLIMITED)]
        ),
        # gRPC would also leave out the only replica.
        outlier_detection=ejection(
            failure_percentage_threshold=FAILING_PERCENT, failure_percentage_minimum_hosts=2
        )
        if ejects
        else None,
    )
    return Resource.of(CLUSTER, name, bytes(message))


def _policies(policy: Policy) -> cluster_v3.LoadBalancingPolicy:
    """What gRPC is to balance by: it takes the first that it knows, at each level."""
    turns = taking_turns().policies
    if policy in COMPARING:
        # Go and Java have it; C++, Python and Node.js do not.
        least = least_request_v3.LeastRequest(choice_count=CHOICES)
        inner = [lb_policy("least_request", least), *turns]
    elif policy == "client-side-weighted-round-robin":
        inner = [lb_policy("client_side_weighted_round_robin", client_side()), *turns]
    else:
        inner = turns
    by_locality = wrr_locality_v3.WrrLocality(
        endpoint_picking_policy=cluster_v3.LoadBalancingPolicy(policies=inner)
    )
    # It has no maglev.
    first = [lb_policy("ring_hash", ring_hash())] if policy in HASHING else []
    return cluster_v3.LoadBalancingPolicy(policies=[*first, lb_policy("wrr_locality", by_locality)])


def grpc_endpoints(
    name: str,
    listed: Iterable[Member],
    policy: Policy,
    rank: Callable[[Member], int],
    shares: Mapping[Place, float],
    *,
    may_sleep: bool,
) -> bytes:
    """Encode the ``ClusterLoadAssignment`` of `available` members; see `assignment`."""
    found = [_as_grpc(member, policy) for member in listed]
    # gRPC rejects a gap between priorities, and a priority without a locality.
    dense = {each: i for i, each in enumerate(sorted({rank(member) for member in found}))}
    return assignment(name, found, lambda each: dense[rank(each)], shares, may_sleep=may_sleep)


def available(listed: Iterable[Member]) -> list[Member]:
    """The members that calls may go to.

    Where none is well it is more likely the control plane that sees wrongly: then all of them are,
    as with Envoy's panic mode. Those that drain come last.
    """
    known = [*listed]
    serving = [member for member in known if not member.draining]
    return [member for member in serving if member.healthy] or serving or known


def sub_zone_of(member: Member, policy: Policy) -> str:
    """The part of its zone that a member is in, to gRPC.

    gRPC knows weights of localities and none of endpoints: where the policy weighs each replica by
    itself, each is a locality.
    """
    return member.id if policy == "weighted-least-request" else member.tier


def _as_grpc(member: Member, policy: Policy) -> Member:
    # Encoded messages that follow each other are merged.
    encoded = member.encoded + _WELL if member.draining else member.encoded
    return member._replace(tier=sub_zone_of(member, policy), encoded=encoded)
