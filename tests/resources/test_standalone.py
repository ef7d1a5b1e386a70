"""All that Envoys can be sent is in what an Envoy validates, as it is sent."""

import envoy_data_plane.envoy.config.bootstrap.v3 as bootstrap_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3

from controlplane.config import PoolSettings, validated
from controlplane.fleet import PutPool
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.endpoints import EndpointWeight
from controlplane.resources.standalone import gateway_parts, sidecar_parts, standalone
from tests.fleet.fleets import a_pool, after
from tests.resources.classes import by_length
from tests.resources.decoded import (
    catalog,
    connection_manager,
    decoded_assignment,
    decoded_cluster,
    decoded_route,
    in_zone,
)

TIER = EndpointWeight("tier-1", 100)


def parted() -> Catalog:
    """A pool of two replicas whose requests are parted by length."""
    endpoint_weights = {"a": TIER, "b": TIER}
    parting = {"p": by_length(endpoint_weights, "a")}
    return build(a_pool(a=1, b=2), {"p": endpoint_weights}, Catalog(), parting=parting)


def static(made: bytes) -> bootstrap_v3.BootstrapStaticResources:
    resources = bootstrap_v3.Bootstrap.parse(made).static_resources
    assert resources is not None
    return resources


def test_every_resource_of_a_sidecar_is_there_after_what_it_refers_to() -> None:
    assert [str(part) for part in sidecar_parts(parted())] == [
        "the cluster p",
        "the cluster p/retries",
        "the cluster p:bulk",
        "the cluster p:bulk/retries",
        "the endpoints of p",
        "the endpoints of p:bulk",
        "the listener p",
        "the routes of p",
    ]


def test_a_gateway_has_a_listener_and_routes_of_its_own() -> None:
    assert [str(part) for part in gateway_parts(parted())] == [
        "the cluster p",
        "the cluster p/retries",
        "the cluster p:bulk",
        "the cluster p:bulk/retries",
        "the listener gateway",
        "the routes of gateway",
    ]


def test_endpoints_are_there_as_each_envoy_gets_them_that_is_near_to_some() -> None:
    body = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "balancing": {"locality": "nearest"},
    }
    fleet = after(PutPool("p", validated(PoolSettings, body)))
    for region, zone, id_ in (("eu", "a", "a"), ("eu", "b", "b"), ("us", "a", "c")):
        fleet = in_zone(region, zone, id_, fleet=fleet)
    listed = [str(part) for part in sidecar_parts(catalog(fleet)) if "endpoints" in str(part)]
    assert listed == [
        "the endpoints of p",
        "the endpoints of p for Envoys in eu",
        "the endpoints of p for Envoys in eu/a",
        "the endpoints of p for Envoys in eu/b",
        "the endpoints of p for Envoys in us",
    ]


def test_a_cluster_says_what_is_sent_but_has_no_endpoints_to_ask_for() -> None:
    fleet = a_pool(a=1)
    held = static(standalone(sidecar_parts(catalog(fleet)))).clusters[0]
    sent = decoded_cluster(fleet.pool("p"))
    assert held.load_assignment is not None
    assert held.load_assignment.endpoints == []
    held.load_assignment = None
    held.type, held.eds_cluster_config = sent.type, sent.eds_cluster_config
    assert held == sent


def test_endpoints_stand_in_a_cluster_like_theirs_in_which_nobody_checks_their_health() -> None:
    fleet = a_pool(a=1, b=2)
    endpoint_weights = {"a": TIER, "b": TIER}
    held = static(standalone(sidecar_parts(catalog(fleet, TIER)))).clusters[2]
    sent = decoded_cluster(fleet.pool("p"))
    assert held.load_assignment == decoded_assignment(fleet.pool("p"), endpoint_weights)
    assert held.health_checks == []
    assert held.load_balancing_policy == sent.load_balancing_policy


def test_routes_take_the_place_of_those_that_a_listener_asks_for() -> None:
    fleet = a_pool(a=1)
    (held,) = static(standalone(sidecar_parts(catalog(fleet)))).listeners
    config = held.filter_chains[0].filters[0].typed_config
    assert config is not None
    manager = hcm_v3.HttpConnectionManager.parse(config.value)
    assert manager.route_config == decoded_route(fleet.pool("p"))
    manager.rds, manager.route_config = connection_manager("p").rds, None
    assert manager == connection_manager("p")


def test_without_resources_there_is_a_bootstrap_that_asks_for_nothing() -> None:
    made = bootstrap_v3.Bootstrap.parse(standalone(()))
    assert made.node is not None
    assert (made.node.id, made.dynamic_resources, made.admin) == ("validate", None, None)
