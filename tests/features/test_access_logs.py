"""Access logs over real gRPC: what is taken in, how much of it, and what ends a stream."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from controlplane.balancing import Place
from controlplane.telemetry.sizes import Sample
from controlplane.xds import ACCESS_LOGS as SERVICE
from controlplane.xds import report_services
from controlplane.xds.report_services import MAX_ENTRIES, Allowance
from tests.features.xds import FixedCatalog, Plane, envoy, serving, until
from tests.xds.access_logs import entry, logs
from tests.xds.snapshots import snapshot

A = FixedCatalog(snapshot(clusters={"a": "1"}))
ONE = Sample("p", "bulk", "10.0.0.1", 9001, 840, 0.25, 200)


@dataclass
class Sink:
    """What was sampled, message by message."""

    messages: list[Sequence[Sample]] = field(default_factory=list)

    def sampled(self, samples: Sequence[Sample], now: float, place: Place) -> None:
        self.messages.append(samples)

    @property
    def count(self) -> int:
        return sum(map(len, self.messages))


@dataclass
class Clock:
    """Stands still unless it is moved."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def log(plane: Plane) -> AsyncIterator[Any]:
    """A stream of its own connection."""
    async with grpc.aio.insecure_channel(str(plane.address)) as channel:
        yield channel.stream_unary(f"/{SERVICE}/StreamAccessLogs")()


def message(count: int = 1, node: str | None = "sidecar-1") -> bytes:
    return bytes(logs(*[entry(ONE)] * count, node=node))


async def test_every_message_of_a_stream_is_taken_in_until_it_is_done() -> None:
    sink = Sink()
    async with serving(A, samples=sink) as plane, log(plane) as call:
        await call.write(message(2))
        await call.write(message(1, node=None))
        await call.done_writing()
        assert await call == b""
    assert sink.messages == [(ONE, ONE), (ONE,)]


async def test_so_many_entries_are_looked_at_in_a_second_of_all_envoys_and_the_others_skipped() -> (
    None
):
    sink, clock = Sink(), Clock()
    async with (
        serving(A, samples=sink, clock=clock) as plane,
        log(plane) as one,
        log(plane) as other,
    ):
        await one.write(message(MAX_ENTRIES - 50))
        await until(lambda: sink.count == MAX_ENTRIES - 50)
        await other.write(message(MAX_ENTRIES))
        await until(lambda: sink.count == MAX_ENTRIES)
        await other.write(message(7, node=None))
        await other.done_writing()
        assert await other == b""
        assert sink.count == MAX_ENTRIES
        clock.now += 0.5
        await one.write(message(MAX_ENTRIES, node=None))
        await until(lambda: sink.count == MAX_ENTRIES * 3 // 2)


def test_what_may_be_looked_at_does_not_add_up_while_nobody_comes() -> None:
    clock = Clock()
    allowance = Allowance(10, clock)
    clock.now += 1_000
    assert allowance.left == 10
    allowance.spend(10)
    assert allowance.left == 0
    clock.now += 0.25
    assert allowance.left == 2


@pytest.mark.parametrize(
    ("sent", "why"),
    [(b"\xff", "malformed"), (message(node=""), "node"), (message(node=None), "node")],
    ids=["garbage", "no id", "no node"],
)
async def test_a_message_that_is_none_ends_its_stream_alone_and_counts_for_nothing(
    sent: bytes, why: str
) -> None:
    sink = Sink()
    async with serving(A, samples=sink) as plane, log(plane) as call, log(plane) as other:
        await call.write(sent)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert why in await call.details()
        assert sink.messages == []
        await other.write(message())
        await until(lambda: sink.count == 1)


async def test_garbage_in_a_later_message_ends_its_stream() -> None:
    sink = Sink()
    async with serving(A, samples=sink) as plane, log(plane) as call:
        await call.write(message())
        await call.write(b"\x12\x04\x0a\x02\xff\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert sink.count == 1


async def test_a_message_that_is_too_long_ends_its_stream() -> None:
    sink = Sink()
    async with serving(A, samples=sink) as plane, log(plane) as call:
        await call.write(message() + b"\x7a\x80\x80\x80\x02" + b"x" * (4 << 20))
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert sink.messages == []


async def test_more_logs_than_are_taken_are_refused_and_xds_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report_services, "MAX_LOGS", 1)
    sink = Sink()
    async with serving(A, samples=sink) as plane, log(plane) as one:
        await one.write(message())
        await until(lambda: sink.count == 1)
        async with log(plane) as more:
            assert await more.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        async with envoy(plane.address) as client:
            await client.want("type.googleapis.com/envoy.config.cluster.v3.Cluster")
            assert (await client.accept()).resources
        await one.done_writing()
        assert await one == b""
        async with log(plane) as again:
            await again.write(message())
            await until(lambda: sink.count == 2)


async def test_many_streams_are_read_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_services, "MAX_MESSAGES", 0.001)
    sink = Sink()
    async with serving(A, samples=sink) as plane, log(plane) as call:
        await call.write(message())
        await call.write(message(node=None))
        await until(lambda: sink.count == 1)
        async with log(plane) as other:
            await other.write(message(3))
            await until(lambda: sink.count == 4)
        assert [len(item) for item in sink.messages] == [1, 3]


async def test_nobody_is_listened_to_before_there_is_a_fleet() -> None:
    async with serving(None, samples=Sink()) as plane, log(plane) as call:
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
