"""The bootstrap of an Envoy without a control plane: one listener, one policy, a cluster or two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from controlplane.config import Address

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


@dataclass(frozen=True, slots=True)
class Tier:
    """A locality of replicas that carry as much as each other.

    Attributes:
        name: Its sub-zone.
        priority: 0 is first.
        weight: Its part of the requests of its priority.
        members: Numbers of replicas.
    """

    name: str
    priority: int
    weight: float
    members: Sequence[int]


@dataclass(frozen=True, slots=True)
class Part:
    """A class of requests, with a cluster of its own.

    Attributes:
        name: ``""`` is what no other takes.
        min_bytes: Bodies of so many bytes or more; of no meaning for ``""``.
        tiers: Where they go.
    """

    name: str
    min_bytes: float
    tiers: Sequence[Tier]

    @property
    def cluster(self) -> str:
        """The name of its cluster."""
        return f"{CLUSTER}:{self.name}" if self.name else CLUSTER


def bootstrap(
    policy: Mapping[str, Any],
    replicas: Sequence[Address],
    listen: Address,
    admin: Address,
    parts: Sequence[Part] = (),
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
        parts: Of requests, in the order in which they are matched; none: all go anywhere.
    """
    whole = [Tier("", 0, 1, range(len(replicas)))]
    parts = parts or [Part("", 0, whole)]
    return {
        "admin": {"address": _socket_address(admin)},
        "static_resources": {
            "listeners": [_listener(listen, parts)],
            "clusters": [_cluster(policy, replicas, part) for part in parts],
        },
    }


def _listener(address: Address, parts: Sequence[Part]) -> dict[str, Any]:
    filters = "type.googleapis.com/envoy.extensions.filters"
    routes = [
        {
            "match": _match(part),
            "route": {"cluster": part.cluster, "timeout": "60s", "retry_policy": _retry_policy()},
        }
        for part in parts
    ]
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": CLUSTER,
        "route_config": {"virtual_hosts": [{"name": CLUSTER, "domains": ["*"], "routes": routes}]},
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


def _match(part: Part) -> dict[str, Any]:
    if not part.name:
        return {"prefix": "/"}
    sizes = {"start": ceil(part.min_bytes), "end": 2**62}
    return {"prefix": "/", "headers": [{"name": "content-length", "range_match": sizes}]}


def _cluster(policy: Mapping[str, Any], replicas: Sequence[Address], part: Part) -> dict[str, Any]:
    total = sum(tier.weight for tier in part.tiers)
    localities = [
        {
            "locality": {"sub_zone": tier.name},
            "priority": tier.priority,
            "load_balancing_weight": max(round(10_000 * tier.weight / total), 1),
            "lb_endpoints": [_endpoint(number, replicas[number]) for number in tier.members],
        }
        for tier in part.tiers
    ]
    if len(localities) > 1:
        policy = {**policy, "locality_lb_config": {"locality_weighted_lb_config": {}}}
    unlimited = ("max_connections", "max_pending_requests", "max_requests")
    thresholds = {
        **dict.fromkeys(unlimited, _UNLIMITED),
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 10},
    }
    return {
        "name": part.cluster,
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
        "load_assignment": {"cluster_name": part.cluster, "endpoints": localities},
    }


def _endpoint(number: int, address: Address) -> dict[str, Any]:
    return {"endpoint": {"address": _socket_address(address), "hostname": f"r{number}"}}


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
