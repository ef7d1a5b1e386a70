"""What Envoys say of requests, as they encode it."""

from datetime import timedelta

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.data.accesslog.v3 as accesslog_v3
import envoy_data_plane.envoy.service.accesslog.v3 as als_v3

from controlplane.telemetry.sizes import Sample


def entry(sample: Sample) -> accesslog_v3.HttpAccessLogEntry:
    """One request, with some of what else Envoy says of it."""
    cluster = f"{sample.pool}:{sample.class_name}" if sample.class_name else sample.pool
    address = core_v3.SocketAddress(address=sample.host, port_value=sample.port)
    here = core_v3.SocketAddress(address="127.0.0.1", port_value=40_000)
    return accesslog_v3.HttpAccessLogEntry(
        common_properties=accesslog_v3.AccessLogCommon(
            downstream_remote_address=core_v3.Address(socket_address=here),
            time_to_last_rx_byte=timedelta(seconds=1),
            upstream_remote_address=(
                core_v3.Address(socket_address=address) if sample.host else None
            ),
            upstream_cluster=cluster,
            # As our routes are called.
            route_name=cluster,
            duration=timedelta(seconds=sample.seconds),
        ),
        protocol_version=accesslog_v3.HttpAccessLogEntryHttpVersion.HTTP11,
        request=accesslog_v3.HttpRequestProperties(
            path="/v1/embeddings", request_headers_bytes=210, request_body_bytes=sample.bytes
        ),
        response=accesslog_v3.HttpResponseProperties(
            response_code=sample.status or None, response_body_bytes=9_000
        ),
    )


def logs(
    *entries: accesslog_v3.HttpAccessLogEntry, node: str | None = "sidecar-1"
) -> als_v3.StreamAccessLogsMessage:
    """A message; of a stream the first one has a node."""
    return als_v3.StreamAccessLogsMessage(
        identifier=(
            None
            if node is None
            else als_v3.StreamAccessLogsMessageIdentifier(
                node=core_v3.Node(id=node), log_name="plimsoll"
            )
        ),
        http_logs=als_v3.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=[*entries]),
    )
