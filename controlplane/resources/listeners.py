"""LDS: what an Envoy opens for applications, and what it does with a request before it has a route.

A gateway takes requests from anybody, so it follows Envoy's advice for edge proxies:
https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

import envoy_data_plane.envoy.config.accesslog.v3 as accesslog_v3
import envoy_data_plane.envoy.config.common.mutation_rules.v3 as mutation_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.config.trace.v3 as trace_v3
import envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 as grpc_log_v3
import envoy_data_plane.envoy.extensions.access_loggers.open_telemetry.v3 as otlp_log_v3
import envoy_data_plane.envoy.extensions.access_loggers.stream.v3 as stream_log_v3
import envoy_data_plane.envoy.extensions.filters.http.health_check.v3 as health_check_v3
import envoy_data_plane.envoy.extensions.filters.http.router.v3 as router_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 as early_v3
import envoy_data_plane.envoy.extensions.request_id.uuid.v3 as uuid_v3
import envoy_data_plane.envoy.extensions.tracers.opentelemetry.samplers.v3 as samplers_v3
import envoy_data_plane.envoy.extensions.upstreams.http.v3 as http_v3
import envoy_data_plane.envoy.type.matcher.v3 as matcher_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf
import envoy_data_plane.opentelemetry.proto.common.v1 as otlp_v1

from controlplane.config import Address, OtlpSettings
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.clusters import readiness_path
from controlplane.resources.messages import (
    explicit_http,
    extension,
    fixed_cluster,
    http_filter,
    over_ads,
    set_header,
    socket_address,
)
from controlplane.resources.resource import CLUSTER, Resource
from controlplane.resources.retries import ATTEMPTS, TRIED, upstream_filters
from controlplane.resources.tls import Terminated, collector_socket, downstream_socket

COLLECTOR: Final = "_otlp"
"""The name of the collector's cluster. No pool can have it."""

SERVICE: Final = "plimsoll-envoy"
"""The name of the service in spans; ``node_id`` among their attributes says which Envoy."""


@lru_cache(maxsize=16)
def collector(settings: OtlpSettings) -> Resource:
    """Encode the cluster of the collector."""
    options = http_v3.HttpProtocolOptions(explicit_http_config=explicit_http("http2"))
    message = fixed_cluster(COLLECTOR, settings.address, options)
    if settings.tls is not None:
        message.transport_socket = collector_socket(settings.tls, settings.address.host)
    return Resource.of(CLUSTER, COLLECTOR, bytes(message))


def trace(manager: hcm_v3.HttpConnectionManager, settings: OtlpSettings | None) -> None:
    """Have a connection manager send spans, of each request and of each try; None: of none.

    It leaves request ids alone. By default Envoy writes into a request's id whether the request is
    traced, and draws by the id, too: an application would not find its own id in a log, and one
    whose ids are no UUIDs would never be traced.
    """
    if settings is None:
        return
    config = trace_v3.OpenTelemetryConfig(
        grpc_service=_service(), service_name=SERVICE, sampler=_sampler(settings.sampling)
    )
    manager.tracing = hcm_v3.HttpConnectionManagerTracing(
        spawn_upstream_span=True,
        provider=trace_v3.TracingHttp(
            name="envoy.tracers.opentelemetry", typed_config=protobuf.Any.pack(config)
        ),
    )
    request_ids = uuid_v3.UuidRequestIdConfig(use_request_id_for_trace_sampling=False)
    manager.request_id_extension = hcm_v3.RequestIdExtension(
        typed_config=protobuf.Any.pack(request_ids)
    )


def _sampler(percent: float) -> core_v3.TypedExtensionConfig:
    """Do as the traceparent of a request says, and draw by the trace's id where it brings none."""
    drawn = samplers_v3.TraceIdRatioBasedSamplerConfig(
        sampling_percentage=type_v3.FractionalPercent(
            numerator=round(percent * 100),
            denominator=type_v3.FractionalPercentDenominatorType.TEN_THOUSAND,
        )
    )
    samplers = "envoy.tracers.opentelemetry.samplers"
    wrapped = extension(f"{samplers}.trace_id_ratio_based", drawn)
    return extension(
        f"{samplers}.parent_based", samplers_v3.ParentBasedSamplerConfig(wrapped_sampler=wrapped)
    )


def record_log(fields: Mapping[str, str]) -> accesslog_v3.AccessLog:
    """Make a log that sends a record of every request, with Envoy's format of each attribute."""
    attributes = [
        otlp_v1.KeyValue(key=key, value=otlp_v1.AnyValue(string_value=field))
        for key, field in fields.items()
    ]
    body = f"{fields['method']} {fields['path']} {fields['status']}"
    config = otlp_log_v3.OpenTelemetryAccessLogConfig(
        grpc_service=_service(),
        log_name=SERVICE,
        body=otlp_v1.AnyValue(string_value=body),
        attributes=otlp_v1.KeyValueList(values=attributes),
    )
    return accesslog_v3.AccessLog(
        name="envoy.access_loggers.open_telemetry", typed_config=protobuf.Any.pack(config)
    )


def _service() -> core_v3.GrpcService:
    return core_v3.GrpcService(
        envoy_grpc=core_v3.GrpcServiceEnvoyGrpc(cluster_name=COLLECTOR),
        timeout=timedelta(seconds=5),
    )


LEAST_HEALTHY: Final = 0.001
"""Percentage of a pool's replicas that must be healthy for a gateway to be: any one of them."""

LogFormat: TypeAlias = Literal["json", "text"]

SAMPLED_PERCENT: Final = 20
"""Percentage of requests that an Envoy reports to the control plane: enough to see a class of one
request in a hundred within seconds, too few to matter to either."""
LOG_NAME: Final = "plimsoll"
"""The same for all listeners: Envoy opens a stream for each name, in each of its threads."""
HEADERS_DEADLINE: Final = timedelta(seconds=10)
"""Time for the headers of a request to arrive; they fit into one or two packets."""
_FLUSH: Final = timedelta(seconds=1)
"""How long an Envoy collects before it tells."""

_LOGGED: Final = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "status": "%RESPONSE_CODE%",
    "grpc": "%GRPC_STATUS%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "request_ms": "%REQUEST_DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "replica": "%UPSTREAM_HOST_NAME_WITHOUT_PORT%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "trace_id": "%TRACE_ID%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "forwarded_for": "%REQ(X-FORWARDED-FOR)%",
}
"""Of each request, in a log for people and their tools. What a client says stands last: text is not
quoted, and nothing of it passes for something that Envoy says."""


class Downstream(NamedTuple):
    """How an Envoy treats those who send it requests.

    Attributes:
        access_log: The cluster, in the Envoy's bootstrap, of the control plane, which gets samples
            of requests; None: it gets none.
        trusted_proxies: How many proxies stand in front of it. So many addresses at the end of
            ``x-forwarded-for`` are believed.
        is_gateway: It takes requests from anybody, and not from the application beside it.
        upload: Seconds for a request to arrive whole.
        asked: Pools for which sidecars ask a gateway whether it has a healthy replica.
    """

    access_log: str | None = None
    log: LogFormat | None = None
    trusted_proxies: int = 0
    is_gateway: bool = False
    upload: float = 60.0
    tls: Terminated | None = None
    otlp: OtlpSettings | None = None
    asked: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def manager_of(downstream: Downstream) -> bytes:
    """Encode the fields of a connection manager that its clients see."""
    gateway, otlp = downstream.is_gateway, downstream.otlp
    underscores = core_v3.HttpProtocolOptionsHeadersWithUnderscoresAction
    escaped = hcm_v3.HttpConnectionManagerPathWithEscapedSlashesAction
    router = http_filter("router", router_v3.Router(upstream_http_filters=[*upstream_filters()]))
    manager = hcm_v3.HttpConnectionManager(
        http_filters=[*(_readiness(pool) for pool in downstream.asked), router],
        # By it a request is sent where further tries go, and a sidecar's further try is a
        # gateway's first.
        early_header_mutation_extensions=[_without(ATTEMPTS)],
        request_headers_timeout=HEADERS_DEADLINE,
        request_timeout=timedelta(seconds=downstream.upload),
        use_remote_address=True,
        xff_num_trusted_hops=downstream.trusted_proxies,
        # An application's own id is the one that it looks for in the log.
        preserve_external_request_id=not gateway,
        # A route's prefix is a limit: no other spelling of a path may step over it.
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=escaped.UNESCAPE_AND_REDIRECT,
    )
    if gateway:
        # Some servers take x_user for x-user, which a proxy in front may have checked.
        manager.common_http_protocol_options = core_v3.HttpProtocolOptions(
            headers_with_underscores_action=underscores.REJECT_REQUEST
        )
        manager.http2_protocol_options = core_v3.Http2ProtocolOptions(
            max_concurrent_streams=100,
            initial_stream_window_size=1 << 16,
            initial_connection_window_size=1 << 20,
        )
        manager.local_reply_config = _final_replies()
    if downstream.access_log is not None:
        manager.access_log.append(_sampled_log(downstream.access_log))
    if downstream.log is not None:
        manager.access_log.append(stdout_log(downstream.log))
    if otlp is not None and otlp.access_log:
        manager.access_log.append(record_log(_LOGGED))
    trace(manager, otlp)
    return bytes(manager)


def _without(header: str) -> core_v3.TypedExtensionConfig:
    """Take a header of Envoy's own away from what a client sends."""
    mutations = [mutation_v3.HeaderMutation(remove=header)]
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        early_v3.HeaderMutation(mutations=mutations),
    )


def _readiness(pool: str) -> hcm_v3.HttpFilter:
    """Answer a sidecar's health check: the gateway has a healthy replica of a pool, or none.

    The check goes no further, so no replica gets one more for each sidecar.
    """
    asked = route_v3.HeaderMatcher(
        name=":path", string_match=matcher_v3.StringMatcher(exact=readiness_path(pool))
    )
    return http_filter(
        "health_check",
        health_check_v3.HealthCheck(
            pass_through_mode=False,
            headers=[asked],
            cluster_min_healthy_percentages={pool: type_v3.Percent(value=LEAST_HEALTHY)},
        ),
    )


def _final_replies() -> hcm_v3.LocalReplyConfig:
    """Mark what a gateway says of a request that replicas ended: no sidecar tries it again."""
    ended = accesslog_v3.AccessLogFilter(
        response_flag_filter=accesslog_v3.ResponseFlagFilter(flags=["UC", "UR"])
    )
    mapper = hcm_v3.ResponseMapper(filter=ended, headers_to_add=[set_header(TRIED, "1")])
    return hcm_v3.LocalReplyConfig(mappers=[mapper])


def _sampled_log(cluster: str) -> accesslog_v3.AccessLog:
    """A log that sends the control plane samples of requests.

    Where it cannot be reached Envoy drops the samples: requests do not wait for it.
    """
    config = grpc_log_v3.HttpGrpcAccessLogConfig(
        common_config=grpc_log_v3.CommonGrpcAccessLogConfig(
            log_name=LOG_NAME,
            transport_api_version=core_v3.ApiVersion.V3,
            grpc_service=core_v3.GrpcService(
                envoy_grpc=core_v3.GrpcServiceEnvoyGrpc(cluster_name=cluster)
            ),
            buffer_flush_interval=_FLUSH,
        )
    )
    sampled = accesslog_v3.RuntimeFilter(
        runtime_key="plimsoll.access_log",
        percent_sampled=type_v3.FractionalPercent(
            numerator=SAMPLED_PERCENT, denominator=type_v3.FractionalPercentDenominatorType.HUNDRED
        ),
        # Otherwise Envoy decides by x-request-id, and callers that give the same one for all of
        # their requests would be logged always or never.
        use_independent_randomness=True,
    )
    return accesslog_v3.AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=accesslog_v3.AccessLogFilter(runtime_filter=sampled),
        typed_config=protobuf.Any.pack(config),
    )


def stdout_log(form: LogFormat) -> accesslog_v3.AccessLog:
    """A log of every request on standard output, where containers have their logs."""
    if form == "json":
        lines = core_v3.SubstitutionFormatString(json_format=protobuf.Struct.from_dict(_LOGGED))
    else:
        text = " ".join(f"{name}={value}" for name, value in _LOGGED.items())
        lines = core_v3.SubstitutionFormatString(
            text_format_source=core_v3.DataSource(inline_string=f"{text}\n")
        )
    return accesslog_v3.AccessLog(
        name="envoy.access_loggers.stdout",
        typed_config=protobuf.Any.pack(stream_log_v3.StdoutAccessLog(log_format=lines)),
    )


_MANAGER: Final = (
    "type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)


def listener(name: str, address: Address, downstream: Downstream = Downstream()) -> bytes:  # noqa: B008 - it is a value
    """Encode a pool's ``Listener``; the listener and its route have the pool's name."""
    # What is the same in all listeners is encoded once: betterproto2 takes 4 ms for a whole one,
    # and a control plane has two for each of ten thousand pools.
    named = pb.HttpConnectionManager(
        stat_prefix=name, rds=pb.Rds(config_source=bytes(over_ads()), route_config_name=name)
    )
    # Encoded messages that follow each other are merged.
    manager = manager_of(downstream._replace(tls=None)) + named.SerializeToString()
    network_filter = pb.Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=pb.Any(type_url=_MANAGER, value=manager),
    )
    chain = pb.FilterChain(filters=[network_filter])
    if downstream.tls is not None:
        secured = listener_v3.FilterChain(transport_socket=downstream_socket(downstream.tls))
        # What our own message does not know, it keeps.
        chain.MergeFromString(bytes(secured))
    return pb.Listener(
        name=name, address=bytes(socket_address(address)), filter_chains=[chain]
    ).SerializeToString()
