"""Streams that say nothing, or far too much at once, over real gRPC."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from functools import partial

import grpc
import pytest

from controlplane.balancing import Place
from controlplane.resources.health_checks import HealthTarget
from controlplane.resources.resource import CLUSTER
from controlplane.resources.views import View
from controlplane.telemetry.load import Endpoint
from controlplane.telemetry.sizes import Sample
from controlplane.xds import ACCESS_LOGS, AGGREGATED, authentication, grpc_server
from controlplane.xds import HEALTH_DISCOVERY as HEALTH
from controlplane.xds import LOAD_REPORTING as LOADS
from controlplane.xds import connection as requests
from controlplane.xds.client_status_service import SERVICE as CLIENT_STATUS
from controlplane.xds.connection import LARGE, SilentStreams, read
from controlplane.xds.node import ProtocolError
from tests.features.test_load_reports import Sink
from tests.features.xds import Envoy, FixedCatalog, serving
from tests.processes import DEADLINE
from tests.xds.snapshots import snapshot

A = FixedCatalog(snapshot(clusters={"a": "1"}))

METHODS = [
    f"{AGGREGATED.name}/DeltaAggregatedResources",
    f"{AGGREGATED.name}/StreamAggregatedResources",
    f"{LOADS}/StreamLoadStats",
    f"{HEALTH}/StreamHealthCheck",
    f"{ACCESS_LOGS}/StreamAccessLogs",
    f"{CLIENT_STATUS}/StreamClientStatus",
]


class Samples:
    def sampled(self, samples: Sequence[Sample], now: float, place: Place) -> None:
        raise AssertionError("nobody says anything")


class Health:
    def to_check(
        self, node: str, view: View, known: tuple[HealthTarget, ...]
    ) -> tuple[HealthTarget, ...]:
        raise AssertionError("nobody says anything")

    def health_seen(
        self, reporter: object, node: str, healthy: Mapping[Endpoint, bool], now: float
    ) -> None:
        raise AssertionError("nobody says anything")

    def health_left(self, reporter: object) -> None:
        """It has."""


@pytest.mark.parametrize("method", METHODS)
async def test_a_stream_without_a_request_is_ended(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "FIRST_REQUEST", 0.5)
    serves = partial(serving, loads=Sink(), samples=Samples(), health=Health())
    async with (
        serves(A, write_timeout=2.0, first_request=0.5) as plane,
        grpc.aio.insecure_channel(str(plane.address)) as channel,
        asyncio.timeout(DEADLINE),
    ):
        silent: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(f"/{method}")()
        speaking = Envoy(channel, "speaks")
        await speaking.want(CLUSTER)
        await speaking.accept()
        assert await silent.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no request came within" in await silent.details()
        assert not speaking.call.done()


@pytest.mark.parametrize("method", METHODS)
async def test_streams_that_say_nothing_are_limited_by_where_they_come_from(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MAX_SILENT_OF_PEER", 3)
    async with (
        serving(A, loads=Sink(), samples=Samples(), health=Health()) as plane,
        grpc.aio.insecure_channel(str(plane.address)) as channel,
        asyncio.timeout(DEADLINE),
    ):
        for number in range(6):
            speaking = Envoy(channel, f"speaks-{number}")
            await speaking.want(CLUSTER)
            await speaking.accept()
        silent: list[grpc.aio.StreamStreamCall[bytes, bytes]] = [
            channel.stream_stream(f"/{method}")() for _ in range(4)
        ]
        ended = [asyncio.ensure_future(each.code()) for each in silent]
        done, waiting = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        assert [each.result() for each in done] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        for each in waiting:
            each.cancel()
        for one in silent:
            one.cancel()


def test_a_place_that_is_given_back_is_there_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_SILENT_OF_PEER", 1)
    silent = SilentStreams()
    leave = silent.enter("ipv4:10.0.0.1:1000")
    with pytest.raises(ProtocolError):
        silent.enter("ipv4:10.0.0.1:1001")
    silent.enter("ipv4:10.0.0.2:1000")
    leave()
    leave()
    silent.enter("ipv4:10.0.0.1:1002")
    with pytest.raises(ProtocolError):
        silent.enter("ipv4:10.0.0.1:1003")


async def test_connections_without_a_request_leave_files_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_server, "MAX_CONNECTIONS", 20)
    # Nothing else closes them.
    patient = dict(grpc_server._OPTIONS) | {"grpc.server_handshake_timeout_ms": 600_000}
    monkeypatch.setattr(grpc_server, "_OPTIONS", tuple(patient.items()))
    async with serving(A) as plane, asyncio.timeout(DEADLINE):
        at = plane.address
        idle = [await asyncio.open_connection(at.host, at.port) for _ in range(40)]
        closed = [asyncio.create_task(reader.read()) for reader, _ in idle]
        while sum(each.done() for each in closed) < 20:
            await asyncio.sleep(0.05)
        for _, writer in idle:
            writer.close()
        await asyncio.gather(*closed)
        async with grpc.aio.insecure_channel(str(at)) as channel:
            # The server may not have seen yet that the others are gone.
            await channel.channel_ready()
            envoy = Envoy(channel, "speaks")
            await envoy.want(CLUSTER)
            assert (await envoy.accept()).resources == {"a": "1"}


async def test_connections_that_say_nothing_make_room_for_those_that_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_server, "MAX_CONNECTIONS", 20)
    patient = dict(grpc_server._OPTIONS) | {"grpc.server_handshake_timeout_ms": 600_000}
    monkeypatch.setattr(grpc_server, "_OPTIONS", tuple(patient.items()))
    async with serving(A) as plane, asyncio.timeout(DEADLINE):
        at = str(plane.address)
        async with grpc.aio.insecure_channel(at) as early, grpc.aio.insecure_channel(at) as late:
            before = Envoy(early, "was there before")
            await before.want(CLUSTER)
            await before.accept()
            idle = [
                await asyncio.open_connection(plane.address.host, plane.address.port)
                for _ in range(40)
            ]
            await late.channel_ready()
            after = Envoy(late, "comes later")
            await after.want(CLUSTER)
            assert (await after.accept()).resources == {"a": "1"}
            assert not before.call.done()
            for _, writer in idle:
                writer.close()


async def test_a_large_request_is_read_in_another_thread_and_a_small_one_is_not() -> None:
    here = threading.get_ident()
    assert await read(b"small", lambda _: threading.get_ident()) == here
    assert await read(bytes(LARGE), lambda _: threading.get_ident()) != here


async def test_a_large_request_is_answered_like_any_other() -> None:
    names = [f"name-{number}-{'x' * 100}" for number in range(2_000)]
    async with (
        serving(A) as plane,
        grpc.aio.insecure_channel(str(plane.address)) as channel,
        asyncio.timeout(DEADLINE),
    ):
        envoy = Envoy(channel, "asks for much")
        await envoy.want(CLUSTER, "a", *names)
        got = await envoy.accept()
        assert (got.resources, len(got.removed)) == ({"a": "1"}, 2_000)
