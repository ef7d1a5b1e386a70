"""KEDA's external scaler: how many replicas a pool should have, and whether it is to have any.

The interface is KEDA's externalscaler.proto. A metric with the target 1 stands for the number of
replicas, so that the autoscaler sets just that. ``StreamMetricSpec`` is not served: the target
never changes, and KEDA then goes on without it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, NoReturn, Protocol

import grpc

from controlplane.identity import Identity
from controlplane.protos import keda_pb2 as pb
from controlplane.xds.authentication import Authenticator, Limit
from controlplane.xds.connection import Context, Methods
from controlplane.xds.node import ProtocolError
from controlplane.xds.protocol import parse

SERVICE: Final = "externalscaler.ExternalScaler"
METRIC: Final = "replicas"
"""The name of the one metric."""
POOL: Final = "pool"
"""The key of a trigger's metadata that names the pool."""
LOOK: Final = 1.0
"""Seconds between two looks at whether a pool is active."""
MAX_STREAMS: Final = 1_000
"""Streams of ``StreamIsActive`` at a time; KEDA has one for each of its objects."""
LIFETIME: Final = 600.0
"""Seconds after which a stream ends well. KEDA opens another 2 s later. After each failure KEDA
waits twice as long, up to a minute, and only a stream that ends well resets that
(``runStreamIsActive`` in KEDA's external_scaler.go)."""


class ScalerSource(Protocol):
    """Answers for the pools; no method may block."""

    def wanted(self, pool: str) -> int | None:
        """How many replicas a pool should have; None: there is no such pool."""

    def is_active(self, pool: str) -> bool | None:
        """Whether a pool is to have replicas; None: there is no such pool."""


class ScalerService:
    """Serves KEDA."""

    name = SERVICE

    def __init__(self, source: ScalerSource, authenticator: Authenticator) -> None:
        self._source, self._authenticator = source, authenticator
        self._limit = Limit(MAX_STREAMS, "streams")
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Have all streams end well."""
        self._stopping.set()

    def methods(self) -> Methods:
        """Its methods."""
        unary = grpc.unary_unary_rpc_method_handler
        return {
            "IsActive": unary(self._is_active),
            "StreamIsActive": grpc.unary_stream_rpc_method_handler(self._stream_is_active),
            "GetMetricSpec": unary(self._metric_spec),
            "GetMetrics": unary(self._metrics),
        }

    async def _is_active(self, data: bytes, context: Context) -> bytes:
        async with self._authenticator.call(context) as identity:
            pool = _pool_of(data, pb.ScaledObjectRef, identity)
        return await self._activity(pool, context)

    async def _stream_is_active(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        async with self._authenticator.call(context) as identity:
            pool, sent = _pool_of(data, pb.ScaledObjectRef, identity), None
            clock = asyncio.get_running_loop().time
            end = clock() + LIFETIME
            with self._limit.one_more():
                while not self._stopping.is_set() and (sent is None or clock() < end):
                    if (found := await self._activity(pool, context)) != sent:
                        yield (sent := found)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK):
                            await self._stopping.wait()
                    if (why := self._authenticator.refusal(identity)) is not None:
                        await context.abort(grpc.StatusCode.UNAUTHENTICATED, why)

    async def _metric_spec(self, data: bytes, context: Context) -> bytes:
        async with self._authenticator.call(context) as identity:
            _pool_of(data, pb.ScaledObjectRef, identity)
        spec = pb.MetricSpec(metricName=METRIC, targetSize=1, targetSizeFloat=1.0)
        return pb.GetMetricSpecResponse(metricSpecs=[spec]).SerializeToString()

    async def _metrics(self, data: bytes, context: Context) -> bytes:
        async with self._authenticator.call(context) as identity:
            pool = _pool_of(data, pb.GetMetricsRequest, identity)
        wanted = self._source.wanted(pool)
        if wanted is None:
            await _unknown(pool, context)
        value = pb.MetricValue(metricName=METRIC, metricValue=wanted, metricValueFloat=wanted)
        return pb.GetMetricsResponse(metricValues=[value]).SerializeToString()

    async def _activity(self, pool: str, context: Context) -> bytes:
        active = self._source.is_active(pool)
        if active is None:
            await _unknown(pool, context)
        return pb.IsActiveResponse(result=active).SerializeToString()


def _pool_of(
    data: bytes, kind: type[pb.ScaledObjectRef | pb.GetMetricsRequest], identity: Identity | None
) -> str:
    """Return the pool that a request is about, if its client may hold it."""
    request = parse(kind, data)
    if isinstance(request, pb.GetMetricsRequest):
        if request.metricName != METRIC:
            raise ProtocolError(
                "INVALID_ARGUMENT", f"there is no metric {request.metricName[:64]!r}, only {METRIC}"
            )
        request = request.scaledObjectRef
    if not (pool := request.scalerMetadata.get(POOL, "")):
        raise ProtocolError(
            "INVALID_ARGUMENT", "the trigger's metadata names no pool: add pool: NAME"
        )
    if identity is not None and identity.pools is not None and pool not in identity.pools:
        words = f"{identity.spiffe_id} may not hold pool {pool[:64]!r}"
        raise ProtocolError("PERMISSION_DENIED", words)
    return pool


async def _unknown(pool: str, context: Context) -> NoReturn:
    await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no pool {pool[:64]!r}")
