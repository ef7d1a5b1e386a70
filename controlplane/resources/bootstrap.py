"""The bootstrap of an Envoy: its name, its control plane, what it asks for, and its own metrics.

With every statistic an Envoy has a hundred for each cluster, and more for each listener. The
bootstrap lists those that operators, `plimsoll load` and the dashboards read; docs/metrics.md says
what each means.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, Literal, TypeAlias

from controlplane.config import Address, Locality
from controlplane.config.tls import GatewayTls
from controlplane.resources import filesystem
from controlplane.resources.listeners import LogFormat
from controlplane.resources.secret_sources import (
    SPIRE_CLUSTER,
    NodeTls,
    SecretSource,
    SpireTls,
    grpc_source,
    transport_socket,
)
from controlplane.resources.views import ALL_POOLS, GATEWAY, INGRESS, METADATA_KEY

NODE_CLUSTER: Final = "plimsoll"
"""The name of the cluster in every node's bootstrap; only operators read it."""

XDS_CLUSTER: Final = "_plimsoll"
"""The control plane itself. No pool can have this name: Envoy keeps a cluster of its bootstrap
when it is sent another of that name, and would send the pool's requests to the control plane."""

Protocol: TypeAlias = Literal["delta", "state-of-the-world"]
"""Which of xDS's two protocols an Envoy speaks; the control plane serves both on one port."""

MAX_HEAP: Final = 2 << 30
"""Bytes. Envoy keeps the body of each request in flight, to be able to send it again."""

_HEAP: Final = "envoy.resource_monitors.fixed_heap"
_REFUSE: Final = "stop_accepting_requests"

MAX_CONNECTIONS: Final = 50_000
"""From clients, of one Envoy, as Envoy's advice for edge proxies has it: it refuses more, instead
of running out of memory or of file descriptors for its replicas."""

_API_TYPES: Final[Mapping[Protocol, str]] = {"delta": "DELTA_GRPC", "state-of-the-world": "GRPC"}


def bootstrap(
    node_id: str,
    source: Address | PurePath,
    *,
    pools: Sequence[str] = (),
    locality: Locality | None = None,
    admin_port: int = 9901,
    listen: Mapping[str, Address] | None = None,
    gateway: Address | None = None,
    gateway_tls: GatewayTls | None = None,
    replica: Address | None = None,
    secrets: SecretSource | None = None,
    protocol: Protocol = "delta",
    max_heap: int = MAX_HEAP,
    log: LogFormat | None = None,
    trusted_proxies: int = 0,
    max_connections: int = MAX_CONNECTIONS,
    tls: NodeTls | SpireTls | None = None,
    spire: str | None = None,
    stats: Address | None = None,
) -> dict[str, Any]:
    """The bootstrap as plain data, to be written as YAML or JSON.

    Args:
        source: Where the control plane serves xDS, or the folder with its resources in files.
        admin_port: Of Envoy's own admin interface, on loopback; 0 for any free one.
        listen: Pools whose listener it moves to another address.
        gateway: Where it opens one listener for all its pools, instead of one for each.
        max_heap: Bytes of memory that it may take, before it refuses requests.
        trusted_proxies: How many proxies in front of it may say who a client is.
        spire: Path of the socket of a SPIRE agent beside it; None: there is none.
        stats: Where it shows its metrics to others than this machine; None: nowhere.
    """
    # Its listeners then tell the control plane of some requests; without it they tell of none.
    xds = source if isinstance(source, Address) else None
    wanted: dict[str, Any] = {"access_log": XDS_CLUSTER} if xds and not replica else {}
    if log is not None:
        wanted["log"] = log
    if trusted_proxies:
        wanted["trusted_proxies"] = trusted_proxies
    if pools:
        wanted["pools"] = sorted(set(pools))
    if gateway:
        wanted |= {"role": GATEWAY, "listen": {ALL_POOLS: str(gateway)}}
        if gateway_tls is not None:
            wanted["tls"] = gateway_tls.model_dump(mode="json", exclude_none=True)
    elif listen:
        wanted["listen"] = {name: str(address) for name, address in sorted(listen.items())}
    if replica:
        wanted |= {"role": INGRESS, "replica": str(replica)}
    if secrets is not None:
        wanted["identity"] = secrets.to_metadata()
    admin = _socket_address(Address("127.0.0.1", admin_port))
    return {
        "node": _node(node_id, locality, wanted),
        "admin": {
            "address": admin,
            # It is looked into most when clients have taken all connections.
            "ignore_global_conn_limit": True,
        },
        "dynamic_resources": (
            _in_files(source) if isinstance(source, PurePath) else _asked(protocol)
        ),
        # An ingress would report once more what the Envoys of clients report.
        # Its reports of load begin when the control plane asks for them. With `hds_config` it also
        # tells what it sees of the health of some replicas.
        **(
            {
                "cluster_manager": {"load_stats_config": grpc_source(XDS_CLUSTER)},
                "hds_config": grpc_source(XDS_CLUSTER),
            }
            if xds and not replica
            else {}
        ),
        "static_resources": {
            "clusters": [
                *([_control_plane(xds, tls)] if xds else []),
                *([_spire_agent(spire)] if spire else []),
                *([_cluster(ADMIN_CLUSTER, admin)] if stats else []),
            ],
            **({"listeners": [stats_listener(stats)]} if stats else {}),
        },
        "stats_config": stats_config(),
        "overload_manager": {
            "refresh_interval": "0.25s",
            "resource_monitors": [_heap(max_heap), _connection_limit(max_connections)],
            # Requests in flight keep their bodies and may bring more: what is left is for them.
            "actions": [_when_heap_is("shrink_heap", 0.7), _when_heap_is(_REFUSE, 0.8)],
        },
    }


