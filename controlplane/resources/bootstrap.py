"""The bootstrap of an Envoy: who it is, where its control plane is, and what it wants of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from controlplane.resources.views import ALL_POOLS, GATEWAY, METADATA_KEY
from controlplane.settings import Address, Locality

XDS_CLUSTER: Final = "plimsoll"


def bootstrap(
    node_id: str,
    xds: Address,
    *,
    pools: Sequence[str] = (),
    locality: Locality | None = None,
    admin_port: int = 9901,
    listen: Mapping[str, Address] | None = None,
    gateway: Address | None = None,
) -> dict[str, Any]:
    """The bootstrap as plain data, to be written as YAML or JSON.

    Args:
        node_id: Names this Envoy, uniquely.
        xds: Where the control plane serves xDS.
        pools: The pools it wants; none means all.
        locality: Where it runs.
        admin_port: Of Envoy's own admin interface, on loopback; 0 for any free one.
        listen: Pools whose listener it moves to another address.
        gateway: Where it opens one listener for all its pools, instead of one for each.
    """
    wanted: dict[str, Any] = {}
    if pools:
        wanted["pools"] = sorted(set(pools))
    if gateway:
        wanted |= {"role": GATEWAY, "listen": {ALL_POOLS: str(gateway)}}
    elif listen:
        wanted["listen"] = {name: str(address) for name, address in sorted(listen.items())}
    node: dict[str, Any] = {"id": node_id, "cluster": XDS_CLUSTER}
    if locality is not None:
        node["locality"] = locality.model_dump(exclude_none=True)
    if wanted:
        node["metadata"] = {METADATA_KEY: wanted}
    return {
        "node": node,
        "admin": {"address": _socket_address(Address("127.0.0.1", admin_port))},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
            },
            "cds_config": _over_ads(),
            "lds_config": _over_ads(),
        },
        "static_resources": {"clusters": [_control_plane(xds)]},
    }


def _over_ads() -> dict[str, Any]:
    return {"ads": {}, "resource_api_version": "V3"}


def _control_plane(xds: Address) -> dict[str, Any]:
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        # A control plane that is stopped or cut off without a word is noticed within 15 s.
        "explicit_http_config": {
            "http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "5s"}}
        },
    }
    return {
        "name": XDS_CLUSTER,
        **_discovery(xds),
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket_address(xds)}}]}],
        },
    }


def _discovery(xds: Address) -> dict[str, Any]:
    if xds.ip is not None:
        return {"type": "STATIC"}
    # By default Envoy takes IPv6 where a name has both: localhost is ::1 then, where a control
    # plane that listens on 127.0.0.1 is not.
    return {"type": "STRICT_DNS", "dns_lookup_family": "ALL"}


def _socket_address(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}
