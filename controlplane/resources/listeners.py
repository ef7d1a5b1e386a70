"""LDS: what a sidecar opens for its application, one listener for each pool."""

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.extensions.filters.http.router.v3 as router_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.resources.addresses import socket_address
from controlplane.settings import Address


def listener(name: str, address: Address) -> bytes:
    """Encode a pool's ``Listener``.

    Args:
        name: Of the pool; the listener's and its route's too.
        address: Where the Envoy is to listen.
    """
    router = hcm_v3.HttpFilter(
        name="envoy.filters.http.router", typed_config=protobuf.Any.pack(router_v3.Router())
    )
    manager = hcm_v3.HttpConnectionManager(
        stat_prefix=name,
        rds=hcm_v3.Rds(
            route_config_name=name,
            config_source=core_v3.ConfigSource(
                ads=core_v3.AggregatedConfigSource(), resource_api_version=core_v3.ApiVersion.V3
            ),
        ),
        http_filters=[router],
        normalize_path=True,
    )
    network_filter = listener_v3.Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=protobuf.Any.pack(manager),
    )
    return bytes(
        listener_v3.Listener(
            name=name,
            address=socket_address(address),
            filter_chains=[listener_v3.FilterChain(filters=[network_filter])],
        )
    )
