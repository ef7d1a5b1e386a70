"""What Envoys get of a class that goes through gateways: sidecars the way there, gateways none."""

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.clusters.aggregate.v3 as aggregate_v3
import envoy_data_plane.envoy.extensions.filters.http.health_check.v3 as health_check_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.config import Address, PoolSettings, validated
from controlplane.fleet import PutPool
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.resource import CLUSTER, LISTENER, ROUTE, Resource, Snapshot
from controlplane.resources.routes import POOL_HEADER
from controlplane.resources.views import View
from tests.fleet.fleets import after, put
from tests.resources.classes import by_length
from tests.resources.decoded import TIER

WHERE = [Address("10.0.0.5", 10100), Address("10.0.0.6", 10100)]
SIDECAR, GATEWAY = View(), View(gateway=WHERE[0])
VIA, GATEWAYS = "p:bulk/via", "p:bulk/gateways"


def held(gateways: int, previous: Catalog | None = None) -> Catalog:
    """Two replicas, of which one is for bulk, which goes through so many gateways."""
    via = [str(each) for each in WHERE[:gateways]]
    body = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "balancing": {"long_requests_via": via},
    }
    fleet = after(PutPool("p", validated(PoolSettings, body)), put("a", 9001), put("b", 9002))
    weights = {"a": TIER, "b": TIER}
    parting = {"p": by_length(weights, ["b"])}
    return build(fleet, {"p": weights}, previous or Catalog(), None, parting)


def value(resource: Resource | None) -> bytes:
    assert resource is not None
    return protobuf.Any.parse(resource.packed).value


def cluster(snapshot: Snapshot, name: str) -> cluster_v3.Cluster:
    return cluster_v3.Cluster.parse(value(snapshot.get(CLUSTER, name)))


def first_clusters(snapshot: Snapshot) -> list[tuple[str, list[str], bytes]]:
    """Of each of the sidecar's routes: its name, its headers, and all of it encoded."""
    message = route_v3.RouteConfiguration.parse(value(snapshot.get(ROUTE, "p")))
    (host,) = message.virtual_hosts
    return [
        (each.name, [header.name for header in each.match.headers if each.match], bytes(each))
        for each in host.routes
        if each.match
    ]


def test_sidecars_have_a_cluster_of_the_gateways_with_the_replicas_behind_it() -> None:
    snapshot = held(2).view(SIDECAR)
    via, there = cluster(snapshot, VIA), cluster(snapshot, GATEWAYS)
    assert via.cluster_type is not None
    assert via.cluster_type.typed_config is not None
    config = aggregate_v3.ClusterConfig.parse(via.cluster_type.typed_config.value)
    assert config.clusters == [GATEWAYS, "p:bulk"]
    assert there.load_assignment is not None
    (locality,) = there.load_assignment.endpoints
    assert [
        (at.socket_address.address, at.socket_address.port_value)
        for each in locality.lb_endpoints
        if each.endpoint and (at := each.endpoint.address) and at.socket_address
    ] == [(each.host, each.port) for each in WHERE]
    # One healthy gateway of two is enough for all.
    assert there.load_assignment.policy is not None
    assert there.load_assignment.policy.overprovisioning_factor == 200
    # What gateways answer is the replicas' fault.
    assert there.outlier_detection is None
    assert [
        each.http_health_check.path for each in there.health_checks if each.http_health_check
    ] == ["/.plimsoll/p"]


def test_gateways_have_neither_cluster_and_so_no_way_back() -> None:
    snapshot = held(1).view(GATEWAY)
    assert not {VIA, GATEWAYS} & {*snapshot.names(CLUSTER)}
    assert snapshot.get(CLUSTER, VIA) is None
    assert {"p", "p:bulk", "p:bulk/retries"} <= {*snapshot.names(CLUSTER)}
    assert VIA.encode() not in value(snapshot.get(ROUTE, "gateway"))


def test_a_request_that_says_its_pool_goes_straight_to_the_replicas() -> None:
    through, straight, others = first_clusters(held(1).view(SIDECAR))
    assert (through[0], straight[0], others[0]) == ("p:bulk", "p:bulk", "p")
    assert through[1] == ["content-length", POOL_HEADER]
    assert straight[1] == ["content-length"]
    assert VIA.encode() in through[2]
    assert VIA.encode() not in straight[2] + others[2]


def test_without_gateways_nothing_of_it_is_there() -> None:
    snapshot = held(0).view(SIDECAR)
    assert not [name for name in snapshot.names(CLUSTER) if "via" in name or "gateways" in name]
    assert [name for name, _, _ in first_clusters(snapshot)] == ["p:bulk", "p"]


def manager(catalog: Catalog, view: View, name: str) -> hcm_v3.HttpConnectionManager:
    listener = listener_v3.Listener.parse(value(catalog.view(view).get(LISTENER, name)))
    config = listener.filter_chains[0].filters[0].typed_config
    assert config is not None
    return hcm_v3.HttpConnectionManager.parse(config.value)


def test_a_gateway_answers_for_the_pools_whose_sidecars_ask() -> None:
    asked, router = manager(held(1), GATEWAY, "gateway").http_filters
    assert (asked.name, router.name) == (
        "envoy.filters.http.health_check",
        "envoy.filters.http.router",
    )
    assert asked.typed_config is not None
    check = health_check_v3.HealthCheck.parse(asked.typed_config.value)
    assert [*check.cluster_min_healthy_percentages] == ["p"]
    assert len(manager(held(0), GATEWAY, "gateway").http_filters) == 1
    assert len(manager(held(1), SIDECAR, "p").http_filters) == 1


def test_a_gateway_learns_that_it_is_asked_when_the_pool_names_it() -> None:
    before = held(0)
    after_ = held(1, before)
    changed = after_.view(GATEWAY).changed_since(before.revision)
    assert changed is not None
    assert changed[LISTENER] == {"gateway"}
