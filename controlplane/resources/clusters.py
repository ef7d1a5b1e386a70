"""CDS: a pool as an Envoy cluster: how it chooses a host, checks it, ejects it, and retries."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import betterproto2
import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.common.matcher.v3 as common_matcher_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.clusters.aggregate.v3 as aggregate_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 as client_side_v3  # noqa: E501 - a module's name has no shorter form
import envoy_data_plane.envoy.extensions.load_balancing_policies.common.v3 as lb_common_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 as least_request_v3  # noqa: E501 - as above
import envoy_data_plane.envoy.extensions.load_balancing_policies.maglev.v3 as maglev_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.ring_hash.v3 as ring_hash_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.round_robin.v3 as round_robin_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.wrr_locality.v3 as wrr_locality_v3
import envoy_data_plane.envoy.extensions.upstreams.http.v3 as http_v3
import envoy_data_plane.envoy.type.matcher.v3 as matcher_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.config import COMPARING, Address, Policy, PoolSettings
from controlplane.config.health_check import HealthCheckSettings
from controlplane.fleet import Pool
from controlplane.resources.classes import (
    AT_GATEWAY,
    gateways_cluster_of,
    retry_cluster_of,
    via_cluster_of,
)
from controlplane.resources.messages import (
    HTTP_OPTIONS,
    explicit_http,
    lb_policy,
    over_ads,
    set_header,
    socket_address,
)
from controlplane.resources.retries import GRPC_AS_HTTP
from controlplane.resources.tls import RENEWED, Trust, secure, upstream_socket

FULL_SCAN_HOSTS: Final = 64
"""Up to so many replicas Envoy looks at each of them for every request; above, at a few."""

CHOICES: Final = 4
"""How many hosts Envoy compares in a larger pool."""

BIAS: Final = 2.0
"""With unequal weights Envoy follows a schedule, in which a host comes later the more requests it
had in flight when it was last picked: its weight is divided by this power of them."""

BIAS_KEY: Final = "plimsoll.active_request_bias"
"""Where an Envoy's own runtime settings could change it; the message must name a key."""


def is_scanned(pool: Pool) -> bool:
    """Whether Envoy looks at every replica for every request, where the policy compares them."""
    return len(pool.replicas) <= FULL_SCAN_HOSTS


def load_balancing_policy(pool: Pool) -> cluster_v3.LoadBalancingPolicy:
    """The message; of the replicas it depends on nothing but `is_scanned`."""
    balancing = pool.settings.balancing
    policy, is_near = balancing.policy, balancing.locality == "nearest"
    extension = "least_request" if policy in COMPARING else policy.replace("-", "_")
    is_weighted = is_near or policy == "capacity-tiers"
    config = _config(policy, full_scan=is_scanned(pool), weighs_localities=is_weighted)
    found = _only(extension, config)
    if is_near and policy == "client-side-weighted-round-robin":
        # It knows no localities of its own.
        return _only("wrr_locality", wrr_locality_v3.WrrLocality(endpoint_picking_policy=found))
    return found


def taking_turns() -> cluster_v3.LoadBalancingPolicy:
    """The policy by which replicas take turns, each as often as its weight says."""
    return _only("round_robin", round_robin_v3.RoundRobin())


def client_side() -> client_side_v3.ClientSideWeightedRoundRobin:
    """The policy by which replicas say themselves how busy they are."""
    # Documented as Envoy's default, but its code takes 0: errors would look fast.
    return client_side_v3.ClientSideWeightedRoundRobin(error_utilization_penalty=1.0)


def ring_hash(
    weighted: lb_common_v3.LocalityLbConfigLocalityWeightedLbConfig | None = None,
) -> ring_hash_v3.RingHash:
    """The policy by which what has the same hash goes to the same replica.

    `weighted` has localities get as much as their weights say; gRPC always does.
    """
    return ring_hash_v3.RingHash(
        # What Envoy does by default, and the only one that gRPC takes.
        hash_function=ring_hash_v3.RingHashHashFunction.XX_HASH,
        locality_weighted_lb_config=weighted,
    )


def _only(extension: str, config: betterproto2.Message) -> cluster_v3.LoadBalancingPolicy:
    return cluster_v3.LoadBalancingPolicy(policies=[lb_policy(extension, config)])


