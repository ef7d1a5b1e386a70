"""What both protocols get right on a real gRPC connection, aggregated and by type."""

import grpc
import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, TYPE_URLS
from controlplane.xds import SERVICES, Service
from tests.features.xds import Envoy, FixedCatalog, SotwEnvoy, envoy, serving
from tests.xds.client import Got
from tests.xds.snapshots import snapshot

OLD = snapshot(
    clusters={"old": "1"},
    endpoints={"old": "1", "new": "0"},
    listeners={"l": "1"},
    routes={"r": "to old"},
)
NEW = snapshot(
    clusters={"new": "1"}, endpoints={"new": "1"}, listeners={"l": "2"}, routes={"r": "to new"}
)
ONE_OF_EACH = snapshot(
    clusters={"a": "c"}, endpoints={"a": "e"}, secrets={"a": "s"}, listeners={"a": "l"},
    routes={"a": "r"},
)  # fmt: skip
PROTOCOLS = pytest.mark.parametrize(
    "protocol", [Envoy, SotwEnvoy], ids=["delta", "state of the world"]
)


async def started(client: Envoy) -> list[Got]:
    """Ask for everything as Envoy does, and accept it."""
    await client.want(CLUSTER)
    await client.want(ENDPOINT, "old", "new")
    await client.want(LISTENER)
    await client.want(ROUTE, "r")
    seen = [await client.accept()]
    while {got.type_url for got in seen} != {CLUSTER, ENDPOINT, LISTENER, ROUTE}:
        seen.append(await client.accept())
    return seen


async def status(client: Envoy) -> tuple[grpc.StatusCode, str]:
    """How the stream ended."""
    code = await client.call.code()
    assert isinstance(code, grpc.StatusCode)
    return code, await client.call.details()


@PROTOCOLS
async def test_a_change_that_adds_repoints_and_drops_goes_in_order(protocol: type[Envoy]) -> None:
    async with (
        serving(FixedCatalog(OLD)) as plane,
        envoy(plane.address, protocol=protocol) as client,
    ):
        await started(client)
        plane.show(NEW)
        seen = [await client.accept() for _ in range(5)]
    assert [got.type_url for got in seen] == [CLUSTER, ENDPOINT, LISTENER, ROUTE, CLUSTER]
    assert "new" in seen[0].resources
    if protocol is SotwEnvoy:
        assert [[*seen[0].resources], [*seen[4].resources]] == [["new", "old"], ["new"]]
    else:
        assert [seen[0].removed, seen[4].removed] == [[], ["old"]]


@PROTOCOLS
async def test_a_reconnect_after_a_change_gets_the_change_and_nothing_older(
    protocol: type[Envoy],
) -> None:
    async with serving(FixedCatalog(OLD)) as plane:
        async with envoy(plane.address, protocol=protocol) as client:
            await started(client)
        plane.show(NEW)
        async with envoy(plane.address, protocol=protocol) as client:
            seen = await started(client)
    assert {(got.type_url, *got.resources.values()) for got in seen} == {
        (CLUSTER, "1"),
        (ENDPOINT, "1"),
        (LISTENER, "2"),
        (ROUTE, "to new"),
    }
    assert seen[0].resources == {"new": "1"}


@PROTOCOLS
async def test_the_node_is_needed_on_the_first_message_only(protocol: type[Envoy]) -> None:
    async with serving(FixedCatalog(OLD)) as plane:
        async with envoy(plane.address, protocol=protocol) as client:
            assert len(await started(client)) >= 4
        async with envoy(plane.address, node="", protocol=protocol) as client:
            await client.want(CLUSTER)
            assert await status(client) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                "the first request must name its node, with an id",
            )


@PROTOCOLS
@pytest.mark.parametrize("service", SERVICES, ids=lambda item: item.noun)
async def test_nothing_loaded_yet_is_unavailable_and_never_an_empty_set(
    protocol: type[Envoy], service: Service
) -> None:
    # istio#25495
    async with (
        serving(None) as plane,
        envoy(plane.address, service=service, protocol=protocol) as client,
    ):
        assert await status(client) == (
            grpc.StatusCode.UNAVAILABLE,
            "no configuration is loaded yet",
        )


@PROTOCOLS
# Secrets are in no catalog; test_xds_secrets has them.
@pytest.mark.parametrize(
    "service",
    [entry for entry in SERVICES if entry.type_url not in (None, SECRET)],
    ids=lambda each: each.noun,
)
@pytest.mark.parametrize("named", [True, False], ids=["named", "implied"])
async def test_a_service_of_one_type_serves_it_and_follows_changes(
    protocol: type[Envoy], service: Service, *, named: bool
) -> None:
    assert service.type_url is not None
    async with (
        serving(FixedCatalog(ONE_OF_EACH)) as plane,
        envoy(plane.address, service=service, protocol=protocol) as client,
    ):
        await client.want(service.type_url if named else "", "a")
        got = await client.accept()
        kind = "ceslr"[TYPE_URLS.index(service.type_url)]
        assert (got.type_url, got.resources) == (service.type_url, {"a": kind})
        kinds = ("clusters", "endpoints", "secrets", "listeners", "routes")
        plane.show(snapshot(**{item: {"a": "2"} for item in kinds}))
        assert (await client.accept()).resources == {"a": "2"}
