"""Envoy's own metrics: which of them it keeps, and where Prometheus finds them.

With every statistic an Envoy has a hundred for each cluster, and more for each listener. What is
listed here is what operators, `plimsoll load` and the dashboards ask for; docs/metrics.md says what
each means.
"""

from typing import Any, Final

from controlplane.config import Address

ADMIN_CLUSTER: Final = "_admin"
"""Envoy's own admin interface. No pool can have this name."""

STATS_PATH: Final = "/stats/prometheus"

_ROUTER: Final = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_MANAGER: Final = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    ".HttpConnectionManager"
)

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
    manager = {
        "@type": _MANAGER,
        "stat_prefix": ADMIN_CLUSTER,
        "request_headers_timeout": "10s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "name": ADMIN_CLUSTER,
        "address": _socket_address(address),
        # Metrics matter most when clients have taken all connections.
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }


def admin_cluster(port: int) -> dict[str, Any]:
    """The admin interface as a cluster, for the listener above."""
    address = _socket_address(Address("127.0.0.1", port))
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": ADMIN_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": ADMIN_CLUSTER, "endpoints": endpoints},
    }


def _socket_address(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}