def _config(policy: Policy, *, full_scan: bool, weighs_localities: bool) -> betterproto2.Message:
    by_locality, by_hash = None, None
    if weighs_localities:
        by_hash = lb_common_v3.LocalityLbConfigLocalityWeightedLbConfig()
        by_locality = lb_common_v3.LocalityLbConfig(locality_weighted_lb_config=by_hash)
    match policy:
        case "round-robin":
            return round_robin_v3.RoundRobin(locality_lb_config=by_locality)
        case "client-side-weighted-round-robin":
            return client_side()
        case "ring-hash":
            return ring_hash(by_hash)
        case "maglev":
            return maglev_v3.Maglev(locality_weighted_lb_config=by_hash)
    method = least_request_v3.LeastRequestSelectionMethod
    config = least_request_v3.LeastRequest(
        choice_count=None if full_scan else CHOICES,
        selection_method=method.FULL_SCAN if full_scan else method.N_CHOICES,
        locality_lb_config=by_locality,
    )
    if policy == "weighted-least-request":
        config.active_request_bias = core_v3.RuntimeDouble(default_value=BIAS, runtime_key=BIAS_KEY)
    return config


UNLIMITED: Final = 1 << 20
"""For circuit breakers that are not ours to trip: a sidecar's default of 1,024 requests is less
than what a fleet can have in flight, and its overflow would look like an outage."""

PANIC: Final = 1.0
"""Percentage of healthy replicas below which Envoy sends to the others, too. It is the least, as
Envoy cuts off fractions, and never panics at 0: of up to 100 replicas dead ones get nothing while
one is healthy. Where fewer than 1 % of a larger pool are left, it is more likely the checks that
are wrong."""

RETRY_CHECKS: Final = 5
"""Factor by which health checks of a cluster for retries are rarer than others."""

IDLE_UPSTREAM: Final = timedelta(seconds=1.5)
"""Time for which a connection to a replica stays open without a request. A server that closes it
first may do so while a request is on its way: gunicorn does after 2 s, uvicorn and Node.js after 5
s."""

SILENT: Final = 4.0
"""Seconds after which a machine that answers nothing is gone, as keep-alive has it."""

IS_LINUX: Final = sys.platform == "linux"
"""Other systems refuse TCP_USER_TIMEOUT, and Envoy then every connection. Where we run on one, as
in a demo, so do its Envoys."""


def cluster(pool: Pool, name: str | None = None, trust: Trust | None = None) -> bytes:
    """Encode a pool's ``Cluster``, or another one of the same replicas with a name of its own.

    Of the replicas it depends on nothing but `is_scanned`: a changed cluster is warmed
    anew by every Envoy, so registering a replica must not change it. `trust` is of an Envoy that
    has certificates, where the pool has a mesh.
    """
    return bytes(_cluster(pool, name or pool.name, trust))


def retry_cluster(pool: Pool, of: str, trust: Trust | None = None) -> bytes:
    """Encode the cluster for what one of a pool's clusters could not answer.

    It has the same endpoints, and each of its requests a connection of its own: a replica may just
    have closed those that are open. A replica that lost all of its requests has fewer than any
    other, so a least-request policy would choose it again: each takes its turn instead.
    """
    # Few requests come here, so a replica is checked more rarely than where most do.
    interval = pool.settings.health_check.interval * RETRY_CHECKS
    message = _cluster(pool, retry_cluster_of(of), trust, of, interval)
    message.load_balancing_policy = taking_turns()
    message.typed_extension_protocol_options[HTTP_OPTIONS] = protobuf.Any.pack(
        _http_options(pool.settings.upstream.protocol, requests_per_connection=1)
    )
    message.outlier_detection = cluster_v3.OutlierDetection(
        interval=timedelta(seconds=1),
        base_ejection_time=timedelta(seconds=30),
        max_ejection_time=timedelta(seconds=30),
        max_ejection_percent=100,
        # Few tries are left: a replica that was unreachable once gets no other.
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=1,
    )
    return bytes(message)


def gateway_clusters(pool: Pool, of: str, gateways: Sequence[Address]) -> dict[str, bytes]:
    """Encode the two clusters, by name, through which one of a pool's clusters is reached.

    One has the gateways. What they answer says something of replicas and not of them, so they are
    ejected by their health checks alone. One healthy gateway is enough for all requests, and
    gateways take turns. The other cluster has them first, and behind them what goes straight to
    the replicas: Envoy's own failover, between clusters that differ in checks and policies.
    """
    there = _cluster(pool, gateways_cluster_of(of), None)
    there.type, there.eds_cluster_config = cluster_v3.ClusterDiscoveryType.STATIC, None
    there.load_assignment = endpoint_v3.ClusterLoadAssignment(
        cluster_name=there.name,
        endpoints=[
            endpoint_v3.LocalityLbEndpoints(
                lb_endpoints=[
                    endpoint_v3.LbEndpoint(
                        endpoint=endpoint_v3.Endpoint(
                            address=socket_address(address), hostname=AT_GATEWAY
                        )
                    )
                    for address in gateways
                ]
            )
        ],
        policy=endpoint_v3.ClusterLoadAssignmentPolicy(overprovisioning_factor=100 * len(gateways)),
    )
    there.load_balancing_policy, there.outlier_detection = taking_turns(), None
    there.health_checks = [health_check(pool.settings)]
    there.health_checks[0].http_health_check = core_v3.HealthCheckHttpHealthCheck(
        path=readiness_path(pool.name), host="gateway"
    )
    first = aggregate_v3.ClusterConfig(clusters=[there.name, of])
    via = cluster_v3.Cluster(
        name=via_cluster_of(of),
        cluster_type=cluster_v3.ClusterCustomClusterType(
            name="envoy.clusters.aggregate", typed_config=protobuf.Any.pack(first)
        ),
        lb_policy=cluster_v3.ClusterLbPolicy.CLUSTER_PROVIDED,
        connect_timeout=there.connect_timeout,
        common_lb_config=cluster_v3.ClusterCommonLbConfig(
            healthy_panic_threshold=type_v3.Percent(value=PANIC)
        ),
        typed_extension_protocol_options=there.typed_extension_protocol_options,
        circuit_breakers=there.circuit_breakers,
    )
    return {via.name: bytes(via), there.name: bytes(there)}


