"""Addresses as Envoy writes them."""

import envoy_data_plane.envoy.config.core.v3 as core_v3

from controlplane.config import Address


def socket_address(address: Address) -> core_v3.Address:
    """The message for a host and port."""
    return core_v3.Address(
        socket_address=core_v3.SocketAddress(address=address.host, port_value=address.port)
    )
