"""Parts that several of Envoy's messages have in common."""

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any, Final

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.envoy.extensions.upstreams.http.v3 as http_v3
import envoy_data_plane.envoy.type.matcher.v3 as matcher_v3
import envoy_data_plane.google.protobuf as protobuf
from betterproto2 import Message
from pydantic_core import SchemaValidator

from controlplane.config import Address
from controlplane.resources.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    TYPE_URLS,
    Resource,
    Snapshot,
)


@cache
def _validator(kind: type[Message]) -> SchemaValidator:
    return SchemaValidator(kind.__pydantic_core_schema__)  # type: ignore[attr-defined]


def _validate(message: Message) -> None:
    values = message.__dict__.copy()
    del values["_unknown_fields"]
    _validator(type(message)).validate_python(values)


# betterproto2 builds a validator for each message that it encodes, which takes longer than the
# rest: with one for each class a pool's resources take half of the time.
Message._validate = _validate  # type: ignore[assignment, method-assign]

HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
"""The key of a cluster's options for HTTP."""


def socket_address(address: Address) -> core_v3.Address:
    return core_v3.Address(
        socket_address=core_v3.SocketAddress(address=address.host, port_value=address.port)
    )


def over_ads() -> core_v3.ConfigSource:
    """Where a resource comes from: the stream that what refers to it came on."""
    return core_v3.ConfigSource(
        ads=core_v3.AggregatedConfigSource(), resource_api_version=core_v3.ApiVersion.V3
    )


def extension(name: str, config: Message) -> core_v3.TypedExtensionConfig:
    """An extension of Envoy."""
    return core_v3.TypedExtensionConfig(name=name, typed_config=protobuf.Any.pack(config))


def http_filter(name: str, config: Message) -> hcm_v3.HttpFilter:
    """A filter of a connection manager; `name` is what follows ``envoy.filters.http.``."""
    return hcm_v3.HttpFilter(
        name=f"envoy.filters.http.{name}", typed_config=protobuf.Any.pack(config)
    )


def transport_socket(name: str, config: Message) -> core_v3.TransportSocket:
    """A transport socket; `name` is what follows ``envoy.transport_sockets.``."""
    return core_v3.TransportSocket(
        name=f"envoy.transport_sockets.{name}", typed_config=protobuf.Any.pack(config)
    )


def lb_policy(name: str, config: Message) -> cluster_v3.LoadBalancingPolicyPolicy:
    """A load-balancing policy; `name` is what follows ``envoy.load_balancing_policies.``."""
    return cluster_v3.LoadBalancingPolicyPolicy(
        typed_extension_config=extension(f"envoy.load_balancing_policies.{name}", config)
    )


def set_header(name: str, value: str) -> core_v3.HeaderValueOption:
    """A header that takes the place of any of its name."""
    return core_v3.HeaderValueOption(
        header=core_v3.HeaderValue(key=name, value=value),
        append_action=core_v3.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def explicit_http(protocol: str) -> http_v3.HttpProtocolOptionsExplicitHttpConfig:
    """The protocol of a cluster: ``http2``, or else HTTP/1.1."""
    if protocol == "http2":
        return http_v3.HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=core_v3.Http2ProtocolOptions()
        )
    return http_v3.HttpProtocolOptionsExplicitHttpConfig(
        http_protocol_options=core_v3.Http1ProtocolOptions()
    )


def exact_header(name: str, value: str) -> route_v3.HeaderMatcher:
    """What a header of just this value matches."""
    matcher = matcher_v3.StringMatcher(exact=value)
    return route_v3.HeaderMatcher(name=name, string_match=matcher)


def fixed_cluster(
    name: str, address: Address, options: http_v3.HttpProtocolOptions
) -> cluster_v3.Cluster:
    """A cluster of one endpoint, which does not come from EDS."""
    kinds, families = cluster_v3.ClusterDiscoveryType, cluster_v3.ClusterDnsLookupFamily
    there = endpoint_v3.LbEndpoint(endpoint=endpoint_v3.Endpoint(address=socket_address(address)))
    return cluster_v3.Cluster(
        name=name,
        type=kinds.STATIC if address.ip is not None else kinds.STRICT_DNS,
        # By default only IPv6 is used where a name has both.
        dns_lookup_family=families.AUTO if address.ip is not None else families.ALL,
        connect_timeout=timedelta(seconds=1),
        load_assignment=endpoint_v3.ClusterLoadAssignment(
            cluster_name=name, endpoints=[endpoint_v3.LocalityLbEndpoints(lb_endpoints=[there])]
        ),
        typed_extension_protocol_options={HTTP_OPTIONS: protobuf.Any.pack(options)},
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
    """
    packed = protobuf.Any.parse(resource.packed)
    message = _MESSAGES[type_url].parse(packed.value)
    # A casing is only ever called, and betterproto2's own makes consecutive5Xx of consecutive_5xx.
    return message.to_dict(casing=_json_name)  # type: ignore[arg-type]


def snapshot_to_json(snapshot: Snapshot) -> dict[str, dict[str, dict[str, Any]]]:
    """All that an Envoy should hold, by type and name, see `to_json`."""
    return {
        type_url: {
            name: to_json(type_url, message) for name, message in snapshot.type(type_url).items()
        }
        for type_url in TYPE_URLS
    }


def _json_name(field: str) -> str:
    """The name of a field in JSON, as protoc makes it: only a letter has a capital form."""
    first, *others = field.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)
