"""What a pool's assignment tells Envoy: localities are zones and tiers, weights are capacities."""

from dataclasses import replace

import envoy_data_plane.envoy.config.core.v3 as core_v3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import ReplicaSettings, validated
from controlplane.fleet import Draft, Drain, Fleet, Pool, Replicas
from controlplane.resources.endpoints import EndpointWeight
from tests.fleet.fleets import a_pool, after
from tests.resources.decoded import (
    TIER,
    a_pool_of,
    decoded_assignment,
    encoded,
    endpoints,
    in_zone,
    locality_weights,
    placed,
)


def test_a_tier_is_a_locality_of_its_own() -> None:
    fleet, endpoint_weights = placed(a=EndpointWeight("tier-1", 10), b=EndpointWeight("tier-2", 20))
    assert set(locality_weights(fleet, endpoint_weights)) == {
        ("", "", "tier-1"),
        ("", "", "tier-2"),
    }


def test_a_tier_in_two_zones_is_two_localities() -> None:
    fleet = in_zone("eu", "b", "c", fleet=in_zone("eu", "a", "a"))
    endpoint_weights = {"a": EndpointWeight("t", 10), "c": EndpointWeight("t", 10)}
    assert set(locality_weights(fleet, endpoint_weights)) == {("eu", "a", "t"), ("eu", "b", "t")}


def test_a_locality_weighs_what_its_members_weigh_together() -> None:
    fleet, endpoint_weights = placed(
        a=EndpointWeight("x", 10), b=EndpointWeight("x", 11), c=EndpointWeight("y", 7)
    )
    assert locality_weights(fleet, endpoint_weights) == {("", "", "x"): 21, ("", "", "y"): 7}


def test_drained_members_count_in_their_localitys_weight() -> None:
    fleet, endpoint_weights = placed(
        a=EndpointWeight("x", 10), b=EndpointWeight("x", 10, draining=True)
    )
    assert locality_weights(fleet, endpoint_weights) == {("", "", "x"): 20}


def test_members_of_a_tier_whose_portions_agree_have_equal_weights() -> None:
    fleet, endpoint_weights = placed(a=TIER, b=TIER, c=TIER)
    weights = {
        endpoint.load_balancing_weight for endpoint in endpoints(fleet, endpoint_weights).values()
    }
    assert weights == {TIER.weight}


def test_a_replica_that_lost_a_tenth_of_its_locality_does_not_spill_over() -> None:
    policy = decoded_assignment(a_pool_of(1), {"r0": TIER}).policy
    assert policy is not None
    assert policy.overprovisioning_factor == 100


def test_an_assignment_is_its_clusters() -> None:
    assert decoded_assignment(a_pool_of(1), {"r0": TIER}).cluster_name == "p"


def test_a_pool_without_replicas_has_an_assignment_without_endpoints() -> None:
    assert decoded_assignment(a_pool_of(0), {}).endpoints == []


def test_a_replica_without_a_portion_is_left_out() -> None:
    assert set(endpoints(a_pool(a=1, b=2), {"a": TIER})) == {"a"}


def test_a_portion_without_a_replica_is_left_out() -> None:
    assert set(endpoints(a_pool(a=1), {"a": TIER, "gone": TIER})) == {"a"}


def test_a_replica_that_may_have_requests_leaves_its_health_to_checks() -> None:
    found = endpoints(a_pool(a=1), {"a": TIER})["a"]
    assert found.health_status == core_v3.HealthStatus.UNKNOWN


def test_a_replica_that_the_weighing_cut_is_draining() -> None:
    found = endpoints(a_pool(a=1), {"a": EndpointWeight("tier-1", 1, draining=True)})["a"]
    assert found.health_status == core_v3.HealthStatus.DRAINING


def test_a_replica_that_an_operator_drained_is_draining() -> None:
    found = endpoints(after(Drain("p", "a"), fleet=a_pool(a=1)), {"a": TIER})["a"]
    assert found.health_status == core_v3.HealthStatus.DRAINING


@pytest.mark.parametrize("host", ["10.0.0.1", "[2001:db8::1]"])
def test_an_endpoint_is_at_its_replicas_address(host: str) -> None:
    settings_ = validated(ReplicaSettings, {"address": f"{host}:9001"})
    fleet = a_pool(a=1)
    replica = fleet.pool("p").replica("a")
    draft = Draft(fleet)
    draft.put_replicas("p", {"a": replace(replica, settings=settings_)})
    endpoint = endpoints(draft.fleet, {"a": TIER})["a"].endpoint
    assert endpoint is not None
    assert endpoint.address is not None
    assert endpoint.address.socket_address is not None
    assert endpoint.address.socket_address.address == host.strip("[]")
    assert endpoint.address.socket_address.port_value == 9001


def test_a_weight_above_what_envoy_can_hold_is_an_error_and_not_a_wrong_weight() -> None:
    fleet, endpoint_weights = placed(a=EndpointWeight("x", 1 << 32))
    with pytest.raises(ValueError, match=r"\w"):
        encoded(fleet.pool("p"), endpoint_weights)


PORTIONS = st.builds(
    EndpointWeight, st.sampled_from(["tier-0", "tier-1"]), st.integers(1, 1 << 20), st.booleans()
)


@st.composite
def shuffled(
    draw: st.DrawFn,
) -> tuple[Pool, dict[str, EndpointWeight], Pool, dict[str, EndpointWeight]]:
    """A pool with portions, and the same again in another order."""
    endpoint_weights = draw(st.dictionaries(st.sampled_from("abcdef"), PORTIONS, max_size=6))
    fleet: Fleet = in_zone("eu", "a", *[id_ for id_ in endpoint_weights if id_ < "d"])
    pool = in_zone("eu", "b", *[id_ for id_ in endpoint_weights if id_ >= "d"], fleet=fleet).pool(
        "p"
    )
    other = Pool(
        pool.name,
        pool.settings,
        pool.source,
        Replicas(dict(draw(st.permutations(list(pool.replicas.items()))))),
    )
    return (
        pool,
        endpoint_weights,
        other,
        dict(draw(st.permutations(list(endpoint_weights.items())))),
    )


@given(shuffled())
def test_the_order_of_what_is_given_does_not_matter(
    both: tuple[Pool, dict[str, EndpointWeight], Pool, dict[str, EndpointWeight]],
) -> None:
    pool, endpoint_weights, other, reordered = both
    assert encoded(pool, endpoint_weights) == encoded(other, reordered)


@given(shuffled())
def test_every_replica_with_a_portion_is_in_exactly_one_locality(
    both: tuple[Pool, dict[str, EndpointWeight], Pool, dict[str, EndpointWeight]],
) -> None:
    pool, endpoint_weights, _, _ = both
    ids = [
        endpoint.endpoint.hostname
        for locality in decoded_assignment(pool, endpoint_weights).endpoints
        for endpoint in locality.lb_endpoints
        if endpoint.endpoint
    ]
    assert sorted(ids) == sorted(endpoint_weights)
