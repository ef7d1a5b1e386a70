"""Load reports over real gRPC: who is asked for them how often, and who has gone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.service.load_stats.v3 as load_stats_v3
import grpc
import pytest

from controlplane.balancing import Place
from controlplane.telemetry import load as reporting
from controlplane.telemetry.load import (
    ENDPOINTS,
    INTERVAL,
    REPORTS,
    Endpoint,
    Load,
    report_interval,
)
from controlplane.xds import LOAD_REPORTING as SERVICE
from controlplane.xds import LoadStats
from tests.features.xds import FixedCatalog, Plane, serving, until
from tests.xds.snapshots import snapshot

A = FixedCatalog(snapshot(clusters={"a": "1"}))
AT = Endpoint("p", "10.0.0.1", 9001)


@dataclass
class Sink:
    """Who reported what, and who left."""

    reports: list[tuple[object, LoadStats]] = field(default_factory=list)
    gone: list[object] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    def came(self, reporter: object, node: str, place: Place) -> None:
        self.places.append(place)

    async def reported(self, reporter: object, stats: LoadStats) -> None:
        self.reports.append((reporter, stats))

    def left(self, reporter: object) -> None:
        self.gone.append(reporter)


def report(in_progress: int | None = None, node: str = "sidecar-1") -> bytes:
    """Of nothing yet, or of so many requests in progress."""
    address = core_v3.SocketAddress(address=AT.host, port_value=AT.port)
    stats = endpoint_v3.UpstreamEndpointStats(
        address=core_v3.Address(socket_address=address),
        total_requests_in_progress=in_progress or 0,
        total_issued_requests=in_progress or 0,
    )
    cluster = endpoint_v3.ClusterStats(
        cluster_name=AT.pool,
        upstream_locality_stats=[
            endpoint_v3.UpstreamLocalityStats(upstream_endpoint_stats=[stats])
        ],
    )
    return bytes(
        load_stats_v3.LoadStatsRequest(
            node=core_v3.Node(id=node), cluster_stats=[] if in_progress is None else [cluster]
        )
    )


@asynccontextmanager
async def reporter(plane: Plane) -> AsyncIterator[Any]:
    """A stream of its own connection."""
    async with grpc.aio.insecure_channel(str(plane.address)) as channel:
        yield channel.stream_stream(f"/{SERVICE}/StreamLoadStats")()


async def asked(call: Any, node: str = "sidecar-1") -> timedelta | None:
    """Begin to report; returns how often."""
    await call.write(report(node=node))
    answer = load_stats_v3.LoadStatsResponse.parse(await call.read())
    return answer.load_reporting_interval


async def test_an_envoy_is_asked_once_and_each_of_its_reports_is_taken_in() -> None:
    sink = Sink()
    async with serving(A, loads=sink) as plane, reporter(plane) as call:
        assert await asked(call) == timedelta(seconds=INTERVAL)
        for count in (1, 2):
            await call.write(report(count))
        await until(lambda: len(sink.reports) == 3)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    assert [stats.loads for _, stats in sink.reports] == [
        {},
        {AT: Load(0, 0, 1, issued=1)},
        {AT: Load(0, 0, 2, issued=2)},
    ]
    assert len({who for who, _ in sink.reports}) == 1


async def test_two_envoys_are_told_apart_and_one_that_leaves_is_said_to_have_left() -> None:
    sink = Sink()
    async with serving(A, loads=sink) as plane, reporter(plane) as stays, reporter(plane) as goes:
        await asked(stays)
        await asked(goes)
        await until(lambda: len(sink.reports) == 2)
        staying, going = (who for who, _ in sink.reports)
        goes.cancel()
        await until(lambda: bool(sink.gone))
        assert sink.gone == [going] != [staying]


async def test_more_envoys_report_more_rarely_until_some_have_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "REPORTS", 2 / INTERVAL)
    sink = Sink()
    async with serving(A, loads=sink) as plane, AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(reporter(plane)) for _ in range(5)]
        found = [await asked(call) for call in calls[:4]]
        assert found == [timedelta(seconds=item * INTERVAL) for item in (1, 1, 1.5, 2)]
        for call in calls[:4]:
            call.cancel()
        await until(lambda: len(sink.gone) == 4)
        assert await asked(calls[4]) == timedelta(seconds=INTERVAL)


async def test_an_envoy_whose_interval_is_twice_too_short_or_too_long_is_asked_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "REPORTS", 1 / INTERVAL)
    sink = Sink()
    async with serving(A, loads=sink) as plane, AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(reporter(plane)) for _ in range(3)]
        assert [await asked(call) for call in calls] == [
            timedelta(seconds=item * INTERVAL) for item in (1, 2, 3)
        ]
        assert await asked(calls[0]) == timedelta(seconds=3 * INTERVAL)
        for call in calls[1:]:
            call.cancel()
        await until(lambda: len(sink.gone) == 2)
        assert await asked(calls[0]) == timedelta(seconds=INTERVAL)


def test_reports_are_as_rare_as_their_number_and_length_ask_for() -> None:
    assert report_interval(1, 8) == INTERVAL
    assert report_interval(400, 1) == 400 / REPORTS
    assert report_interval(20, 1000) == 20 * 1000 / ENDPOINTS


@pytest.mark.parametrize(
    ("sent", "why"), [(b"\xff", "malformed"), (report(node=""), "node")], ids=["garbage", "no node"]
)
async def test_a_report_that_is_none_ends_its_stream_and_counts_for_nothing(
    sent: bytes, why: str
) -> None:
    sink = Sink()
    async with serving(A, loads=sink) as plane, reporter(plane) as call:
        await call.write(sent)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert why in await call.details()
        await until(lambda: bool(sink.gone))
    assert sink.reports == []


async def test_nobody_is_asked_before_there_is_a_fleet() -> None:
    async with serving(None, loads=Sink()) as plane, reporter(plane) as call:
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
