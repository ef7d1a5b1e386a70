"""What Envoy gets where a pool's requests are parted into classes."""

from dataclasses import replace

import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest

from controlplane.config import Address, ClassMatch, HeaderMatch
from controlplane.fleet import Fleet, PutPool
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.classes import (
    Parting,
    TrafficClass,
    class_of,
    cluster_of,
    pool_of,
    retry_cluster_of,
)
from controlplane.resources.endpoints import EndpointWeight
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.resources.views import View
from tests.fleet.fleets import a_pool, after, pool_settings, put
from tests.resources.classes import by_length, parted

FAST, SLOW = EndpointWeight("tier-6", 3000), EndpointWeight("tier-8", 1000)
PORTIONS = {"p": {"a": FAST, "b": SLOW, "c": SLOW}, "q": {"x": SLOW}}
OF_P = PORTIONS["p"]
BULK = by_length(OF_P, "a")

Match = tuple[str, tuple[str, ...], str]
"""Path, headers and cluster of a route."""


def fleet() -> Fleet:
    """Pool p with replicas a, b and c, pool q with x."""
    base = a_pool(a=1, b=2, c=3)
    return after(PutPool("q", pool_settings(10001)), put("x", 5, pool="q"), fleet=base)


def built(parting: Parting | None, before: Catalog | None = None) -> Catalog:
    known = {} if parting is None else {"p": parting}
    return build(fleet(), PORTIONS, before or Catalog(), None, known)


def localities(held: Catalog, name: str) -> list[endpoint_v3.LocalityLbEndpoints]:
    resource = held.view(View()).get(ENDPOINT, name)
    assert resource is not None
    message = endpoint_v3.ClusterLoadAssignment.parse(_message(resource.packed))
    assert message.cluster_name == name
    return list(message.endpoints)


def ranks(held: Catalog, name: str) -> dict[str, int]:
    """The priority of each replica in an assignment."""
    return {
        endpoint.endpoint.hostname: locality.priority
        for locality in localities(held, name)
        for endpoint in locality.lb_endpoints
        if endpoint.endpoint
    }


def weights(held: Catalog, name: str) -> dict[str, tuple[str, int, int | None]]:
    """The tier of each replica in an assignment, its weight, and that of its locality."""
    return {
        endpoint.endpoint.hostname: (
            locality.locality.sub_zone if locality.locality else "",
            endpoint.load_balancing_weight or 0,
            locality.load_balancing_weight,
        )
        for locality in localities(held, name)
        for endpoint in locality.lb_endpoints
        if endpoint.endpoint
    }


def routes(held: Catalog, view: View, name: str) -> list[Match]:
    resource = held.view(view).get(ROUTE, name)
    assert resource is not None
    table = route_v3.RouteConfiguration.parse(_message(resource.packed))
    found = []
    for route in table.virtual_hosts[0].routes:
        assert route.match is not None
        headers = tuple(_header(header) for header in route.match.headers)
        found.append((_path(route.match), headers, route.name))
    return found


def _path(match: route_v3.RouteMatch) -> str:
    """The prefix, without what says that it ends where a segment does."""
    if match.safe_regex is None:
        return match.prefix or ""
    return match.safe_regex.regex.removesuffix("([/:].*)?")


def _header(header: route_v3.HeaderMatcher) -> str:
    if header.range_match is not None:
        return f"{header.name} {header.range_match.start}..{header.range_match.end}"
    assert header.string_match is not None
    return f"{header.name}={header.string_match.exact}"


def _message(packed: bytes) -> bytes:
    return protobuf.Any.parse(packed).value


LONG = f"content-length 800..{(1 << 50) + 1}"


def test_the_replicas_of_a_class_come_first_and_the_others_where_they_are_not_healthy() -> None:
    held = built(BULK)
    assert ranks(held, "p:bulk") == {"a": 0, "b": 1, "c": 1}
    assert ranks(held, "p") == {"a": 1, "b": 0, "c": 0}


def test_a_class_that_has_every_replica_has_no_second_priority() -> None:
    held = built(by_length(OF_P, "abc"))
    assert ranks(held, "p:bulk") == {"a": 0, "b": 0, "c": 0}


def test_a_class_none_of_whose_replicas_envoy_may_know_is_served_by_all() -> None:
    gone = TrafficClass("bulk", ClassMatch(min_bytes=1), {"z": FAST}, routed=True)
    held = built(parted(OF_P, gone, others="abc"))
    assert ranks(held, "p:bulk") == {"a": 0, "b": 0, "c": 0}


