"""What a bad client or a bad moment does to its own stream, and to no other."""

import asyncio

import grpc
import pytest

from controlplane.config import Address
from controlplane.latest import Latest
from controlplane.resources.resource import CLUSTER
from controlplane.xds import FAULT, BindError, Disconnected, Offer, XdsServer
from controlplane.xds.server import MAX_MESSAGE_BYTES
from tests.features.xds import Envoy, FixedCatalog, Plane, SotwEnvoy, envoy, serving, until
from tests.processes import DEADLINE
from tests.xds.snapshots import snapshot

A = FixedCatalog(snapshot(clusters={"a": "1"}))


async def still_served(plane: Plane, client: Envoy) -> None:
    """Whether a stream opened before gets the next change."""
    plane.show(snapshot(clusters={"a": "after"}))
    assert (await client.accept()).resources == {"a": "after"}


async def read_to_the_end(client: Envoy) -> None:
    while await client.call.read() is not grpc.aio.EOF:
        pass


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (b"", grpc.StatusCode.INVALID_ARGUMENT),
        (bytes(MAX_MESSAGE_BYTES + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["garbage", "nothing", "too much"],
)
async def test_bytes_that_are_no_request_end_their_own_stream_only(
    sent: bytes, code: grpc.StatusCode
) -> None:
    async with (
        serving(A) as plane,
        envoy(plane.address, "good") as good,
        envoy(plane.address) as bad,
    ):
        await good.request()
        await good.accept()
        await bad.call.write(sent)
        assert await bad.call.code() is code
        await still_served(plane, good)


async def test_garbage_in_the_middle_ends_a_stream_and_is_reported() -> None:
    async with serving(A) as plane, envoy(plane.address) as client:
        await client.request()
        await client.accept()
        await client.call.write(b"\xff")
        assert await client.call.code() is grpc.StatusCode.INVALID_ARGUMENT
        reason = await client.call.details()
        assert reason.startswith("malformed request")
        assert plane.events[-1] == ("sidecar-1", Disconnected(reason))


@pytest.mark.parametrize("protocol", [Envoy, SotwEnvoy], ids=["delta", "state of the world"])
async def test_a_client_that_stops_reading_is_cut_off_and_others_get_their_updates(
    protocol: type[Envoy],
) -> None:
    # go-control-plane#503, #875
    async with (
        serving(A, write_timeout=2.0) as plane,
        envoy(plane.address, "good") as good,
        envoy(plane.address, "stalled", protocol=protocol) as stalled,
    ):
        await good.request()
        await good.accept()
        await stalled.request()
        await stalled.got()
        # More than the buffers of a connection hold; "acknowledged" without being read.
        for nonce in range(1, 30):
            await stalled.request(response_nonce=str(nonce))
            plane.show(snapshot(clusters={"a": f"{nonce}" + "x" * 1_000_000}))
            assert (await good.accept()).resources.keys() == {"a"}
        await until(lambda: [status.id for status in plane.server.nodes()] == ["good"])
        assert ("stalled", Disconnected("the client read nothing for 2 s")) in plane.events
        await still_served(plane, good)
        with pytest.raises(grpc.aio.AioRpcError, match="read nothing"):
            await read_to_the_end(stalled)


async def test_a_fault_of_ours_ends_a_stream_and_not_the_server(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(A) as plane:
        with monkeypatch.context() as patch:
            patch.setattr("controlplane.xds.protocol.Delta.decode", lambda *_: 1 / 0)
            async with envoy(plane.address) as client:
                await client.request()
                assert await client.call.code() is grpc.StatusCode.INTERNAL
                assert await client.call.details() == FAULT
        assert "ZeroDivisionError" in caplog.text
        async with envoy(plane.address) as client:
            await client.request()
            assert (await client.got()).resources == {"a": "1"}


async def test_a_fault_of_ours_while_it_writes_tells_a_client_no_more(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(A) as plane:
        with monkeypatch.context() as patch:
            patch.setattr("controlplane.xds.stream.Stream.next_response", lambda *_: 1 / 0)
            async with envoy(plane.address) as client:
                await client.request()
                assert await client.call.code() is grpc.StatusCode.INTERNAL
                assert await client.call.details() == FAULT
        assert "ZeroDivisionError" in caplog.text
        assert plane.events[-1] == ("sidecar-1", Disconnected(FAULT))
        async with envoy(plane.address) as client:
            await client.request()
            assert (await client.got()).resources == {"a": "1"}


async def test_stopping_ends_open_streams_so_that_envoys_reconnect() -> None:
    async with serving(A) as plane, envoy(plane.address) as client:
        await client.request()
        await client.accept()
        async with asyncio.timeout(DEADLINE):
            await plane.server.stop(grace=10 * DEADLINE)
        assert await client.call.code() is grpc.StatusCode.UNAVAILABLE
        assert plane.server.nodes() == ()


async def test_an_address_in_use_is_named() -> None:
    async with serving(A) as plane:
        slot: Latest[Offer | None] = Latest(None)
        second = XdsServer(plane.address, slot, lambda _, __: None)
        with pytest.raises(
            BindError, match=f"^cannot serve xDS on {plane.address}: address already"
        ):
            await second.start()
        await second.stop(grace=0)


async def test_an_address_of_another_host_is_named() -> None:
    slot: Latest[Offer | None] = Latest(None)
    server = XdsServer(Address("192.0.2.1", 0), slot, lambda _, __: None)
    with pytest.raises(BindError, match=r"^cannot serve xDS on 192\.0\.2\.1:0: cannot assign"):
        await server.start()


async def test_streams_that_come_and_go_leave_nothing_behind() -> None:
    async with serving(A) as plane, grpc.aio.insecure_channel(str(plane.address)) as channel:
        # The first stream starts what gRPC keeps for the connection.
        for cycle in range(201):
            client = Envoy(channel, f"sidecar-{cycle}")
            await client.request(CLUSTER)
            if cycle % 2 == 0:
                await client.got()
            client.call.cancel()
            if cycle == 0:
                await until(lambda: plane.server.streams == 0)
                # What ends with the stream may take a few turns of the loop more.
                for _ in range(1000):
                    await asyncio.sleep(0)
                baseline = len(asyncio.all_tasks())
        await until(lambda: len(asyncio.all_tasks()) <= baseline)
        assert plane.server.nodes() == ()


async def test_one_stream_too_many_is_refused_and_the_others_go_on() -> None:
    async with serving(A, max_streams=1) as plane, envoy(plane.address, "first") as first:
        await first.request()
        await first.accept()
        # No request: gRPC's client says INTERNAL if a write fails before the status is there.
        async with envoy(plane.address, "second") as second:
            assert await second.call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await still_served(plane, first)
