"""The bootstrap of an Envoy without a control plane: one listener, one cluster, one policy."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from controlplane.settings import Address

CLUSTER: Final = "pool"

_POLICIES: Final = "type.googleapis.com/envoy.extensions.load_balancing_policies"
ROUND_ROBIN: Final = {"@type": f"{_POLICIES}.round_robin.v3.RoundRobin"}
TWO_CHOICES: Final = {"@type": f"{_POLICIES}.least_request.v3.LeastRequest"}
FULL_SCAN: Final = {**TWO_CHOICES, "selection_method": "FULL_SCAN"}

_UNLIMITED: Final = 1 << 20


def bootstrap(
    policy: Mapping[str, Any], replicas: Sequence[Address], listen: Address, admin: Address
) -> dict[str, Any]:
    """The bootstrap as plain data, to be written as JSON.

    Health checks and circuit breakers are those that Plimsoll gives its Envoys, so that contenders
    differ in how they choose and in nothing else that this load could show.

    Args:
        policy: The typed config of a load balancing policy.
        replicas: What to balance over.
        listen: Where it takes requests.
        admin: Where its admin interface is.
    """
    return {
        "admin": {"address": _socket_address(admin)},
        "static_resources": {
            "listeners": [_listener(listen)],
            "clusters": [_cluster(policy, replicas)],
        },
    }


def _listener(address: Address) -> dict[str, Any]:
    filters = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster": CLUSTER, "timeout": "60s"}}
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": CLUSTER,
        "route_config": {"virtual_hosts": [{"name": CLUSTER, "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{filters}.http.router.v3.Router"},
            }
        ],
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "name": CLUSTER,
        "address": _socket_address(address),
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }


def _cluster(policy: Mapping[str, Any], replicas: Sequence[Address]) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": _socket_address(address), "hostname": f"r{number}"}}
        for number, address in enumerate(replicas)
    ]
    thresholds = dict.fromkeys(
        ("max_connections", "max_pending_requests", "max_requests"), _UNLIMITED
    )
    return {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_balancing_policy": {
            "policies": [{"typed_extension_config": {"name": "policy", "typed_config": policy}}]
        },
        "circuit_breakers": {"thresholds": [thresholds]},
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "interval_jitter_percent": 10,
                "no_traffic_interval": "1s",
                "no_traffic_healthy_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/health"},
            }
        ],
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": endpoints}],
        },
    }


def _socket_address(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}