def readiness_path(pool: str) -> str:
    """The path below which a gateway says whether it has a healthy replica of a pool.

    No pool's name begins with a dot, so it is no path of a request.
    """
    return f"/.plimsoll/{pool}"


def _cluster(
    pool: Pool,
    name: str,
    trust: Trust | None,
    endpoints: str = "",
    check_interval: float | None = None,
) -> cluster_v3.Cluster:
    upstream = pool.settings.upstream
    message = cluster_v3.Cluster(
        name=name,
        type=cluster_v3.ClusterDiscoveryType.EDS,
        eds_cluster_config=cluster_v3.ClusterEdsClusterConfig(
            service_name=endpoints, eds_config=over_ads()
        ),
        connect_timeout=timedelta(seconds=1),
        # A machine that is gone answers nothing, and its connections look as if it computed.
        upstream_connection_options=cluster_v3.UpstreamConnectionOptions(
            tcp_keepalive=core_v3.TcpKeepalive(
                keepalive_time=2, keepalive_interval=1, keepalive_probes=2
            )
        ),
        upstream_bind_config=taken_within(gone_after(pool.settings.health_check)),
        typed_extension_protocol_options={
            HTTP_OPTIONS: protobuf.Any.pack(
                _http_options(upstream.protocol, lasts=RENEWED if trust else None)
            )
        },
        transport_socket=upstream_socket(pool.name, upstream.protocol, upstream.tls)
        if upstream.tls is not None
        else None,
        load_balancing_policy=load_balancing_policy(pool),
        common_lb_config=cluster_v3.ClusterCommonLbConfig(
            healthy_panic_threshold=type_v3.Percent(value=PANIC),
            # Weights of many replicas change together; Envoy rebuilds once for all of them.
            update_merge_window=timedelta(seconds=0.1),
            # A replica that was never seen healthy gets nothing, not even in panic mode.
            ignore_new_hosts_until_first_hc=True,
        ),
        health_checks=[health_check(pool.settings, check_interval)],
        outlier_detection=_outlier_detection(),
        # Without it a removed replica would get requests for as long as it answers checks.
        ignore_health_on_host_removal=True,
        # Each request is sent twice at most, and the limiter knows what is worth it.
        circuit_breakers=unlimited(max_retries=UNLIMITED),
    )
    if trust is not None:
        secure(message, pool.name, pool.settings.mesh, trust)
    return message


def gone_after(check: HealthCheckSettings) -> float:
    """Seconds in which the health check fails of a replica that takes nothing."""
    return max(check.unhealthy_threshold * (check.interval + check.timeout), SILENT)


def taken_within(seconds: float) -> core_v3.BindConfig:
    """End a connection whose other end takes nothing of what was sent for so long.

    Keep-alive is for connections on which nothing is under way. What was sent to a machine that is
    gone the kernel sends again for a quarter of an hour.
    """
    option = core_v3.SocketOption(
        description="TCP_USER_TIMEOUT",
        level=6,
        name=18,
        int_value=round(1000 * seconds),
        state=core_v3.SocketOptionSocketState.STATE_PREBIND,
    )
    return core_v3.BindConfig(socket_options=[option] if IS_LINUX else [])


def _http_options(
    protocol: str, requests_per_connection: int | None = None, lasts: timedelta | None = None
) -> http_v3.HttpProtocolOptions:
    """How a cluster speaks to replicas, and which answers count against one.

    A replica that refuses is the fastest, and has the fewest requests in flight: it would get most
    of them. An error of gRPC is a 200 with a status of its own, which Envoy sees here where the
    answer is nothing else.
    """
    failed = [(":status", "429|5.."), ("grpc-status", "|".join(map(str, GRPC_AS_HTTP)))]
    return http_v3.HttpProtocolOptions(
        common_http_protocol_options=core_v3.HttpProtocolOptions(
            idle_timeout=IDLE_UPSTREAM,
            max_requests_per_connection=requests_per_connection,
            max_connection_duration=lasts,
        ),
        explicit_http_config=explicit_http(protocol),
        outlier_detection=http_v3.HttpProtocolOptionsOutlierDetection(
            error_matcher=common_matcher_v3.MatchPredicate(
                or_match=common_matcher_v3.MatchPredicateMatchSet(
                    rules=[_has_header(name, regex) for name, regex in failed]
                )
            )
        ),
    )


