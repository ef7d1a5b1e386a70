"""LDS: what a sidecar opens for its application, one listener for each pool."""

from datetime import timedelta
from functools import lru_cache
from typing import Final

import envoy_data_plane.envoy.config.accesslog.v3 as accesslog_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 as grpc_log_v3
import envoy_data_plane.envoy.extensions.filters.http.router.v3 as router_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.resources.addresses import socket_address
from controlplane.resources.encoding import delimited, implicit
from controlplane.resources.retries import upstream_filters
from controlplane.settings import Address

SAMPLED_PERCENT: Final = 20
"""Of the requests that an Envoy tells the control plane of: enough to see a class of one request in
a hundred within seconds, too few to matter to either."""
LOG_NAME: Final = "plimsoll"
"""The same for all listeners: Envoy opens a stream for each name, in each of its threads."""
_MANAGER: Final = (
    "type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_FLUSH: Final = timedelta(seconds=1)
"""How long an Envoy collects before it tells."""


def listener(name: str, address: Address, access_log: str | None = None) -> bytes:
    """Encode a pool's ``Listener``.

    Args:
        name: Of the pool; the listener's and its route's too.
        address: Where the Envoy is to listen.
        access_log: The cluster of the Envoy's bootstrap that leads to the control plane, which is
            told of some requests; None: it is told of none.
    """
    # Each field that is the same in all listeners is encoded once: betterproto2 takes 4 ms for a
    # whole one, and a control plane has two for each of ten thousand pools.
    manager = _manager() + _named(name)
    if access_log is not None:
        manager += _access_log(access_log)
    packed = implicit(1, _MANAGER.encode()) + delimited(2, manager)
    network_filter = delimited(1, b"envoy.filters.network.http_connection_manager")
    network_filter += delimited(4, packed)
    at, chain = bytes(socket_address(address)), delimited(3, network_filter)
    return implicit(1, name.encode()) + delimited(2, at) + delimited(3, chain)


def _named(name: str) -> bytes:
    """The fields of a connection manager that name its pool: its prefix and its route."""
    rds = delimited(1, _own_stream()) + implicit(2, name.encode())
    return implicit(2, name.encode()) + delimited(3, rds)


@lru_cache(maxsize=1)
def _own_stream() -> bytes:
    """Where the route comes from: the stream that the listener came on."""
    return bytes(
        core_v3.ConfigSource(
            ads=core_v3.AggregatedConfigSource(), resource_api_version=core_v3.ApiVersion.V3
        )
    )


@lru_cache(maxsize=1)
def _manager() -> bytes:
    """The fields of a connection manager that all have."""
    router = hcm_v3.HttpFilter(
        name="envoy.filters.http.router",
        typed_config=protobuf.Any.pack(
            router_v3.Router(upstream_http_filters=[*upstream_filters()])
        ),
    )
    return bytes(hcm_v3.HttpConnectionManager(http_filters=[router], normalize_path=True))


@lru_cache(maxsize=256)
def _access_log(cluster: str) -> bytes:
    """The field of a connection manager that tells the control plane of some requests.

    Where that cannot be reached Envoy drops what it would have told: requests do not wait for it.
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
    log = accesslog_v3.AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=accesslog_v3.AccessLogFilter(runtime_filter=sampled),
        typed_config=protobuf.Any.pack(config),
    )
    return bytes(hcm_v3.HttpConnectionManager(access_log=[log]))
