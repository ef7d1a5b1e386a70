"""The access log service: Envoys say how large some requests are and how long they take."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Final, Protocol

import grpc

from controlplane.signals.sizes import Sample
from controlplane.xds.connection import Context, read, soon
from controlplane.xds.errors import ProtocolError
from controlplane.xds.node import admit
from controlplane.xds.reports import decode_access_logs

SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"

ENTRIES: Final = 200
"""That are looked at in a second, of all Envoys. The others are skipped."""

MESSAGES: Final = 200
"""That are read in a second, of all Envoys. Of the others gRPC takes no more than fit into a
stream's window, and then Envoy drops entries."""

MAX_LOGS: Final = 2_000
"""Streams at a time; each thread of an Envoy has one. More would leave none for xDS itself."""


class SampleSink(Protocol):
    """Where samples go; it may neither block nor raise."""

    def sampled(self, samples: Sequence[Sample]) -> None:
        """Take in what an Envoy tells of some requests."""


class Allowance:
    """How many entries may be looked at: so many a second, and no more than that at once."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        """Begin with the allowance of a second.

        Args:
            rate: A second.
            clock: Seconds that never go back.
        """
        self._rate, self._clock = rate, clock
        self._left, self._at = rate, clock()

    @property
    def left(self) -> int:
        """How many may be looked at now."""
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._rate, self._rate)
        self._at = now
        return int(self._left)

    def spend(self, entries: int) -> None:
        """Note that so many were looked at."""
        self._left -= entries


class AccessLogService:
    """Reads as much of what Envoys tell as it may, and hands it on."""

    def __init__(
        self,
        sink: SampleSink,
        ready: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to read.

        Args:
            sink: Takes the samples.
            ready: Whether there is a fleet yet that they can be about.
            clock: Seconds that never go back.
        """
        self._sink = sink
        self._ready = ready
        self._allowance = Allowance(ENTRIES, clock)
        self._open = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """Its method, for a gRPC server."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "StreamAccessLogs": grpc.stream_unary_rpc_method_handler(self._stream)
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        if not self._ready():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no configuration is loaded yet")
        if self._open >= MAX_LOGS:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{MAX_LOGS} access logs are open, and no more are taken",
            )
        self._open += 1
        try:
            await self._read(requests)
        except ProtocolError as error:
            await context.abort(grpc.StatusCode[error.code], error.message)
        finally:
            self._open -= 1
        return b""

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        first = True
        async for data in soon(requests):
            most = self._allowance.left
            logs = await read(data, partial(decode_access_logs, first=first, most=most))
            if first:
                admit(logs.node)
                first = False
            self._allowance.spend(logs.looked)
            if logs.samples:
                self._sink.sampled(logs.samples)
            await asyncio.sleep(self._open / MESSAGES)
