"""Resources as people read them: what Envoy's own config dump shows of the same bytes, as JSON."""

from collections.abc import Mapping
from typing import Any, Final

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.google.protobuf as protobuf
from betterproto2 import Message

from controlplane.resources.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    TYPE_URLS,
    Resource,
)
from controlplane.resources.snapshot import Snapshot

_MESSAGES: Final[Mapping[str, type[Message]]] = {
    CLUSTER: cluster_v3.Cluster,
    ENDPOINT: endpoint_v3.ClusterLoadAssignment,
    SECRET: tls_v3.Secret,
    LISTENER: listener_v3.Listener,
    ROUTE: route_v3.RouteConfiguration,
}


def readable(type_url: str, resource: Resource) -> dict[str, Any]:
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


def all_readable(snapshot: Snapshot) -> dict[str, dict[str, dict[str, Any]]]:
    """All that an Envoy should hold, by type and name; see `readable`."""
    return {
        type_url: {name: readable(type_url, it) for name, it in snapshot.type(type_url).items()}
        for type_url in TYPE_URLS
    }


def _json_name(field: str) -> str:
    """The name of a field in JSON, as protoc makes it: only a letter has a capital form."""
    first, *others = field.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)
