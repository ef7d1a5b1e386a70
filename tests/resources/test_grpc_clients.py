"""What a gRPC client is sent of a pool; what it would reject is looked at in `tests.proxyless`."""

from typing import Any, get_args

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.ring_hash.v3 as ring_hash_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.wrr_locality.v3 as wrr_locality_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest

from controlplane.balancing import Place
from controlplane.config import Address, ClassMatch, HeaderMatch, Policy, PoolSettings, validated
from controlplane.fleet import Fleet, PutPool
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.classes import OTHERS, Parting, TrafficClass
from controlplane.resources.endpoints import EndpointWeight, Spread
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, TYPE_URLS
from controlplane.resources.views import View
from tests.fleet.fleets import a_pool, after, put
from tests.resources.decoded import TIER, in_zone, placed

GRPC = View(is_grpc=True)
ILL = EndpointWeight("tier-1", 100, healthy=False)
DRAINING = EndpointWeight("tier-1", 100, draining=True)


def message(held: Catalog, type_url: str, name: str = "p", view: View = GRPC) -> bytes:
    """A resource as a client is sent it."""
    resource = held.view(view).get(type_url, name)
    assert resource is not None
    return protobuf.Any.parse(resource.packed).value


def assignment(held: Catalog, name: str = "p", view: View = GRPC) -> list[tuple[str, int, int]]:
    """The replicas in order, each with its locality's priority and weight."""
    found = endpoint_v3.ClusterLoadAssignment.parse(message(held, ENDPOINT, name, view))
    return [
        (endpoint.endpoint.hostname, item.priority, item.load_balancing_weight or 0)
        for item in found.endpoints
        for endpoint in item.lb_endpoints
        if endpoint.endpoint
    ]


def of(**endpoint_weights: EndpointWeight) -> Catalog:
    fleet, shares = placed(**endpoint_weights)
    return build(fleet, {"p": shares}, Catalog())


def pool_with(**settings: Any) -> Fleet:
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, **settings}
    return after(PutPool("p", validated(PoolSettings, body)))


def routes(held: Catalog) -> list[route_v3.Route]:
    listener = listener_v3.Listener.parse(message(held, LISTENER))
    assert listener.address is None
    assert listener.api_listener is not None
    assert listener.api_listener.api_listener is not None
    manager = hcm_v3.HttpConnectionManager.parse(listener.api_listener.api_listener.value)
    assert [item.name for item in manager.http_filters] == ["envoy.filters.http.router"]
    assert manager.route_config is not None
    (host,) = manager.route_config.virtual_hosts
    return host.routes


def policies(held: Catalog) -> list[str]:
    """The names of those that a client may choose from, those of a locality after a slash."""
    policy = cluster_v3.Cluster.parse(message(held, CLUSTER)).load_balancing_policy
    assert policy is not None
    found = []
    for each in policy.policies:
        extension = each.typed_extension_config
        assert extension is not None
        assert extension.typed_config is not None
        name = extension.name.rpartition(".")[2]
        found.append(name)
        if name == "wrr_locality":
            inner = wrr_locality_v3.WrrLocality.parse(extension.typed_config.value)
            assert inner.endpoint_picking_policy is not None
            configs = [
                item.typed_extension_config for item in inner.endpoint_picking_policy.policies
            ]
            found += [f"/{entry.name.rpartition('.')[2]}" for entry in configs if entry]
        else:
            config = ring_hash_v3.RingHash.parse(extension.typed_config.value)
            assert config.hash_function is ring_hash_v3.RingHashHashFunction.XX_HASH
    return found


def test_a_pool_has_a_listener_with_its_routes_in_it_a_cluster_and_an_assignment() -> None:
    shown = of(a=TIER).view(GRPC)
    names = {url: [*shown.names(url)] for url in TYPE_URLS}
    assert names == {LISTENER: ["p"], ROUTE: [], CLUSTER: ["p"], ENDPOINT: ["p"], SECRET: []}
    assert shown.get(ROUTE, "p") is None
    assert shown.get(CLUSTER, "p/retries") is None


def test_a_client_that_names_its_pools_sees_no_other() -> None:
    shown = of(a=TIER).view(View(pools=("other",), is_grpc=True))
    assert [shown.get(url, "p") for url in (LISTENER, CLUSTER, ENDPOINT)] == [None, None, None]


def test_calls_have_a_deadline_and_are_tried_twice_where_a_replica_is_unavailable() -> None:
    (only,) = routes(build(pool_with(route={"timeout": "7s"}), {}, Catalog()))
    assert only.route is not None
    assert only.route.cluster == "p"
    assert only.route.max_stream_duration is not None
    assert only.route.max_stream_duration.max_stream_duration is not None
    assert only.route.max_stream_duration.max_stream_duration.total_seconds() == 7
    assert only.route.retry_policy is not None
    assert (only.route.retry_policy.retry_on, only.route.retry_policy.num_retries) == (
        "unavailable",
        1,
    )


@pytest.mark.parametrize("policy", get_args(Policy))
def test_the_first_policy_that_a_client_knows_is_the_nearest_to_the_pools(policy: Policy) -> None:
    hashed = {"hash": {"header": "x-user"}} if policy in ("ring-hash", "maglev") else {}
    fleet = pool_with(balancing={"policy": policy, **hashed})
    found = policies(build(fleet, {}, Catalog()))
    if policy in ("ring-hash", "maglev"):
        assert found == ["ring_hash", "wrr_locality", "/round_robin"]
    elif policy == "round-robin":
        assert found == ["wrr_locality", "/round_robin"]
    elif policy == "client-side-weighted-round-robin":
        assert found == ["wrr_locality", "/client_side_weighted_round_robin", "/round_robin"]
    else:
        assert found == ["wrr_locality", "/least_request", "/round_robin"]


def test_a_header_is_hashed_and_nothing_else_can_be() -> None:
    for hashed, names in (({"header": "x-user"}, ["x-user"]), ({"cookie": "c"}, [])):
        fleet = pool_with(balancing={"policy": "ring-hash", "hash": hashed})
        (only,) = routes(build(fleet, {}, Catalog()))
        assert only.route is not None
        assert [item.header.header_name for item in only.route.hash_policy if item.header] == names


def test_load_is_reported_to_the_control_plane_and_as_many_calls_are_let_in_as_come() -> None:
    cluster = cluster_v3.Cluster.parse(message(of(a=TIER), CLUSTER))
    assert cluster.lrs_server is not None
    assert cluster.lrs_server.self is not None
    assert cluster.circuit_breakers is not None
    (threshold,) = cluster.circuit_breakers.thresholds
    assert (threshold.max_requests or 0) > 100_000


def test_failing_replicas_are_left_out_by_clients_that_can_do_so_without_losing_calls() -> None:
    for view in (GRPC, View(is_grpc=True, ejects=False)):
        cluster = cluster_v3.Cluster.parse(message(of(a=TIER), CLUSTER, view=view))
        assert (cluster.outlier_detection is not None) is view.ejects


def test_a_replica_that_drains_or_is_ill_is_left_out_with_its_weight() -> None:
    held = of(a=TIER, b=TIER, c=ILL, d=DRAINING)
    assert assignment(held) == [("a", 0, 200), ("b", 0, 200)]
    envoys = assignment(held, view=View())
    assert [name for name, *_ in envoys] == ["a", "b", "c", "d"]


def test_where_none_is_well_all_are_there_that_do_not_drain() -> None:
    assert [name for name, *_ in assignment(of(a=ILL, b=ILL, c=DRAINING))] == ["a", "b"]


def test_where_all_drain_all_are_there_and_look_well() -> None:
    held = of(a=DRAINING, b=DRAINING)
    assert [name for name, *_ in assignment(held)] == ["a", "b"]
    found = endpoint_v3.ClusterLoadAssignment.parse(message(held, ENDPOINT))
    (locality,) = found.endpoints
    assert [endpoint.health_status.name for endpoint in locality.lb_endpoints] == [
        "HEALTHY",
        "HEALTHY",
    ]


def test_a_pool_without_replicas_has_an_empty_assignment() -> None:
    assert assignment(build(a_pool(), {}, Catalog())) == []


@pytest.mark.parametrize("view", [GRPC, View()], ids=["grpc", "envoy"])
@pytest.mark.parametrize(("least", "counted"), [(0, True), (1, False)])
def test_only_clients_of_a_pool_that_may_be_without_replicas_count_what_finds_none(
    view: View, least: int, *, counted: bool
) -> None:
    fleet = pool_with(scaling={"min_replicas": least})
    empty = build(fleet, {}, Catalog())
    found = endpoint_v3.ClusterLoadAssignment.parse(message(empty, ENDPOINT, view=view))
    assert found.policy is not None
    assert [overload.category for overload in found.policy.drop_overloads] == ["asleep"] * counted
    held = build(after(put("a", 1), fleet=fleet), {"p": {"a": TIER}}, empty)
    found = endpoint_v3.ClusterLoadAssignment.parse(message(held, ENDPOINT, view=view))
    assert found.policy is not None
    assert found.endpoints
    assert not found.policy.drop_overloads


def test_priorities_have_no_gap_where_the_nearest_replicas_are_ill() -> None:
    fleet = pool_with(balancing={"locality": "nearest"})
    fleet = in_zone("eu", "a", "a", fleet=fleet)
    fleet = in_zone("us", "a", "c", fleet=in_zone("eu", "b", "b", fleet=fleet))
    view = View(place=Place("eu", "a"), is_grpc=True)
    shares = {"a": TIER, "b": TIER, "c": TIER}
    held = build(fleet, {"p": shares}, Catalog())
    assert [item[:2] for item in assignment(held, view=view)] == [("a", 0), ("b", 1), ("c", 2)]
    held = build(fleet, {"p": {**shares, "a": ILL}}, held)
    assert [each[:2] for each in assignment(held, view=view)] == [("b", 0), ("c", 1)]


def test_zones_get_the_parts_that_are_told_and_those_of_no_use_none() -> None:
    fleet = in_zone("eu", "a", "a", "d", fleet=pool_with(balancing={"locality": "nearest"}))
    fleet = in_zone("us", "a", "c", fleet=in_zone("eu", "b", "b", fleet=fleet))
    view = View(place=Place("eu", "a"), is_grpc=True)
    shares = dict.fromkeys("abcd", TIER)
    told = {Place("eu", "a"): {Place("eu", "a"): 0.75, Place("eu", "b"): 0.25}}
    spread = {"p": Spread({OTHERS: told})}
    held = build(fleet, {"p": shares}, Catalog(), spreads=spread)
    # A locality's weight is that of all of it.
    assert assignment(held, view=view) == [
        ("a", 0, 225), ("d", 0, 225), ("b", 0, 75), ("c", 1, 100),
    ]  # fmt: skip
    # Elsewhere distance alone says it.
    assert [item[:2] for item in assignment(held)] != [
        each[:2] for each in assignment(held, view=view)
    ]
    # Envoys go on with what they know of health; a client has it from the shares.
    lost = build(fleet, {"p": {**shares, "b": ILL}}, held, spreads=spread)
    assert assignment(lost, view=view) == [("a", 0, 200), ("d", 0, 200), ("c", 1, 100)]
    other = {"p": Spread({OTHERS: {Place("eu", "a"): {Place("eu", "a"): 1.0}}})}
    moved = build(fleet, {"p": shares}, held, spreads=other)
    assert [entry[:2] for entry in assignment(moved, view=view)] == [
        ("a", 0), ("d", 0), ("b", 1), ("c", 2),
    ]  # fmt: skip
    assert "p" in (moved.view(view).changed_since(held.revision) or {})[ENDPOINT]


def test_a_pool_that_takes_certificates_alone_has_no_replica_for_a_client() -> None:
    endpoint_weights = {"a": TIER, "b": TIER}
    before = build(
        after(put("a", 1), put("b", 2), fleet=pool_with()), {"p": endpoint_weights}, Catalog()
    )
    assert [name for name, *_ in assignment(before)] == ["a", "b"]
    fleet = after(put("a", 1), put("b", 2), fleet=pool_with(mesh={"mode": "strict"}))
    held = build(fleet, {"p": endpoint_weights}, before)
    assert assignment(held) == []
    assert "p" in (held.view(GRPC).changed_since(before.revision) or {})[ENDPOINT]


def test_where_the_policy_weighs_replicas_each_has_a_locality() -> None:
    fleet = pool_with(balancing={"policy": "weighted-least-request"})
    fleet = in_zone("eu", "a", "a", "b", fleet=fleet)
    shares = {"a": EndpointWeight("", 300), "b": EndpointWeight("", 100)}
    held = build(fleet, {"p": shares}, Catalog())
    assert assignment(held) == [("a", 0, 300), ("b", 0, 100)]
    there = held.pools["p"].in_locality("p", Place("eu", "a"), "b")
    assert there == [Address("127.0.0.1", 9000 + ord("b"))]


def test_a_client_is_told_when_a_replica_falls_ill_and_envoys_are_not() -> None:
    before = of(a=TIER, b=TIER)
    fleet, _ = placed(a=TIER, b=TIER)
    after_ = build(fleet, {"p": {"a": ILL, "b": TIER}}, before)
    changed = after_.view(GRPC).changed_since(before.revision)
    assert changed == {ENDPOINT: frozenset({"p"})}
    assert after_.view(View()).get(ENDPOINT, "p") is before.view(View()).get(ENDPOINT, "p")
    assert assignment(after_) == [("b", 0, 100)]


def parted() -> tuple[Fleet, Parting]:
    """Replicas a and b; jobs by a header go to a, long requests to b, and others to both."""
    fleet, shares = placed(a=TIER, b=TIER)
    jobs = ClassMatch(header=HeaderMatch(name="x-job", value="yes"))
    return fleet, Parting(
        (
            TrafficClass("jobs", jobs, {"a": shares["a"]}, routed=True),
            TrafficClass("bulk", ClassMatch(min_bytes=1_000), {"b": shares["b"]}, routed=True),
            TrafficClass(OTHERS, None, shares, routed=True),
        )
    )


def test_classes_by_header_have_clusters_of_their_own_and_those_by_length_no_route() -> None:
    fleet, parting = parted()
    shares = {"a": TIER, "b": TIER}
    before = build(fleet, {"p": shares}, Catalog())
    held = build(fleet, {"p": shares}, before, parting={"p": parting})
    found = [
        (route.route.cluster, len(route.match.headers))
        for route in routes(held)
        if route.route and route.match
    ]
    assert found == [("p:jobs", 1), ("p", 0)]
    assert assignment(held, "p:jobs") == [("a", 0, 100), ("b", 1, 100)]
    # The routes are in the listener.
    assert "p" in (held.view(GRPC).changed_since(before.revision) or {})[LISTENER]


def test_what_is_reported_of_a_class_belongs_to_the_replicas_that_it_uses_first() -> None:
    fleet, parting = parted()
    held = build(fleet, {"p": {"a": TIER, "b": TIER}}, Catalog(), parting={"p": parting})
    here = Place()
    addresses = {member.id: member.address for member in held.pools["p"].members}
    assert held.pools["p"].in_locality("p:jobs", here, "tier-1") == [addresses["a"]]
    assert held.pools["p"].in_locality("p", here, "tier-1") == [*addresses.values()]
    assert held.pools["p"].in_locality("p", here, "tier-2") == []
