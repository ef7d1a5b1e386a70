"""The client status service, asked over real gRPC as standard tools ask it."""

import asyncio
from typing import Any

import envoy_data_plane.envoy.admin.v3 as admin_v3
import envoy_data_plane.envoy.service.status.v3 as status_v3
import envoy_data_plane.envoy.type.matcher.v3 as matcher_v3
import grpc
import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT
from controlplane.xds import SERVICES
from controlplane.xds import client_status_service as client_status
from controlplane.xds.client_status_service import SERVICE
from tests.features.xds import Envoy, FixedCatalog, Plane, envoy, serving
from tests.processes import DEADLINE
from tests.xds.snapshots import snapshot

State = status_v3.ConfigStatus
Client = admin_v3.ClientResourceStatus
AB = snapshot(clusters={"a": "1", "b": "1"}, endpoints={"a": "1"})


def by_id(**kind: Any) -> matcher_v3.NodeMatcher:
    return matcher_v3.NodeMatcher(node_id=matcher_v3.StringMatcher(**kind))


async def ask(plane: Plane, **request: Any) -> dict[str, status_v3.ClientConfig]:
    """Fetch the status of clients, by id."""
    async with grpc.aio.insecure_channel(str(plane.address)) as channel:
        call: Any = channel.unary_unary(f"/{SERVICE}/FetchClientStatus")
        encoded = await call(bytes(status_v3.ClientStatusRequest(**request)))
    response = status_v3.ClientStatusResponse.parse(encoded)
    return {config.node.id: config for config in response.config if config.node}


def states(config: status_v3.ClientConfig) -> dict[tuple[str, str], tuple[State, Client]]:
    return {
        (item.type_url, item.name): (item.config_status, item.client_status)
        for item in config.generic_xds_configs
    }


async def asked(client: Envoy, url: str, **more: Any) -> None:
    await client.request(url, **more)
    await client.accept()


async def seen(plane: Plane, acknowledged: int) -> None:
    """Wait until the server has seen so many answers."""
    async with asyncio.timeout(DEADLINE):
        while sum(type(event).__name__ != "Sent" for _, event in plane.events) < acknowledged:
            await asyncio.sleep(0.001)


async def test_each_resource_says_how_far_it_got() -> None:
    async with serving(FixedCatalog(AB)) as plane, envoy(plane.address) as client:
        await asked(client, CLUSTER)
        await asked(client, ENDPOINT, resource_names_subscribe=["a", "none"])
        await seen(plane, 3)
        plane.show(snapshot(clusters={"a": "bad", "b": "1"}, endpoints={"a": "1"}))
        await client.reject("cluster a: no")
        await client.got()
        await seen(plane, 4)
        config = (await ask(plane))["sidecar-1"]
        assert states(config) == {
            (CLUSTER, "a"): (State.ERROR, Client.NACKED),
            (CLUSTER, "b"): (State.SYNCED, Client.ACKED),
            (ENDPOINT, "a"): (State.STALE, Client.REQUESTED),
            (ENDPOINT, "none"): (State.SYNCED, Client.DOES_NOT_EXIST),
        }
        (bad, good, *_) = config.generic_xds_configs
        assert bad.error_state is not None
        assert bad.error_state.details == "cluster a: no"
        assert good.xds_config is not None
        assert (good.xds_config.type_url, good.xds_config.value) == (CLUSTER, b"b\x001")
        assert good.version_info == AB.type(CLUSTER)["b"].version


async def test_contents_can_be_left_out() -> None:
    async with serving(FixedCatalog(AB)) as plane, envoy(plane.address) as client:
        await asked(client, CLUSTER)
        config = (await ask(plane, exclude_resource_contents=True))["sidecar-1"]
        assert [(item.name, item.xds_config) for item in config.generic_xds_configs] == [
            ("a", None),
            ("b", None),
        ]


