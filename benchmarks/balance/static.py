"""The bootstrap of an Envoy without a control plane: one listener, one cluster, one policy."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from controlplane.settings import Address

CLUSTER: Final = "pool"

_POLICIES: Final = "type.googleapis.com/envoy.extensions.load_balancing_policies"
ROUND_ROBIN: Final = {"@type": f"{_POLICIES}.round_robin.v3.RoundRobin"}
TWO_CHOICES: Final = {"@type": f"{_POLICIES}.least_request.v3.LeastRequest"}
FULL_SCAN: Final = {**TWO_CHOICES, "selection_method": "FULL_SCAN"}
CLIENT_SIDE_WEIGHTED: Final = {
    "@type": (f"{_POLICIES}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"),
    "blackout_period": "1s",
    "weight_update_period": "0.5s",
}
ORCA_SETTINGS: Final = (
    "blackout_period 1s and weight_update_period 0.5s (10 s and 1 s by default); replicas report"
    " utilization and requests per second of the last three seconds with each answer"
)

_UNLIMITED: Final = 1 << 20


def bootstrap(
    policy: Mapping[str, Any], replicas: Sequence[Address], listen: Address, admin: Address
) -> dict[str, Any]:
    """The bootstrap as plain data, to be written as JSON.

    Health checks, retries, outlier detection and circuit breakers are those that Plimsoll gives
    its Envoys, so that contenders differ in how they choose and in nothing else that this load
    could show.

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
    action = {"cluster": CLUSTER, "timeout": "60s", "retry_policy": _retry_policy()}
    route = {"match": {"prefix": "/"}, "route": action}
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
    unlimited = ("max_connections", "max_pending_requests", "max_requests")
    thresholds = {
        **dict.fromkeys(unlimited, _UNLIMITED),
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 10},
    }
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
        "common_lb_config": {"ignore_new_hosts_until_first_hc": True},
        "outlier_detection": {
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_time": "60s",
            "max_ejection_percent": 40,
            "always_eject_one_host": True,
            "consecutive_5xx": 5,
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "success_rate_minimum_hosts": 3,
            "success_rate_request_volume": 50,
            "successful_active_health_check_uneject_host": False,
        },
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": endpoints}],
        },
    }


def _retry_policy() -> dict[str, Any]:
    return {
        "retry_on": "reset,connect-failure,refused-stream,retriable-status-codes",
        "retriable_status_codes": [503],
        "num_retries": 3,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3"
                    ".PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }


def _socket_address(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}
