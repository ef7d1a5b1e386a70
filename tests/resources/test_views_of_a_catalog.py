"""What Envoys see of one catalog by where they run and by what they are for."""

from datetime import timedelta

import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest

from controlplane.balancing import Place
from controlplane.config import Address, PoolSettings, validated
from controlplane.fleet import Fleet, PutPool
from controlplane.resources.catalog import REMEMBERED, Catalog, build, guarded
from controlplane.resources.endpoints import EndpointWeight
from controlplane.resources.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    Resource,
    Snapshot,
)
from controlplane.resources.views import View
from tests.fleet.fleets import a_pool, after, pool_settings, put
from tests.resources.decoded import TIER, catalog, in_zone

EU_A, EU_B, US = Place("eu", "a"), Place("eu", "b"), Place("us", "a")
GATEWAY = View(gateway=Address("127.0.0.1", 8000))


def spread(locality: str = "nearest", previous: Catalog | None = None) -> Catalog:
    """Replicas in two zones of one region and one of another."""
    body = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "balancing": {"locality": locality},
    }
    fleet = after(PutPool("p", validated(PoolSettings, body)))
    fleet = in_zone("eu", "a", "a", fleet=fleet)
    fleet = in_zone("eu", "b", "b", fleet=fleet)
    return catalog(in_zone("us", "a", "c", fleet=fleet), previous=previous)


def shown(held: Catalog, place: Place) -> Resource:
    return held.view(View(place=place)).type(ENDPOINT)["p"]


def priorities(resource: Resource) -> dict[Place, int]:
    message = protobuf.Any.parse(resource.packed)
    assignment = endpoint_v3.ClusterLoadAssignment.parse(message.value)
    return {
        Place(endpoint.locality.region, endpoint.locality.zone): endpoint.priority
        for endpoint in assignment.endpoints
        if endpoint.locality
    }


def test_a_pool_without_a_ready_replica_has_an_explicit_empty_assignment() -> None:
    held = build(a_pool(a=1), {}, Catalog())
    assert priorities(held.view(View()).type(ENDPOINT)["p"]) == {}


def test_an_envoy_uses_the_replicas_of_its_zone_first_where_the_pool_says_so() -> None:
    assert priorities(shown(spread(), EU_A)) == {EU_A: 0, EU_B: 1, US: 2}
    assert priorities(shown(spread(), US)) == {EU_A: 1, EU_B: 1, US: 0}


def test_where_the_pool_does_not_say_so_all_see_the_same_wherever_they_run() -> None:
    held = spread("any")
    assert shown(held, EU_A) is shown(held, US)


def test_envoys_that_see_the_same_share_the_same_bytes() -> None:
    held = spread()
    assert shown(held, EU_A) is shown(held, EU_A)
    assert shown(held, Place("asia", "x")) is shown(held, Place())
    assert shown(held, Place("eu", "x")) is not shown(held, Place())


def test_where_an_envoy_runs_is_part_of_what_its_assignments_version_says() -> None:
    held = spread()
    assert shown(held, EU_A).version != shown(held, EU_B).version


def two_pools() -> Fleet:
    return after(PutPool("q", pool_settings(10001)), put("x", 5, pool="q"), fleet=a_pool(a=1, b=2))


def routes(view: Snapshot) -> list[route_v3.Route]:
    (resource,) = view.type(ROUTE).values()
    message = protobuf.Any.parse(resource.packed)
    (host,) = route_v3.RouteConfiguration.parse(message.value).virtual_hosts
    return host.routes


def test_a_gateway_has_one_listener_and_one_table_of_routes_for_all_pools() -> None:
    view = catalog(two_pools()).view(GATEWAY)
    assert [*view.type(LISTENER)] == [*view.type(ROUTE)] == ["gateway"]
    assert [*view.type(ENDPOINT)] == ["p", "q"]
    assert [*view.type(CLUSTER)] == ["p", "p/retries", "q", "q/retries"]
    assert {route.name for route in routes(view) if route.route} == {"p", "q"}


def test_a_gateway_routes_only_to_the_pools_it_wants() -> None:
    wanted = View(pools=("q",), gateway=GATEWAY.gateway)
    view = catalog(two_pools()).view(wanted)
    assert {route.name for route in routes(view) if route.route} == {"q"}


def test_a_gateway_and_a_sidecar_share_clusters_and_endpoints() -> None:
    held = catalog(two_pools())
    for url in (CLUSTER, ENDPOINT):
        assert held.view(GATEWAY).type(url)["p"] is held.view(View()).type(url)["p"]


def test_a_gateways_routes_are_not_encoded_again_when_weights_change() -> None:
    held = catalog(two_pools())
    heavier = catalog(two_pools(), EndpointWeight(TIER.tier, TIER.weight + 1), held)
    assert heavier is not held
    assert heavier.view(GATEWAY).get(ROUTE, "gateway") is held.view(GATEWAY).get(ROUTE, "gateway")


def test_the_routes_of_a_gateway_are_among_what_a_new_pool_changes() -> None:
    held = catalog(a_pool(a=1))
    more = catalog(two_pools(), previous=held)
    changes = more.view(GATEWAY).changed_since(held.revision)
    assert changes is not None
    assert changes[ROUTE] == frozenset({"gateway"})
    assert changes.get(LISTENER, set()) <= {"gateway"}
    assert more.view(GATEWAY).get(LISTENER, "gateway") is held.view(GATEWAY).get(
        LISTENER, "gateway"
    )


def manager(resource: Resource | None) -> hcm_v3.HttpConnectionManager:
    """Of a listener."""
    assert resource is not None
    listener = listener_v3.Listener.parse(protobuf.Any.parse(resource.packed).value)
    packed = listener.filter_chains[0].filters[0].typed_config
    assert packed is not None
    return hcm_v3.HttpConnectionManager.parse(packed.value)


def test_a_gateway_lets_a_request_arrive_for_as_long_as_the_slowest_of_its_pools_would() -> None:
    slow = validated(
        PoolSettings,
        {
            "model": "m",
            "listener": {"address": "127.0.0.1:10001"},
            "route": {"timeout": "400s"},
        },
    )
    held = catalog(a_pool(a=1))
    more = catalog(after(PutPool("q", slow), fleet=a_pool(a=1)), previous=held)
    both = manager(more.view(GATEWAY).get(LISTENER, "gateway"))
    assert both.request_timeout == timedelta(seconds=400)
    changes = more.view(GATEWAY).changed_since(held.revision)
    assert changes is not None
    assert "gateway" in changes[LISTENER]
    one = View(pools=("p",), gateway=GATEWAY.gateway)
    found = manager(more.view(one).get(LISTENER, "gateway"))
    assert found.request_timeout == timedelta(seconds=60)
    sidecar = manager(more.view(View()).get(LISTENER, "q"))
    assert sidecar.request_timeout == timedelta(seconds=400)


def test_an_envoys_own_log_and_its_proxies_are_those_of_all_of_its_listeners() -> None:
    held, more = catalog(a_pool(a=1)), {"log": "json", "trusted_proxies": 2}
    sidecar = manager(held.view(View.of({"plimsoll": more})).get(LISTENER, "p"))
    to = {"role": "gateway", "listen": {"*": "127.0.0.1:1"}}
    gateway = manager(held.view(View.of({"plimsoll": {**more, **to}})).get(LISTENER, "gateway"))
    for found in (sidecar, gateway):
        assert [log.name for log in found.access_log] == ["envoy.access_loggers.stdout"]
        assert found.xff_num_trusted_hops == 2


def endpoints_changed(newer: Catalog, older: Catalog) -> set[str] | None:
    changes = newer.changed_since(older.revision)
    return None if changes is None else {*changes.get(ENDPOINT, ())}


def test_a_catalog_knows_what_changed_since_another_of_its_line() -> None:
    held = catalog(two_pools())
    one = catalog(after(put("c", 3), fleet=two_pools()), previous=held)
    two = catalog(after(put("y", 6, pool="q"), put("c", 3), fleet=two_pools()), previous=one)
    assert endpoints_changed(two, held) == {"p", "q"}
    assert endpoints_changed(two, one) == {"q"}
    assert endpoints_changed(two, two) == set()


def test_a_changed_replica_leaves_the_other_types_as_they_are() -> None:
    held = catalog(two_pools())
    changes = catalog(after(put("c", 3), fleet=two_pools()), previous=held).changed_since(
        held.revision
    )
    assert changes is not None
    assert {url for url, names in changes.items() if names} == {ENDPOINT}


