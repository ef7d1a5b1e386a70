"""KEDA asks the xDS port how many replicas a pool should have."""

import asyncio
from dataclasses import dataclass, field

import grpc
import pytest

from controlplane.xds import scaler_service
from tests.features.keda import Keda, keda
from tests.features.test_xds_tls import A, channel, tls
from tests.features.xds import serving
from tests.processes import DEADLINE


@dataclass
class Source:
    """Pools with the replicas that they should have."""

    pools: dict[str, int] = field(default_factory=lambda: {"a": 7, "idle": 0})

    def wanted(self, pool: str) -> int | None:
        return self.pools.get(pool)

    def is_active(self, pool: str) -> bool | None:
        return None if pool not in self.pools else self.pools[pool] > 0


async def test_the_metric_is_the_number_of_replicas_and_its_target_is_one() -> None:
    async with serving(A, scaling=Source()) as plane, keda(plane.address, pool="a") as client:
        (spec,) = (await client.metric_spec()).metricSpecs
        (value,) = (await client.metrics(spec.metricName)).metricValues
        assert await client.is_active()
    assert (spec.targetSize, spec.targetSizeFloat) == (1, 1.0)
    assert (value.metricName, value.metricValue, value.metricValueFloat) == ("replicas", 7, 7.0)


async def test_a_pool_to_be_empty_is_not_active_and_wants_nothing() -> None:
    async with serving(A, scaling=Source()) as plane, keda(plane.address, pool="idle") as client:
        (value,) = (await client.metrics("replicas")).metricValues
        assert not await client.is_active()
    assert value.metricValueFloat == 0


async def test_a_stream_says_at_once_whether_a_pool_is_active_and_again_when_that_changes() -> None:
    source = Source()
    async with serving(A, scaling=source) as plane, keda(plane.address, pool="idle") as client:
        stream = client.activity()
        assert await anext(stream) is False
        source.pools["idle"] = 2
        assert await anext(stream) is True
        del source.pools["idle"]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await anext(stream)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_stream_ends_well_after_a_while_so_that_keda_soon_opens_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scaler_service, "LIFETIME", 0.0)
    async with serving(A, scaling=Source()) as plane, keda(plane.address, pool="a") as client:
        assert [item async for item in client.activity()] == [True]


async def test_streams_end_well_when_the_control_plane_stops() -> None:
    async with serving(A, scaling=Source()) as plane, keda(plane.address, pool="a") as client:
        stream = client.activity()
        assert await anext(stream) is True
        stopped = asyncio.create_task(plane.server.stop(DEADLINE))
        assert [item async for item in stream] == []
        await stopped


@pytest.mark.parametrize(
    ("metadata", "metric", "code", "words"),
    [
        ({"pool": "b"}, "replicas", grpc.StatusCode.NOT_FOUND, "there is no pool 'b'"),
        ({}, "replicas", grpc.StatusCode.INVALID_ARGUMENT, "add pool: NAME"),
        ({"pool": "a"}, "queue", grpc.StatusCode.INVALID_ARGUMENT, "there is no metric 'queue'"),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_a_sentence(
    metadata: dict[str, str], metric: str, code: grpc.StatusCode, words: str
) -> None:
    async with serving(A, scaling=Source()) as plane, keda(plane.address, **metadata) as client:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.metrics(metric)
    assert error.value.code() is code
    assert words in (error.value.details() or "")


async def test_bytes_that_are_no_request_are_refused() -> None:
    async with (
        serving(A, scaling=Source()) as plane,
        grpc.aio.insecure_channel(str(plane.address)) as opened,
    ):
        path = "/externalscaler.ExternalScaler/GetMetrics"
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(path)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(b"\xff\xff", timeout=DEADLINE)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_keda_does_without_the_stream_of_metric_specs() -> None:
    async with serving(A, scaling=Source()) as plane, keda(plane.address, pool="a") as client:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await anext(client.activity("StreamMetricSpec"))
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_before_anything_is_loaded_keda_is_to_try_again() -> None:
    async with serving(None, scaling=Source()) as plane, keda(plane.address, pool="a") as client:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.is_active()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_over_tls_a_client_is_told_of_the_pools_that_it_may_hold() -> None:
    admitting = tls({"sidecar-*": ["a"]})
    async with serving(A, scaling=Source(), tls=admitting) as plane, channel(plane) as opened:
        assert await Keda(opened, pool="a").is_active()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await Keda(opened, pool="idle").is_active()
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
