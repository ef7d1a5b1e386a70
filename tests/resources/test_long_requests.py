"""What Envoy gets where a pool's long requests go to its fast replicas."""

from dataclasses import replace

import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.fleet import Fleet, PutPool
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.long_requests import LongRequests, long_cluster, pool_of
from controlplane.resources.portion import Portion
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.resources.views import View
from controlplane.settings import Address
from tests.fleet.fleets import a_pool, after, pool_settings, put

FAST, SLOW = Portion("tier-6", 3000), Portion("tier-8", 1000)
PORTIONS = {"p": {"a": FAST, "b": SLOW, "c": SLOW}, "q": {"x": SLOW}}
LONG = LongRequests(800, frozenset({"a"}), routed=True)


def fleet() -> Fleet:
    """Pool p with replicas a, b and c, pool q with x."""
    base = a_pool(a=1, b=2, c=3)
    return after(PutPool("q", pool_settings(10001)), put("x", 5, pool="q"), fleet=base)


def built(long: LongRequests | None, before: Catalog | None = None) -> Catalog:
    known = {} if long is None else {"p": long}
    return build(fleet(), PORTIONS, before or Catalog(), None, known)


def ranks(held: Catalog, name: str) -> dict[str, int]:
    """The priority of each replica in an assignment."""
    resource = held.view(View()).get(ENDPOINT, name)
    assert resource is not None
    message = endpoint_v3.ClusterLoadAssignment.parse(_message(resource.packed))
    assert message.cluster_name == name
    return {
        endpoint.endpoint.hostname: locality.priority
        for locality in message.endpoints
        for endpoint in locality.lb_endpoints
        if endpoint.endpoint
    }


def routes(held: Catalog, view: View, name: str) -> list[tuple[str, int | None, str]]:
    """Path, bytes from which on a request matches, and the cluster of each route of a table."""
    resource = held.view(view).get(ROUTE, name)
    assert resource is not None
    table = route_v3.RouteConfiguration.parse(_message(resource.packed))
    found = []
    for route in table.virtual_hosts[0].routes:
        assert route.match is not None
        lengths = [it.range_match.start for it in route.match.headers if it.range_match]
        cluster = route.route.cluster if route.route else None
        found.append((route.match.prefix or "", lengths[0] if lengths else None, cluster or ""))
    return found


def _message(packed: bytes) -> bytes:
    return protobuf.Any.parse(packed).value


def test_the_fast_replicas_come_first_and_the_others_where_they_are_not_healthy() -> None:
    held = built(LONG)
    assert ranks(held, "p:long") == {"a": 0, "b": 1, "c": 1}
    assert ranks(held, "p") == {"a": 0, "b": 0, "c": 0}


def test_there_is_a_second_cluster_with_endpoints_and_nothing_else() -> None:
    view = built(LONG).view(View())
    assert sorted(view.names(CLUSTER)) == sorted(view.names(ENDPOINT)) == ["p", "p:long", "q"]
    assert sorted(view.names(LISTENER)) == sorted(view.names(ROUTE)) == ["p", "q"]
    assert view.get(LISTENER, "p:long") is None
    assert built(None).view(View()).get(CLUSTER, "p:long") is None


def test_a_view_of_some_pools_has_the_second_clusters_of_these() -> None:
    held = built(LONG)
    assert sorted(held.view(View(pools=("q",))).names(CLUSTER)) == ["q"]
    assert held.view(View(pools=("q",))).get(CLUSTER, "p:long") is None
    assert sorted(held.view(View(pools=("p",))).names(CLUSTER)) == ["p", "p:long"]


def test_long_requests_are_routed_there_and_all_others_as_before() -> None:
    assert routes(built(LONG), View(), "p") == [("/", 800, "p:long"), ("/", None, "p")]
    assert routes(built(LONG), View(), "q") == [("/", None, "q")]


def test_a_gateway_routes_them_likewise() -> None:
    gateway = View(gateway=Address("127.0.0.1", 8000))
    assert routes(built(LONG), gateway, "gateway") == [
        ("/", 800, "p:long"), ("/", None, "p"), ("/", None, "q"),
        ("/p/", 800, "p:long"), ("/p/", None, "p"), ("/q/", None, "q"),
        ("/", None, ""),
    ]  # fmt: skip


def test_before_envoys_could_check_the_replicas_there_is_a_cluster_and_no_route_to_it() -> None:
    held = built(replace(LONG, routed=False))
    assert "p:long" in held.view(View()).names(CLUSTER)
    assert routes(held, View(), "p") == [("/", None, "p")]


def test_what_came_and_went_is_named() -> None:
    none = built(None)
    parted = built(LONG, none)
    came = parted.changed_since(none.revision)
    assert came == {
        CLUSTER: frozenset({"p:long"}),
        ENDPOINT: frozenset({"p:long"}),
        ROUTE: frozenset({"p"}),
    }  # fmt: skip
    together = built(None, parted)
    assert together.changed_since(parted.revision) == came
    assert sorted(together.view(View()).names(CLUSTER)) == ["p", "q"]


def test_another_threshold_changes_the_route_alone() -> None:
    held = built(LONG)
    after_ = built(replace(LONG, threshold=1000), held)
    assert after_.changed_since(held.revision) == {ROUTE: frozenset({"p"})}


def test_other_fast_replicas_change_the_second_assignment_alone() -> None:
    held = built(LONG)
    after_ = built(replace(LONG, fast=frozenset({"a", "b"})), held)
    assert after_.changed_since(held.revision) == {ENDPOINT: frozenset({"p:long"})}


def test_the_same_division_is_the_same_catalog() -> None:
    held = built(LONG)
    assert built(replace(LONG), held) is held


def test_a_clusters_name_says_its_pool() -> None:
    assert pool_of(long_cluster("p")) == pool_of("p") == "p"