async def test_the_streams_of_a_node_are_one_client() -> None:
    clusters, endpoints = SERVICES[1], SERVICES[2]
    async with (
        serving(FixedCatalog(AB)) as plane,
        envoy(plane.address, service=clusters) as first,
        envoy(plane.address, service=endpoints) as second,
    ):
        await asked(first, CLUSTER)
        await asked(second, ENDPOINT, resource_names_subscribe=["a"])
        assert [url for url, _ in states((await ask(plane))["sidecar-1"])] == [
            CLUSTER,
            CLUSTER,
            ENDPOINT,
        ]


async def test_nodes_come_in_the_order_of_their_ids_and_say_who_they_are() -> None:
    async with (
        serving(FixedCatalog(AB)) as plane,
        envoy(plane.address, "web-2") as two,
        envoy(plane.address, "web-1") as one,
    ):
        await asked(two, CLUSTER)
        await asked(one, CLUSTER)
        assert [*await ask(plane)] == ["web-1", "web-2"]


async def test_all_nodes_together_are_too_long_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        serving(FixedCatalog(AB)) as plane,
        envoy(plane.address, "web-1") as one,
        envoy(plane.address, "web-2") as two,
    ):
        await asked(one, CLUSTER)
        await asked(two, CLUSTER)
        alone = await ask(plane, node_matchers=[by_id(exact="web-1")])
        size = len(bytes(status_v3.ClientStatusResponse(config=[*alone.values()])))
        monkeypatch.setattr(client_status, "MAX_RESPONSE_BYTES", size + 5)
        assert len(await ask(plane, node_matchers=[by_id(exact="web-2")])) == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(plane)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "matcher",
    [
        matcher_v3.NodeMatcher(),
        by_id(safe_regex=matcher_v3.RegexMatcher(regex="(a+)+$")),
        matcher_v3.NodeMatcher(node_metadatas=[matcher_v3.StructMatcher()]),
    ],
    ids=["empty", "regex", "metadata"],
)
async def test_a_matcher_that_is_not_supported_is_refused_in_a_sentence(
    matcher: matcher_v3.NodeMatcher,
) -> None:
    async with serving(FixedCatalog(AB)) as plane:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(plane, node_matchers=[matcher])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "node" in (caught.value.details() or "")


async def test_an_answer_that_is_too_long_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_status, "MAX_RESPONSE_BYTES", 10)
    async with serving(FixedCatalog(AB)) as plane, envoy(plane.address) as client:
        await asked(client, CLUSTER)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(plane)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "exclude_resource_contents" in (caught.value.details() or "")


async def test_a_stream_answers_every_request() -> None:
    async with (
        serving(FixedCatalog(AB)) as plane,
        envoy(plane.address) as client,
        grpc.aio.insecure_channel(str(plane.address)) as channel,
    ):
        call: Any = channel.stream_stream(f"/{SERVICE}/StreamClientStatus")()
        for connected in (0, 1):
            if connected:
                await asked(client, CLUSTER)
            await call.write(b"")
            response = status_v3.ClientStatusResponse.parse(await call.read())
            assert len(response.config) == connected


async def test_a_tool_that_asks_and_does_not_read_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_status, "AT_ONCE", 1)
    large = snapshot(clusters={"a": "x" * 1_000_000})
    async with (
        serving(FixedCatalog(large), write_timeout=3.0) as plane,
        envoy(plane.address) as client,
        grpc.aio.insecure_channel(str(plane.address)) as channel,
        grpc.aio.insecure_channel(str(plane.address)) as other_channel,
    ):
        await asked(client, CLUSTER)
        stalled: Any = channel.stream_stream(f"/{SERVICE}/StreamClientStatus")()
        other: Any = other_channel.stream_stream(f"/{SERVICE}/StreamClientStatus")()
        # More than the buffers of a connection hold.
        for _ in range(30):
            await stalled.write(b"")
        # They take turns, so by then the other one has had all of its own, or waits.
        for _ in range(40):
            await other.write(b"")
            assert len(await other.read()) > 1_000_000
        with pytest.raises(grpc.aio.AioRpcError, match=r"read nothing for 3 s") as cut:
            await read_to_the_end(stalled)
        assert cut.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass
