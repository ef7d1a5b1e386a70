"""What an Envoy sends to an OpenTelemetry collector: spans, and records of requests.

No request waits for the collector. While it cannot be reached, Envoy drops what it would have sent.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Final

import envoy_data_plane.envoy.config.accesslog.v3 as accesslog_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.trace.v3 as trace_v3
import envoy_data_plane.envoy.extensions.access_loggers.open_telemetry.v3 as otlp_log_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.envoy.extensions.request_id.uuid.v3 as uuid_v3
import envoy_data_plane.envoy.extensions.tracers.opentelemetry.samplers.v3 as samplers_v3
import envoy_data_plane.envoy.extensions.upstreams.http.v3 as http_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf
import envoy_data_plane.opentelemetry.proto.common.v1 as otlp_v1

from controlplane.config import OtlpSettings
from controlplane.resources.messages import explicit_http, extension, fixed_cluster
from controlplane.resources.resource import CLUSTER, Resource
from controlplane.resources.tls import collector_socket

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
