"""A node that may have one pool gets nothing of another, however it asks and whatever it says."""

import asyncio
from collections.abc import Iterator
from typing import Any

import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import pytest

from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import PutPool, PutReplica
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, TYPE_URLS
from controlplane.resources.views import View
from controlplane.xds import AGGREGATED, SERVICES, Service
from tests.features.test_xds_tls import channel, tls
from tests.features.xds import Envoy, SotwEnvoy, serving
from tests.fleet.fleets import after
from tests.processes import DEADLINE
from tests.resources.classes import by_length
from tests.resources.decoded import TIER

MINE, OTHER = "mine", "hidden-pool"
HIDDEN = b"127.7.7.7", f"/etc/{OTHER}".encode()
"""What resources of the other pool have in them."""


def pool(name: str, port: int) -> PutPool:
    """A pool with every kind of resource that there is."""
    files = {key: f"/etc/{name}.{key}" for key in ("certificate", "key", "client_ca")}
    body = {
        "model": name,
        "listener": {"address": f"127.0.0.1:{port}", "tls": files},
        "upstream": {"tls": {"ca": f"/etc/{name}-replicas.ca"}},
    }
    return PutPool(name, validated(PoolSettings, body))


def catalog() -> Catalog:
    replica = validated(ReplicaSettings, {"address": "127.7.7.7:9000"})
    fleet = after(pool(MINE, 10_000), pool(OTHER, 10_001), PutReplica(OTHER, "r", replica))
    endpoint_weights = {OTHER: {"r": TIER}}
    return build(fleet, endpoint_weights, Catalog(), parting={OTHER: by_length({"r": TIER}, ["r"])})


def foreign(held: Catalog) -> dict[str, list[str]]:
    """The names of all that the other pool has, by type."""
    all_of_it = held.view(View((OTHER,)))
    return {url: [*all_of_it.names(url)] for url in TYPE_URLS}


def requests(service: Service) -> Iterator[str]:
    yield from TYPE_URLS if service is AGGREGATED else (service.type_url or "",)


ROLES: dict[str, dict[str, Any]] = {
    "sidecar": {},
    "gateway": {"role": "gateway", "listen": {"*": "127.0.0.1:1"}},
    "ingress": {
        "role": "ingress",
        "pools": [MINE],
        "listen": {MINE: "127.0.0.1:1"},
        "replica": "127.0.0.1:2",
    },
    "with-certificates": {"identity": {"source": "ads"}},
    "grpc": {},
}
GRPC = "gRPC Python"


def test_the_other_pool_has_something_of_every_kind() -> None:
    held = catalog()
    found = foreign(held)
    assert all(found.values())
    encoded = [
        each.packed
        for url, names in found.items()
        for name in names
        if (each := held.view(View((OTHER,))).get(url, name)) is not None
    ]
    assert all(any(item in text for text in encoded) for item in HIDDEN)
    assert {*found} == {CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET}


def contents(protocol: type[Envoy], data: bytes) -> dict[str, bytes]:
    """The resources of a response, by name where it has names beside them."""
    if protocol is SotwEnvoy:
        packed = discovery_v3.DiscoveryResponse.parse(data).resources
        return {str(number): item.value for number, item in enumerate(packed)}
    there = discovery_v3.DeltaDiscoveryResponse.parse(data).resources
    return {each.name: each.resource.value for each in there if each.resource}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("protocol", [Envoy, SotwEnvoy], ids=["delta", "state-of-the-world"])
async def test_by_name_and_by_wildcard_there_is_nothing_of_another_pool(
    protocol: type[Envoy], role: str
) -> None:
    held = catalog()
    names = foreign(held)
    async with (
        asyncio.timeout(DEADLINE),
        serving(held, tls=tls({"sidecar-1": (MINE,)})) as plane,
        channel(plane) as opened,
    ):
        for service in SERVICES:
            for url in requests(service):
                if role == "grpc" and url in (ROUTE, SECRET):
                    # It has none, and is not answered.
                    continue
                for wildcard in ((), ("*",)):
                    client = protocol(opened, "sidecar-1", service)
                    client.metadata({"plimsoll": ROLES[role]})
                    client.agent(GRPC if role == "grpc" else "envoy")
                    # Its own have an answer, where there is none for what is not there.
                    await client.want(url, *wildcard, MINE, role, "*/certificate", *names[url])
                    data = await client.call.read()
                    assert isinstance(data, bytes), (service.name, url, wildcard)
                    found = contents(protocol, data)
                    # An assignment without replicas says that there are none of this name.
                    words = HIDDEN if url == ENDPOINT else (*HIDDEN, OTHER.encode())
                    assert not any(word in text for word in words for text in found.values())
                    client.call.cancel()
