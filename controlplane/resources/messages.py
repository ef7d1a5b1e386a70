"""Parts that several of Envoy's messages have in common."""

from collections.abc import Mapping
from typing import Any, Final

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.google.protobuf as protobuf
from betterproto2 import Message

from controlplane.config import Address
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource


def socket_address(address: Address) -> core_v3.Address:
    """The message for a host and port."""
    return core_v3.Address(
        socket_address=core_v3.SocketAddress(address=address.host, port_value=address.port)
    )


_MESSAGES: Final[Mapping[str, type[Message]]] = {
    CLUSTER: cluster_v3.Cluster,
    ENDPOINT: endpoint_v3.ClusterLoadAssignment,
    SECRET: tls_v3.Secret,
    LISTENER: listener_v3.Listener,
    ROUTE: route_v3.RouteConfiguration,
}


def to_json(type_url: str, resource: Resource) -> dict[str, Any]:
    """A resource in protobuf's JSON, fields that have their default left out.

    It takes milliseconds for a hundred endpoints.

    Args:
        type_url: Of the resource.
        resource: As it is sent.
    """
    packed = protobuf.Any.parse(resource.packed)
    message = _MESSAGES[type_url].parse(packed.value)
    # A casing is only ever called, and betterproto2's own makes consecutive5Xx of consecutive_5xx.
    return message.to_dict(casing=_json_name)  # type: ignore[arg-type]


def _json_name(field: str) -> str:
    """The name of a field in JSON, as protoc makes it: only a letter has a capital form."""
    first, *others = field.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)
