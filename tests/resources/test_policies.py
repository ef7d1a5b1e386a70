"""What each balancing policy is in a pool's cluster, assignment and routes."""

from datetime import timedelta
from typing import Any, get_args

import betterproto2
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 as client_side_v3  # noqa: E501 - a module's name has no shorter form
import envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 as least_request_v3  # noqa: E501 - as above
import envoy_data_plane.envoy.extensions.load_balancing_policies.maglev.v3 as maglev_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.ring_hash.v3 as ring_hash_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.round_robin.v3 as round_robin_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import Address, Policy, PoolSettings, validated
from controlplane.fleet import Fleet, Pool, PutPool
from controlplane.resources.clusters import CHOICES, FULL_SCAN_HOSTS, cluster
from controlplane.resources.endpoints import EndpointWeight
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.resources.views import View
from tests.fleet.fleets import after, put
from tests.resources.decoded import (
    catalog,
    decoded_assignment,
    decoded_cluster,
    decoded_route,
    least_request,
)

POLICIES: tuple[Policy, ...] = get_args(Policy)
COMPARING: tuple[Policy, ...] = ("capacity-tiers", "weighted-least-request", "least-request")
HASHES: tuple[dict[str, Any], ...] = (
    {"header": "x-user"},
    {"cookie": "session"},
    {"cookie": "session", "ttl": "1h"},
    {"source_address": True},
)
METHOD = least_request_v3.LeastRequestSelectionMethod


def body(policy: Policy, hashed: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    if policy in ("ring-hash", "maglev"):
        more["hash"] = hashed or HASHES[0]
    listener = {"address": "127.0.0.1:10000"}
    return {"model": "m", "listener": listener, "balancing": {"policy": policy, **more}}


def fleet_with(
    policy: Policy, count: int = 0, hashed: dict[str, Any] | None = None, **more: Any
) -> Fleet:
    put_pool = PutPool("p", validated(PoolSettings, body(policy, hashed, **more)))
    return after(put_pool, *(put(f"r{i}", 9000 + i) for i in range(count)))


def pool_with(
    policy: Policy, count: int = 0, hashed: dict[str, Any] | None = None, **more: Any
) -> Pool:
    return fleet_with(policy, count, hashed, **more).pool("p")


def config(pool: Pool, name: str, kind: type[betterproto2.Message]) -> betterproto2.Message:
    """The configuration of the one policy of a pool's cluster, which has this name."""
    policy = decoded_cluster(pool).load_balancing_policy
    assert policy is not None
    (only,) = policy.policies
    assert only.typed_extension_config is not None
    assert only.typed_extension_config.name == f"envoy.load_balancing_policies.{name}"
    packed = only.typed_extension_config.typed_config
    assert packed is not None
    assert packed.type_url == protobuf.Any.pack(kind()).type_url
    return kind.parse(packed.value)


@pytest.mark.parametrize(
    ("policy", "name", "kind"),
    [
        ("round-robin", "round_robin", round_robin_v3.RoundRobin),
        ("maglev", "maglev", maglev_v3.Maglev),
    ],
)
def test_a_policy_is_envoys_extension_of_that_name_as_envoy_has_it(
    policy: Policy, name: str, kind: type[betterproto2.Message]
) -> None:
    assert config(pool_with(policy), name, kind) == kind()


def test_a_ring_says_the_hash_that_envoy_defaults_to_and_grpc_demands() -> None:
    expected = ring_hash_v3.RingHash(hash_function=ring_hash_v3.RingHashHashFunction.XX_HASH)
    assert config(pool_with("ring-hash"), "ring_hash", ring_hash_v3.RingHash) == expected


def test_errors_that_a_replica_reports_count_as_utilisation() -> None:
    name: Policy = "client-side-weighted-round-robin"
    kind = client_side_v3.ClientSideWeightedRoundRobin
    assert config(pool_with(name), name.replace("-", "_"), kind) == kind(
        error_utilization_penalty=1.0
    )


@pytest.mark.parametrize("policy", COMPARING)
def test_the_policies_that_compare_look_at_each_of_64_and_at_a_few_of_more(policy: Policy) -> None:
    few = least_request(pool_with(policy, FULL_SCAN_HOSTS))
    many = least_request(pool_with(policy, FULL_SCAN_HOSTS + 1))
    assert few.selection_method == METHOD.FULL_SCAN
    assert (many.selection_method, many.choice_count) == (METHOD.N_CHOICES, CHOICES)


def test_only_tiers_divide_by_locality() -> None:
    by_locality = {each: least_request(pool_with(each)).locality_lb_config for each in COMPARING}
    assert [item for item, config in by_locality.items() if config] == ["capacity-tiers"]


def test_only_weighted_least_request_has_a_bias_which_is_2() -> None:
    biases = {each: least_request(pool_with(each)).active_request_bias for each in COMPARING}
    assert [item for item, bias in biases.items() if bias] == ["weighted-least-request"]
    bias = biases["weighted-least-request"]
    assert bias is not None
    assert (bias.default_value, bool(bias.runtime_key)) == (2.0, True)


@given(st.sampled_from(POLICIES), st.sampled_from(HASHES), st.integers(0, 6), st.integers(0, 6))
def test_a_cluster_depends_on_its_policy_and_not_on_its_replicas(
    policy: Policy, hashed: dict[str, Any], one: int, other: int
) -> None:
    assert cluster(pool_with(policy, one, hashed)) == cluster(pool_with(policy, other))


@pytest.mark.parametrize("policy", [item for item in POLICIES if item not in COMPARING])
def test_a_cluster_that_does_not_compare_stays_when_replicas_come(policy: Policy) -> None:
    assert cluster(pool_with(policy)) == cluster(pool_with(policy, FULL_SCAN_HOSTS))


def test_no_two_policies_are_the_same_cluster() -> None:
    assert len({cluster(pool_with(policy)) for policy in POLICIES}) == len(POLICIES)


def test_without_tiers_the_replicas_of_a_zone_are_one_locality_with_their_own_weights() -> None:
    endpoint_weights = {f"r{i}": EndpointWeight("", 10 + i) for i in range(3)}
    (only,) = decoded_assignment(pool_with("weighted-least-request", 3), endpoint_weights).endpoints
    assert only.locality is not None
    assert only.locality.sub_zone == ""
    assert [endpoint.load_balancing_weight for endpoint in only.lb_endpoints] == [10, 11, 12]


def test_another_policy_is_another_version_of_the_endpoints_as_envoy_waits_for_them() -> None:
    views = [catalog(fleet_with(policy, 2)).view(View()) for policy in POLICIES]
    for url, versions in ((CLUSTER, 7), (ENDPOINT, 7), (LISTENER, 1)):
        assert len({view.type(url)["p"].version for view in views}) == versions


def action(route: route_v3.Route) -> route_v3.RouteAction:
    assert route.route is not None
    return route.route


def said(found: list[route_v3.RouteActionHashPolicy]) -> dict[str, Any]:
    """A route's hash policy as settings would say it."""
    if not found:
        return {}
    (only,) = found
    if only.header is not None:
        return {"header": only.header.header_name}
    if only.cookie is not None:
        assert (only.cookie.ttl is None) == (only.cookie.path == "")
        ttl = {} if only.cookie.ttl is None else {"ttl": only.cookie.ttl}
        return {"cookie": only.cookie.name, **ttl}
    assert only.connection_properties is not None
    return {"source_address": only.connection_properties.source_ip}


def expected(hashed: dict[str, Any]) -> dict[str, Any]:
    return hashed | {"ttl": timedelta(hours=1)} if "ttl" in hashed else hashed


@pytest.mark.parametrize("hashed", HASHES)
@pytest.mark.parametrize("policy", ["ring-hash", "maglev"])
def test_a_route_hashes_what_the_pool_says(policy: Policy, hashed: dict[str, Any]) -> None:
    (host,) = decoded_route(pool_with(policy, hashed=hashed)).virtual_hosts
    assert said(action(host.routes[0]).hash_policy) == expected(hashed)


@pytest.mark.parametrize(
    "policy", [item for item in POLICIES if item not in ("ring-hash", "maglev")]
)
def test_a_route_of_another_policy_hashes_nothing(policy: Policy) -> None:
    (host,) = decoded_route(pool_with(policy)).virtual_hosts
    assert said(action(host.routes[0]).hash_policy) == {}


@pytest.mark.parametrize("hashed", HASHES)
def test_a_gateway_hashes_for_each_pool_what_that_pool_says(hashed: dict[str, Any]) -> None:
    other = validated(
        PoolSettings, body("round-robin") | {"listener": {"address": "127.0.0.1:10001"}}
    )
    held = catalog(after(PutPool("q", other), fleet=fleet_with("maglev", 1, hashed)))
    (resource,) = held.view(View(gateway=Address("127.0.0.1", 8000))).type(ROUTE).values()
    message = protobuf.Any.parse(resource.packed)
    (host,) = route_v3.RouteConfiguration.parse(message.value).virtual_hosts
    found = [(route.name, said(route.route.hash_policy)) for route in host.routes if route.route]
    assert found == [("p", expected(hashed)), ("q", {})] * 2


def test_a_gateways_routes_change_with_what_a_pool_hashes() -> None:
    before = catalog(fleet_with("maglev", 1))
    later = catalog(fleet_with("maglev", 1, {"cookie": "c"}), previous=before)
    changes = later.view(View(gateway=Address("127.0.0.1", 8000))).changed_since(before.revision)
    assert changes is not None
    assert changes[ROUTE] == frozenset({"gateway"})
