"""LDS: what a sidecar opens for its application, one listener for each pool."""

from functools import lru_cache
from typing import Final

import envoy_data_plane.envoy.config.core.v3 as core_v3

from controlplane.resources.addresses import socket_address
from controlplane.resources.downstream import Downstream, manager_of
from controlplane.resources.encoding import delimited, implicit
from controlplane.settings import Address

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
    # Each field that is the same in all listeners is encoded once: betterproto2 takes 4 ms for a
    # whole one, and a control plane has two for each of ten thousand pools.
    manager = manager_of(downstream) + _named(name)
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