def test_a_class_has_weights_and_tiers_of_its_own_and_other_replicas_those_of_the_pool() -> None:
    of_bulk = {"a": EndpointWeight("other", 10), "b": EndpointWeight("other", 30)}
    bulk = TrafficClass("bulk", ClassMatch(min_bytes=1), of_bulk, routed=True)
    held = built(parted(OF_P, bulk, others="c"))
    assert weights(held, "p:bulk") == {
        "a": ("other", 10, 40),
        "b": ("other", 30, 40),
        "c": ("tier-8", 1000, 1000),
    }
    assert weights(held, "p")["a"] == ("tier-6", 3000, 3000)


def test_a_replica_that_moves_between_priorities_stays_in_its_locality() -> None:
    before, moved = built(BULK), built(by_length(OF_P, "ab"))
    for name in ("p", "p:bulk"):
        tiers = [
            {id_: weight[0] for id_, weight in weights(held, name).items()}
            for held in (before, moved)
        ]
        assert tiers[0] == tiers[1]


def test_one_that_drains_sends_no_part_of_its_class_elsewhere() -> None:
    bulk = by_length(OF_P, "ab")
    endpoint_weights = {"p": OF_P | {"a": replace(FAST, draining=True)}, "q": PORTIONS["q"]}
    held = build(fleet(), endpoint_weights, Catalog(), None, {"p": bulk})
    assert ranks(held, "p:bulk") == {"a": 1, "b": 0, "c": 1}
    # Where all of them drain, the others serve it.
    drained = OF_P | {id_: replace(OF_P[id_], draining=True) for id_ in "ab"}
    held = build(fleet(), {**endpoint_weights, "p": drained}, held, None, {"p": bulk})
    assert ranks(held, "p:bulk") == {"a": 0, "b": 0, "c": 1}


def test_whom_a_drain_concerns_gets_nothing_of_any_class() -> None:
    endpoint_weights = {"p": OF_P | {"a": replace(FAST, draining=True)}, "q": PORTIONS["q"]}
    held = build(fleet(), endpoint_weights, Catalog(), None, {"p": BULK})
    for name in ("p", "p:bulk"):
        statuses = {
            endpoint.endpoint.hostname: endpoint.health_status.name
            for locality in localities(held, name)
            for endpoint in locality.lb_endpoints
            if endpoint.endpoint and endpoint.health_status
        }
        assert statuses == {"a": "DRAINING"}


def test_a_class_has_a_cluster_with_endpoints_and_nothing_else() -> None:
    view = built(BULK).view(View())
    assert sorted(view.names(ENDPOINT)) == ["p", "p:bulk", "q"]
    assert sorted(view.names(CLUSTER)) == sorted(
        [*view.names(ENDPOINT), "p/retries", "p:bulk/retries", "q/retries"]
    )
    assert sorted(view.names(LISTENER)) == sorted(view.names(ROUTE)) == ["p", "q"]
    assert view.get(LISTENER, "p:bulk") is None
    assert built(None).view(View()).get(CLUSTER, "p:bulk") is None


def test_a_view_of_some_pools_has_the_classes_of_these() -> None:
    held = built(BULK)
    assert sorted(held.view(View(pools=("q",))).names(ENDPOINT)) == ["q"]
    assert held.view(View(pools=("q",))).get(CLUSTER, "p:bulk") is None
    assert sorted(held.view(View(pools=("p",))).names(ENDPOINT)) == ["p", "p:bulk"]


def test_requests_of_a_class_are_routed_to_its_cluster_and_all_others_as_before() -> None:
    assert routes(built(BULK), View(), "p") == [("/", (LONG,), "p:bulk"), ("/", (), "p")]
    assert routes(built(BULK), View(), "q") == [("/", (), "q")]


JOBS = HeaderMatch(name="x-job", value="nightly")


