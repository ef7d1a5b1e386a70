"""LDS: what a sidecar opens for its application, one listener for each pool."""

from functools import lru_cache
from typing import Final

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3

from controlplane.config import Address
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.addresses import socket_address
from controlplane.resources.downstream import Downstream, manager_of
from controlplane.resources.tls import downstream_socket

_MANAGER: Final = (
    "type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)


def listener(name: str, address: Address, downstream: Downstream = Downstream()) -> bytes:  # noqa: B008 - it is a value
    """Encode a pool's ``Listener``.

    Args:
        name: Of the pool; the listener's and its route's too.
        address: Where the Envoy is to listen.
        downstream: How it treats those who send requests there.
    """
    # What is the same in all listeners is encoded once: betterproto2 takes 4 ms for a whole one,
    # and a control plane has two for each of ten thousand pools.
    named = pb.HttpConnectionManager(
        stat_prefix=name, rds=pb.Rds(config_source=_own_stream(), route_config_name=name)
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


@lru_cache(maxsize=1)
def _own_stream() -> bytes:
    """Where the route comes from: the stream that the listener came on."""
    return bytes(
        core_v3.ConfigSource(
            ads=core_v3.AggregatedConfigSource(), resource_api_version=core_v3.ApiVersion.V3
        )
    )
