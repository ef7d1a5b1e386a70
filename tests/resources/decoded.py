"""Pools with portions for the tests, and what their encoded resources say when decoded."""

from typing import Any

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 as least_request_v3  # noqa: E501 - a module's name has no shorter form

from controlplane.config import Address, PoolSettings, validated
from controlplane.fleet import Fleet, Pool, PutPool
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.clusters import cluster
from controlplane.resources.endpoints import EndpointWeight, assignment, members
from controlplane.resources.listeners import Downstream, listener
from controlplane.resources.routes import route_configuration
from tests.fleet.fleets import a_pool, after, put

TIER = EndpointWeight("tier-1", 100)


def a_pool_of(count: int) -> Pool:
    return a_pool(**{f"r{i}": 9000 + i for i in range(count)}).pool("p")


def a_pool_with(**settings: object) -> Pool:
    """A pool with these settings beside those it cannot be without."""
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, **settings}
    return after(PutPool("p", validated(PoolSettings, body))).pool("p")


def placed(**endpoint_weights: EndpointWeight) -> tuple[Fleet, dict[str, EndpointWeight]]:
    """A pool with a replica for each portion, on ports from 9000."""
    return a_pool(**{id_: 9000 + i for i, id_ in enumerate(endpoint_weights)}), endpoint_weights


def in_zone(region: str, zone: str, *ids: str, fleet: Fleet | None = None) -> Fleet:
    """The fleet with these replicas in a zone, on ports that their ids determine."""
    locality = {"region": region, "zone": zone}
    return after(
        *(put(id_, 9000 + ord(id_), locality=locality) for id_ in ids),
        fleet=a_pool() if fleet is None else fleet,
    )


def decoded_cluster(pool: Pool) -> cluster_v3.Cluster:
    return cluster_v3.Cluster.parse(cluster(pool))


def least_request(pool: Pool) -> least_request_v3.LeastRequest:
    """The one load-balancing policy of a pool's cluster."""
    policy = decoded_cluster(pool).load_balancing_policy
    assert policy is not None
    (only,) = policy.policies
    assert only.typed_extension_config is not None
    assert only.typed_extension_config.typed_config is not None
    return least_request_v3.LeastRequest.parse(only.typed_extension_config.typed_config.value)


def encoded(pool: Pool, endpoint_weights: dict[str, EndpointWeight]) -> bytes:
    """A pool's assignment."""
    return assignment(pool.name, members(pool, endpoint_weights))


def decoded_assignment(
    pool: Pool, endpoint_weights: dict[str, EndpointWeight]
) -> endpoint_v3.ClusterLoadAssignment:
    return endpoint_v3.ClusterLoadAssignment.parse(encoded(pool, endpoint_weights))


def endpoints(
    fleet: Fleet, endpoint_weights: dict[str, EndpointWeight], sub_zone: str = "tier-1"
) -> dict[str, endpoint_v3.LbEndpoint]:
    """The endpoints of one tier by replica id."""
    return {
        endpoint.endpoint.hostname: endpoint
        for locality in decoded_assignment(fleet.pool("p"), endpoint_weights).endpoints
        if locality.locality and locality.locality.sub_zone == sub_zone
        for endpoint in locality.lb_endpoints
        if endpoint.endpoint
    }


def locality_weights(
    fleet: Fleet, endpoint_weights: dict[str, EndpointWeight]
) -> dict[tuple[str, str, str], int | None]:
    """The weight of each locality by region, zone and sub-zone."""
    return {
        (
            endpoint.locality.region,
            endpoint.locality.zone,
            endpoint.locality.sub_zone,
        ): endpoint.load_balancing_weight
        for endpoint in decoded_assignment(fleet.pool("p"), endpoint_weights).endpoints
        if endpoint.locality
    }


def decoded_listener(
    name: str,
    address: Address,
    downstream: Downstream = Downstream(),  # noqa: B008 - it is a value
) -> listener_v3.Listener:
    return listener_v3.Listener.parse(listener(name, address, downstream))


def connection_manager(
    name: str,
    access_log: str | None = None,
    **more: Any,
) -> hcm_v3.HttpConnectionManager:
    """The one filter of a pool's listener; `more`: of its `Downstream`."""
    downstream = Downstream(access_log, **more)
    found = decoded_listener(name, Address("127.0.0.1", 1), downstream)
    ((only,),) = [chain.filters for chain in found.filter_chains]
    assert only.typed_config is not None
    return hcm_v3.HttpConnectionManager.parse(only.typed_config.value)


def decoded_route(pool: Pool) -> route_v3.RouteConfiguration:
    return route_v3.RouteConfiguration.parse(route_configuration(pool))


def catalog(
    fleet: Fleet, endpoint_weight: EndpointWeight = TIER, previous: Catalog | None = None
) -> Catalog:
    """The catalog in which every replica has the same portion."""
    endpoint_weights = {
        name: dict.fromkeys(pool.replicas, endpoint_weight) for name, pool in fleet.pools.items()
    }
    return build(fleet, endpoint_weights, Catalog() if previous is None else previous)