def _has_header(name: str, regex: str) -> common_matcher_v3.MatchPredicate:
    matcher = route_v3.HeaderMatcher(
        name=name,
        string_match=matcher_v3.StringMatcher(safe_regex=matcher_v3.RegexMatcher(regex=regex)),
    )
    return common_matcher_v3.MatchPredicate(
        http_response_headers_match=common_matcher_v3.HttpHeadersMatch(headers=[matcher])
    )


def health_check(settings: PoolSettings, seconds: float | None = None) -> core_v3.HealthCheck:
    """A pool's ``HealthCheck``; `seconds` between two checks take the place of the pool's."""
    check = settings.health_check
    interval = timedelta(seconds=check.interval if seconds is None else seconds)
    message = core_v3.HealthCheck(
        timeout=timedelta(seconds=check.timeout),
        interval=interval,
        # Many sidecars check the same replica; they should not do it in step.
        interval_jitter_percent=10,
        unhealthy_threshold=check.unhealthy_threshold,
        healthy_threshold=check.healthy_threshold,
        # Envoy's default is 60 s: a replica whose first check fails would wait a minute for the
        # next one, because without traffic nobody asks for it sooner.
        no_traffic_interval=interval,
        no_traffic_healthy_interval=interval,
    )
    headers = [
        # To Envoy a percent sign begins a command.
        set_header(name, value.replace("%", "%%"))
        for name, value in check.headers.items()
    ]
    # Otherwise each endpoint says its own host; without either Envoy sends the cluster's name,
    # which frameworks that know their hosts refuse.
    host = check.host or ""
    if check.protocol == "grpc":
        message.grpc_health_check = core_v3.HealthCheckGrpcHealthCheck(
            service_name=check.service, authority=host, initial_metadata=headers
        )
        return message
    message.http_health_check = core_v3.HealthCheckHttpHealthCheck(
        path=check.path,
        host=host,
        request_headers_to_add=headers,
        # None stands for 200.
        expected_statuses=[
            type_v3.Int64Range(start=first, end=last + 1)
            for first, last in check.ranges
            if check.expected_statuses != ("200",)
        ],
        # What is negotiated with a replica does not count here.
        codec_client_type=type_v3.CodecClientType.HTTP2
        if settings.upstream.protocol == "http2"
        else type_v3.CodecClientType.HTTP1,
    )
    return message


def _outlier_detection() -> cluster_v3.OutlierDetection:
    """Ejection by what requests meet, on top of active checks.

    Envoy's defaults suit hundreds of hosts: it ejects at most a tenth, and waits 30 s. A pool of
    four replicas would never lose its broken one. Success rates are not compared: the worst of
    fewer than five hosts is never far enough below their mean, and of many hosts that hardly fail
    one always is. What each Envoy sees too little of, the control plane adds up over all of them.
    """
    return ejection(
        always_eject_one_host=True,
        consecutive_5xx=5,
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=3,
        enforcing_local_origin_success_rate=0,
        # A body that is cut off counts as a failure, and its connection as a success before: half
        # of what a replica does is failing when all of its answers are cut off.
        failure_percentage_threshold=30,
        failure_percentage_minimum_hosts=1,
        enforcing_failure_percentage_local_origin=100,
        # A static health endpoint says nothing of the requests that got the host ejected.
        successful_active_health_check_uneject_host=False,
    )


def ejection(**more: Any) -> cluster_v3.OutlierDetection:
    """Ejection of replicas for seconds up to a minute, by the part of requests that fail there."""
    return cluster_v3.OutlierDetection(
        interval=timedelta(seconds=1),
        base_ejection_time=timedelta(seconds=1),
        max_ejection_time=timedelta(seconds=60),
        max_ejection_percent=40,
        enforcing_success_rate=0,
        failure_percentage_request_volume=4,
        enforcing_failure_percentage=100,
        **more,
    )


def unlimited(max_retries: int | None = None) -> cluster_v3.CircuitBreakers:
    """Circuit breakers that never trip, but for retries."""
    limits = cluster_v3.CircuitBreakersThresholds(
        max_connections=UNLIMITED,
        max_pending_requests=UNLIMITED,
        max_requests=UNLIMITED,
        max_retries=max_retries,
    )
    return cluster_v3.CircuitBreakers(thresholds=[limits])