@pytest.mark.parametrize(
    ("match", "route"),
    [
        (ClassMatch(header=JOBS), ("/", ("x-job=nightly",))),
        (ClassMatch(prefix="/v1/batch"), ("/v1/batch", ())),
        (ClassMatch(max_bytes=10), ("/", ("content-length 0..11",))),
        (ClassMatch(min_bytes=5, max_bytes=10), ("/", ("content-length 5..11",))),
        (
            ClassMatch(header=JOBS, prefix="/x", max_bytes=1),
            ("/x", ("x-job=nightly", "content-length 0..2")),
        ),
    ],
)
def test_everything_that_a_match_says_must_hold(
    match: ClassMatch, route: tuple[str, tuple[str, ...]]
) -> None:
    held = built(parted(OF_P, TrafficClass("x", match, {"a": FAST}, routed=True), others="bc"))
    assert routes(held, View(), "p") == [(*route, "p:x"), ("/", (), "p")]


def test_classes_are_matched_in_their_order() -> None:
    matches = {"y": ClassMatch(min_bytes=800), "x": ClassMatch(prefix="/x")}
    named = (TrafficClass(name, match, {"a": FAST}, routed=True) for name, match in matches.items())
    found = routes(built(parted(OF_P, *named, others="bc")), View(), "p")
    assert [cluster for _, _, cluster in found] == ["p:y", "p:x", "p"]


def test_a_gateway_routes_them_likewise() -> None:
    gateway = View(gateway=Address("127.0.0.1", 8000))
    at_p, at_q = "x-plimsoll-pool=p", "x-plimsoll-pool=q"
    assert routes(built(BULK), gateway, "gateway") == [
        ("/", (at_p, LONG), "p:bulk"), ("/", (at_p,), "p"), ("/", (at_q,), "q"),
        ("/p/", (LONG,), "p:bulk"), ("/p/", (), "p"), ("/q/", (), "q"),
        ("/", (), ""),
    ]  # fmt: skip


def test_a_gateway_finds_a_class_by_its_path_below_the_pools_name() -> None:
    batch = TrafficClass("x", ClassMatch(prefix="/v1/batch"), {"a": FAST}, routed=True)
    held, gateway = built(parted(OF_P, batch, others="bc")), View(gateway=Address("127.0.0.1", 80))
    found = routes(held, gateway, "gateway")
    assert [(path, cluster) for path, _, cluster in found if cluster.startswith("p")] == [
        ("/v1/batch", "p:x"), ("/", "p"), ("/p/v1/batch", "p:x"), ("/p/", "p"),
    ]  # fmt: skip


def test_before_envoys_could_check_the_replicas_there_is_a_cluster_and_no_route_to_it() -> None:
    held = built(by_length(OF_P, "a", routed=False))
    assert "p:bulk" in held.view(View()).names(CLUSTER)
    assert routes(held, View(), "p") == [("/", (), "p")]


def test_what_came_and_went_is_named() -> None:
    none = built(None)
    held = built(BULK, none)
    came = held.changed_since(none.revision)
    assert came == {
        CLUSTER: frozenset({"p:bulk", "p:bulk/retries"}),
        ENDPOINT: frozenset({"p", "p:bulk"}),
        ROUTE: frozenset({"p"}),
    }  # fmt: skip
    together = built(None, held)
    assert together.changed_since(held.revision) == came
    assert sorted(together.view(View()).names(ENDPOINT)) == ["p", "q"]


def test_another_match_changes_the_route_alone() -> None:
    held = built(BULK)
    later = built(by_length(OF_P, "a", 1000), held)
    assert later.changed_since(held.revision) == {ROUTE: frozenset({"p"})}


def test_other_replicas_of_one_class_change_its_assignment_alone() -> None:
    held = built(BULK)
    bulk = replace(BULK["bulk"], endpoint_weights={"a": FAST, "b": SLOW})
    later = built(Parting((bulk, BULK[""])), held)
    assert later.changed_since(held.revision) == {ENDPOINT: frozenset({"p:bulk"})}


def test_step_by_step_it_comes_to_the_same_as_at_once() -> None:
    held = built(None)
    for parting in (BULK, by_length(OF_P, "bc"), by_length(OF_P, "b"), None, by_length(OF_P, "c")):
        held = built(parting, held)
        assert held.pools["p"].resources == built(parting).pools["p"].resources


def test_the_same_parting_is_the_same_catalog() -> None:
    held = built(BULK)
    assert built(by_length(OF_P, "a"), held) is held


@pytest.mark.parametrize("name", ["", "bulk", "retries"])
def test_a_clusters_name_says_its_pool_and_its_class(name: str) -> None:
    for cluster in (cluster_of("p", name), retry_cluster_of(cluster_of("p", name))):
        assert (pool_of(cluster), class_of(cluster)) == ("p", name)