@pytest.mark.parametrize(("before", "now"), [("any", "nearest"), ("nearest", "any")])
def test_that_distance_counts_from_now_on_or_no_longer_is_among_what_changed(
    before: str, now: str
) -> None:
    held = spread(before)
    after_it = spread(now, previous=held)
    assert endpoints_changed(after_it, held) == {"p"}
    assert priorities(shown(after_it, EU_A)) == priorities(shown(spread(now), EU_A))


def test_a_removed_pool_is_among_what_changed() -> None:
    held = catalog(two_pools())
    left = catalog(a_pool(a=1, b=2), previous=held).changed_since(held.revision)
    assert left == {
        CLUSTER: frozenset({"q", "q/retries"}),
        **dict.fromkeys((ENDPOINT, LISTENER, ROUTE), frozenset("q")),
    }


def test_what_changed_since_another_line_or_long_ago_is_not_known() -> None:
    held = catalog(two_pools())
    newest = held
    for step in range(REMEMBERED + 1):
        newest = catalog(two_pools(), EndpointWeight(TIER.tier, TIER.weight + 1 + step), newest)
    assert newest.changed_since(held.revision) is None
    assert newest.changed_since(catalog(two_pools()).revision) is None
    assert newest.changed_since(None) is None


@pytest.mark.parametrize("url", ["type.googleapis.com/other", ""])
def test_a_type_that_is_not_served_has_no_names(url: str) -> None:
    assert [*catalog(two_pools()).view(View()).names(url)] == []


LOGS = View(access_log="ours")


def told_over(resource: Resource) -> bool:
    """Whether a listener tells of requests over the cluster `ours`."""
    return b"ours" in resource.packed


def test_only_who_says_over_which_cluster_tells_of_requests() -> None:
    held = catalog(a_pool(a=1))
    assert not told_over(held.view(View()).type(LISTENER)["p"])
    assert told_over(held.view(LOGS).type(LISTENER)["p"])
    moved = View(listen=(("p", Address("127.0.0.1", 7)),), access_log="ours")
    assert told_over(held.view(moved).type(LISTENER)["p"])
    gateway = View(gateway=Address("127.0.0.1", 8000), access_log="ours")
    assert told_over(held.view(gateway).type(LISTENER)["gateway"])
    assert not told_over(held.view(GATEWAY).type(LISTENER)["gateway"])


def test_all_who_tell_over_the_same_cluster_share_the_same_listener_whatever_changes() -> None:
    held = catalog(a_pool(a=1))
    later = catalog(a_pool(a=1, b=2), previous=held)
    one = held.view(LOGS).type(LISTENER)["p"]
    other = later.view(View(pools=("p",), access_log="ours")).type(LISTENER)["p"]
    assert one is other
    assert one.version != held.view(View()).type(LISTENER)["p"].version


def test_clients_keep_what_they_have_of_pools_that_are_not_released() -> None:
    held = guarded(catalog(a_pool(a=1)), frozenset({"q"}))
    seen = held.view(View())
    for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
        assert seen.keeps(type_url, "p", "from before")
        assert not seen.keeps(type_url, "q", "from before")
    assert seen.keeps(CLUSTER, "p:bulk", None)
    assert seen.keeps(CLUSTER, "a pool that nobody knows", None)
    assert seen.keeps(SECRET, "p/certificate", None)
    assert not seen.keeps(SECRET, "q/certificate", None)


def test_an_assignment_without_replicas_is_nothing_to_keep() -> None:
    held = guarded(build(a_pool(a=1), {}, Catalog()), frozenset())
    empty = held.view(View()).type(ENDPOINT)["p"].version
    assert not held.view(View()).keeps(ENDPOINT, "p", empty)


def test_a_gateway_keeps_its_routes_until_all_pools_are_released() -> None:
    made = catalog(a_pool(a=1))
    some, every = (guarded(made, frozenset(item)).view(GATEWAY) for item in ({"p"}, {"p", "*"}))
    assert some.keeps(ROUTE, "gateway", None)
    assert not some.keeps(CLUSTER, "p", None)
    assert not every.keeps(ROUTE, "gateway", None)


def test_a_catalog_in_which_others_are_released_is_compared_whole() -> None:
    made = catalog(a_pool(a=1))
    other = guarded(made, frozenset())
    assert guarded(other, frozenset()) is other
    assert other.changed_since(made.revision) is None
    assert other.view(View()).keeps_any
    assert not guarded(other, None).view(View()).keeps_any
    later = build(after(put("b", 2), fleet=a_pool(a=1)), {}, other)
    assert later.released == frozenset()
