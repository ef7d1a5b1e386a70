"""Real Envoys and resources that no Envoy accepts: the last good ones stay, all others are new.

Plimsoll builds no such resources, so here the server is given them; a later Envoy may well find
fault with what this one accepts.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest

from controlplane.config import PoolSettings, validated
from controlplane.fleet import Command, PutPool
from controlplane.resources.bootstrap import Protocol
from controlplane.resources.endpoints import EndpointWeight
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from controlplane.xds import Rejected
from tests.envoy.load import load
from tests.envoy.pools import HEALTH_CHECK, PROTOCOLS, serves
from tests.features.xds import serving
from tests.fleet.fleets import after, put
from tests.processes import Envoy, free_port, sidecar, until
from tests.replica import replica
from tests.resources.decoded import catalog
from tests.xds.snapshots import Fixed

Made: TypeAlias = dict[str, dict[str, Resource]]
"""By type URL and name."""

NAMES: Final = ("a", "bad", "c")
"""The bad one has others before and after it."""

TYPES: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE)


def good(ports: Mapping[str, int], backend: int, edition: int) -> Made:
    """Three pools whose clusters, endpoints and routes say which edition they are of."""
    commands: list[Command] = []
    for name in NAMES:
        body = {
            "model": "m",
            "listener": {"address": f"127.0.0.1:{ports[name]}"},
            "health_check": HEALTH_CHECK | {"interval": f"{200 + edition}ms"},
            "route": {"timeout": f"{10 + edition}s"},
        }
        commands.append(PutPool(name, validated(PoolSettings, body)))
        commands.append(put("r0", backend, pool=name))
    fleet = after(*commands)
    made = catalog(fleet, EndpointWeight("tier-1", 100 + edition))
    return {url: {name: made.pools[name].resources[url][0] for name in NAMES} for url in TYPES}


async def editions(envoy: Envoy, type_url: str) -> dict[str, int]:
    """Of which edition each resource is that Envoy uses."""
    if type_url == ENDPOINT:
        hosts = {name: await envoy.hosts(name) for name in NAMES}
        return {name: host["r0"]["weight"] - 100 for name, host in hosts.items() if host}
    if type_url == CLUSTER:
        found = await envoy.admin("/config_dump?resource=dynamic_active_clusters")
        clusters = [config["cluster"] for config in found.get("configs", [])]
        return {
            cluster["name"]: round(seconds(cluster["health_checks"][0]["interval"]) * 1000) - 200
            for cluster in clusters
        }
    found = await envoy.admin("/config_dump?resource=dynamic_route_configs")
    routes = [config["route_config"] for config in found.get("configs", [])]
    return {
        route["name"]: round(seconds(route["virtual_hosts"][0]["routes"][0]["route"]["timeout"]))
        - 10
        for route in routes
    }


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def without_threshold(encoded: bytes) -> bytes:
    """A cluster that breaks a constraint of its message: Envoy does not say whose it is."""
    message = cluster_v3.Cluster.parse(encoded)
    message.health_checks[0].unhealthy_threshold = None
    return bytes(message)


def with_unknown_policy(encoded: bytes) -> bytes:
    """A cluster with a policy that Envoy does not have: it says of which cluster."""
    message = cluster_v3.Cluster.parse(encoded)
    assert message.load_balancing_policy is not None
    extension = message.load_balancing_policy.policies[0].typed_extension_config
    assert extension is not None
    extension.name = "nobody.has.this"
    extension.typed_config = protobuf.Any(type_url="type.googleapis.com/nobody.has.This")
    return bytes(message)


def with_a_name_for_an_address(encoded: bytes) -> bytes:
    """An assignment with an endpoint that Envoy would have to look up: it does not say whose."""
    message = endpoint_v3.ClusterLoadAssignment.parse(encoded)
    endpoint = message.endpoints[0].lb_endpoints[0].endpoint
    assert endpoint is not None
    assert endpoint.address is not None
    assert endpoint.address.socket_address is not None
    endpoint.address.socket_address.address = "nowhere"
    return bytes(message)


def without_domains(encoded: bytes) -> bytes:
    """A route that breaks a constraint of its message."""
    message = route_v3.RouteConfiguration.parse(encoded)
    message.virtual_hosts[0].domains = []
    return bytes(message)


@pytest.mark.parametrize(
    ("protocol", "type_url", "spoilt"),
    [
        *((protocol, CLUSTER, without_threshold) for protocol in PROTOCOLS),
        ("delta", CLUSTER, with_unknown_policy),
        *((protocol, ENDPOINT, with_a_name_for_an_address) for protocol in PROTOCOLS),
        *((protocol, ROUTE, without_domains) for protocol in PROTOCOLS),
    ],
)
async def test_a_bad_resource_is_rejected_once_and_all_others_are_taken(
    tmp_path: Path, protocol: Protocol, type_url: str, spoilt: Callable[[bytes], bytes]
) -> None:
    ports = {name: free_port() for name in NAMES}
    async with replica() as only, serving(None) as plane:

        def made(edition: int, bad: Resource) -> Fixed:
            """All resources of one type in an edition, but for the bad one."""
            resources = good(ports, only.port, 0)
            resources[type_url] = good(ports, only.port, edition)[type_url] | {"bad": bad}
            return Fixed(resources)

        def of(edition: int) -> Resource:
            return good(ports, only.port, edition)[type_url]["bad"]

        message = protobuf.Any.parse(of(1).packed).value
        rejected = Resource.of(type_url, "bad", spoilt(message))
        plane.show(made(0, of(0)))
        async with sidecar(
            tmp_path, plane.address, NAMES, protocol=protocol, unmoved=ports
        ) as envoy:
            await until("Envoy serves all", lambda: serves(envoy, *NAMES))

            async def has(a: int, bad: int, c: int) -> bool:
                return await editions(envoy, type_url) == {"a": a, "bad": bad, "c": c}

            async with load(envoy, "a", 1) as statuses, load(envoy, "bad", 1) as of_bad:
                plane.show(made(1, rejected))
                await until("the others are taken", lambda: has(1, 0, 1))

                def reported() -> list[Rejected]:
                    return [event for _, event in plane.events if isinstance(event, Rejected)]

                async def is_reported() -> bool:
                    return bool(reported()) and reported()[-1].names == ("bad",)

                await until("it is named", is_reported)
                before = len(reported())
                plane.show(made(2, rejected))
                await until("what is new of the others is taken", lambda: has(2, 0, 2))
                assert len(reported()) == before
                plane.show(made(3, of(3)))
                await until("it is taken once it is right", lambda: has(3, 3, 3))
            assert (set(statuses), set(of_bad)) == ({200}, {200})