def grpc_bootstrap(
    node_id: str,
    xds: Address,
    *,
    pools: Sequence[str] = (),
    locality: Locality | None = None,
    tls: NodeTls | None = None,
) -> dict[str, Any]:
    """The bootstrap of a gRPC client without a proxy, to be written as JSON.

    Without pools it may ask for all. With TLS the control plane's certificate must be for the name
    in `xds`.
    """
    credentials: dict[str, Any] = {"type": "insecure"}
    if tls is not None:
        files = {
            "certificate_file": tls.certificate,
            "private_key_file": tls.key,
            "ca_certificate_file": tls.ca,
        }
        credentials = {"type": "tls", "config": files}
    wanted = {"pools": sorted(set(pools))} if pools else {}
    node = _node(node_id, locality, wanted)
    # Node.js refuses a bootstrap without it, and the others need none.
    node.setdefault("locality", {})
    return {
        "xds_servers": [
            {"server_uri": str(xds), "channel_creds": [credentials], "server_features": ["xds_v3"]}
        ],
        "node": node,
    }


def _node(node_id: str, locality: Locality | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    node: dict[str, Any] = {"id": node_id, "cluster": NODE_CLUSTER}
    if locality is not None:
        node["locality"] = locality.model_dump(exclude_none=True)
    node["metadata"] = {METADATA_KEY: wanted}
    return node


def _typed(extension: str, **fields: Any) -> dict[str, Any]:
    """An ``Any``; `extension` is the message's name after ``envoy.extensions.``."""
    return {"@type": f"type.googleapis.com/envoy.extensions.{extension}", **fields}


def _heap(most: int) -> dict[str, Any]:
    heap = "resource_monitors.fixed_heap.v3.FixedHeapConfig"
    return {"name": _HEAP, "typed_config": _typed(heap, max_heap_size_bytes=most)}


def _when_heap_is(action: str, full: float) -> dict[str, Any]:
    trigger = {"name": _HEAP, "threshold": {"value": full}}
    return {"name": f"envoy.overload_actions.{action}", "triggers": [trigger]}


def _connection_limit(most: int) -> dict[str, Any]:
    """Connections of clients over all listeners; further ones are closed at once."""
    monitor = "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    name = "envoy.resource_monitors.global_downstream_max_connections"
    return {"name": name, "typed_config": _typed(monitor, max_active_downstream_connections=most)}


def _asked(protocol: Protocol) -> dict[str, Any]:
    """Ask the control plane for everything, on one stream."""
    # By default an Envoy waits up to 30 s between two tries, and would stay away that much longer
    # after an outage. The server admits as many at a time as it can serve.
    retry = {"retry_back_off": {"base_interval": "0.5s", "max_interval": "5s"}}
    return {
        "ads_config": {
            "api_type": _API_TYPES[protocol],
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": retry}}],
        },
        "cds_config": {"ads": {}, "resource_api_version": "V3"},
        "lds_config": {"ads": {}, "resource_api_version": "V3"},
    }


def _in_files(folder: PurePath) -> dict[str, Any]:
    return {
        "cds_config": filesystem.source(folder, filesystem.CLUSTERS),
        "lds_config": filesystem.source(folder, filesystem.LISTENERS),
    }


def _control_plane(xds: Address, tls: NodeTls | SpireTls | None) -> dict[str, Any]:
    # A control plane that is stopped or cut off without a word is noticed within 15 s.
    options = _http2(connection_keepalive={"interval": "10s", "timeout": "5s"})
    if tls:
        # A connection shows the certificate that it began with. A stream stays on it for as long
        # as it likes; the one after it gets another connection, and shows what Envoy has by then.
        options["common_http_protocol_options"] = {"max_connection_duration": "10s"}
    cluster = _cluster(XDS_CLUSTER, _socket_address(xds), options)
    if xds.ip is None:
        # By default Envoy takes IPv6 where a name has both: localhost is ::1 then, where a control
        # plane that listens on 127.0.0.1 is not.
        cluster |= {"type": "STRICT_DNS", "dns_lookup_family": "ALL"}
    return cluster | ({"transport_socket": transport_socket(tls)} if tls else {})


def _spire_agent(socket: str) -> dict[str, Any]:
    """A SPIRE agent on the same machine, by the path of its socket."""
    return _cluster(SPIRE_CLUSTER, {"pipe": {"path": socket}}, _http2())


def _http2(**settings: Any) -> dict[str, Any]:
    http2 = {"http2_protocol_options": settings}
    return _typed(_HTTP_OPTIONS, explicit_http_config=http2)


def _cluster(
    name: str, address: dict[str, Any], options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A cluster of one endpoint that does not change."""
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    known = {"typed_extension_protocol_options": {f"envoy.extensions.{_HTTP_OPTIONS}": options}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        **(known if options is not None else {}),
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _socket_address(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


ADMIN_CLUSTER: Final = "_admin"
"""Envoy's own admin interface. No pool can have this name."""

STATS_PATH: Final = "/stats/prometheus"

_HTTP_OPTIONS: Final = "upstreams.http.v3.HttpProtocolOptions"
_MANAGER: Final = "filters.network.http_connection_manager.v3.HttpConnectionManager"

_PREFIXES: Final = (
    "access_logs.",
    "cluster_manager.",
    "control_plane.",
    "hds_delegate.",
    "listener_manager.",
    "load_reporter.",
    "overload.",
    "sds.",
    "server.",
    "tracing.",
)

_OF_CLUSTERS: Final = (
    r"upstream_rq_(total|completed|active|time|[1-5]xx|timeout|per_try_timeout|pending_active)",
    r"upstream_rq_(pending_overflow|retry|retry_success|retry_overflow|retry_limit_exceeded)",
    r"upstream_cx_(total|active|connect_fail|connect_timeout|destroy_remote_with_active_rq)",
    r"membership_(total|healthy|degraded|excluded)",
    r"outlier_detection\.ejections_\w+",
    r"health_check\.(attempt|success|failure|network_failure|healthy)",
    r"lb_healthy_panic|init_fetch_timeout",
    r"update_(attempt|success|failure|rejected|no_rebuild)",
    r"(client_|server_)?ssl\w*\.(handshake|fail_\w+|connection_error|ssl_context_update_by_sds)",
)
_OF_LISTENERS: Final = (
    r"downstream_cx_(total|active|overflow|overload_reject)",
    r"(server_)?ssl\w*\.(handshake|fail_\w+|connection_error|ssl_context_update_by_sds)",
)
_OF_HTTP: Final = (
    r"downstream_rq_(total|active|time|[1-5]xx|timeout|too_large|overload_close)",
    r"downstream_cx_(total|active)",
    r"rds\..*",
)
_CERTIFICATES: Final = r".*\.ssl\.certificate\..*\.expiration_unix_time_seconds"


def stats_config() -> dict[str, Any]:
    """The statistics that an Envoy keeps; of all others it counts nothing.

    What load reports say is counted elsewhere in Envoy, and no matcher concerns it.
    """
    patterns: list[dict[str, Any]] = [{"prefix": prefix} for prefix in _PREFIXES]
    for kind, names in (("cluster", _OF_CLUSTERS), ("listener", _OF_LISTENERS), ("http", _OF_HTTP)):
        patterns.append({"safe_regex": {"regex": rf"{kind}\..*\.({'|'.join(names)})"}})
    patterns.append({"safe_regex": {"regex": _CERTIFICATES}})
    return {"stats_matcher": {"inclusion_list": {"patterns": patterns}}}


def stats_listener(address: Address) -> dict[str, Any]:
    """A listener with nothing but the metrics: the admin interface could also stop the Envoy."""
    route = {
        "match": {
            "path": STATS_PATH,
            "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
        },
        "route": {"cluster": ADMIN_CLUSTER, "timeout": "10s"},
    }
    router = _typed("filters.http.router.v3.Router")
    manager = _typed(
        _MANAGER,
        stat_prefix=ADMIN_CLUSTER,
        request_headers_timeout="10s",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": router}],
    )
    name = "envoy.filters.network.http_connection_manager"
    return {
        "name": ADMIN_CLUSTER,
        "address": _socket_address(address),
        # Metrics matter most when clients have taken all connections.
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }
