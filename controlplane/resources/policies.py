"""The load-balancing policy of a pool's cluster: by what Envoy chooses a host.

An assignment has a locality for each tier of capacity tiers, and one for each zone otherwise. Their
weights count with capacity tiers, and with all policies where zones matter (`locality: nearest`).
Priorities count with all.
"""

from typing import Final

import betterproto2
import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 as client_side_v3  # noqa: E501 - a module's name has no shorter form
import envoy_data_plane.envoy.extensions.load_balancing_policies.common.v3 as lb_common_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 as least_request_v3  # noqa: E501 - as above
import envoy_data_plane.envoy.extensions.load_balancing_policies.maglev.v3 as maglev_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.ring_hash.v3 as ring_hash_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.round_robin.v3 as round_robin_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.wrr_locality.v3 as wrr_locality_v3

from controlplane.config import COMPARING, Policy
from controlplane.fleet import Pool
from controlplane.resources.messages import lb_policy

FULL_SCAN_HOSTS: Final = 64
"""Up to so many replicas Envoy looks at each of them for every request; above, at a few."""

CHOICES: Final = 4
"""How many hosts Envoy compares in a larger pool."""

BIAS: Final = 2.0
"""With unequal weights Envoy follows a schedule, in which a host comes later the more requests it
had in flight when it was last picked: its weight is divided by this power of them."""

BIAS_KEY: Final = "plimsoll.active_request_bias"
"""Where an Envoy's own runtime settings could change it; the message must name a key."""


def is_scanned(pool: Pool) -> bool:
    """Whether Envoy looks at every replica for every request, where the policy compares them."""
    return len(pool.replicas) <= FULL_SCAN_HOSTS


def load_balancing_policy(pool: Pool) -> cluster_v3.LoadBalancingPolicy:
    """The message; of the replicas it depends on nothing but `is_scanned`."""
    balancing = pool.settings.balancing
    policy, is_near = balancing.policy, balancing.locality == "nearest"
    extension = "least_request" if policy in COMPARING else policy.replace("-", "_")
    is_weighted = is_near or policy == "capacity-tiers"
    config = _config(policy, full_scan=is_scanned(pool), weighs_localities=is_weighted)
    found = _only(extension, config)
    if is_near and policy == "client-side-weighted-round-robin":
        # It knows no localities of its own.
        return _only("wrr_locality", wrr_locality_v3.WrrLocality(endpoint_picking_policy=found))
    return found


def taking_turns() -> cluster_v3.LoadBalancingPolicy:
    """The policy by which replicas take turns, each as often as its weight says."""
    return _only("round_robin", round_robin_v3.RoundRobin())


def client_side() -> client_side_v3.ClientSideWeightedRoundRobin:
    """The policy by which replicas say themselves how busy they are."""
    # Documented as Envoy's default, but its code takes 0: errors would look fast.
    return client_side_v3.ClientSideWeightedRoundRobin(error_utilization_penalty=1.0)


def ring_hash(
    weighted: lb_common_v3.LocalityLbConfigLocalityWeightedLbConfig | None = None,
) -> ring_hash_v3.RingHash:
    """The policy by which what has the same hash goes to the same replica.

    `weighted` has localities get as much as their weights say; gRPC always does.
    """
    return ring_hash_v3.RingHash(
        # What Envoy does by default, and the only one that gRPC takes.
        hash_function=ring_hash_v3.RingHashHashFunction.XX_HASH,
        locality_weighted_lb_config=weighted,
    )


def _only(extension: str, config: betterproto2.Message) -> cluster_v3.LoadBalancingPolicy:
    return cluster_v3.LoadBalancingPolicy(policies=[lb_policy(extension, config)])


def _config(policy: Policy, *, full_scan: bool, weighs_localities: bool) -> betterproto2.Message:
    weighted = lb_common_v3.LocalityLbConfigLocalityWeightedLbConfig()
    by_locality, by_hash = None, None
    if weighs_localities:
        by_locality = lb_common_v3.LocalityLbConfig(locality_weighted_lb_config=weighted)
        by_hash = weighted
    match policy:
        case "round-robin":
            return round_robin_v3.RoundRobin(locality_lb_config=by_locality)
        case "client-side-weighted-round-robin":
            return client_side()
        case "ring-hash":
            return ring_hash(by_hash)
        case "maglev":
            return maglev_v3.Maglev(locality_weighted_lb_config=by_hash)
    method = least_request_v3.LeastRequestSelectionMethod
    config = least_request_v3.LeastRequest(
        choice_count=None if full_scan else CHOICES,
        selection_method=method.FULL_SCAN if full_scan else method.N_CHOICES,
        locality_lb_config=by_locality,
    )
    if policy == "weighted-least-request":
        config.active_request_bias = core_v3.RuntimeDouble(default_value=BIAS, runtime_key=BIAS_KEY)
    return config
