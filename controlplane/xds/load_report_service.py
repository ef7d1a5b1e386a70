"""The load reporting service: every Envoy says what it has sent to which replica."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final, Protocol

import grpc

from controlplane.signals.reporting import report_interval
from controlplane.xds.connection import Context, read, soon
from controlplane.xds.errors import ProtocolError
from controlplane.xds.node import admit
from controlplane.xds.reports import (
    LoadStats,
    decode_load_stats,
    encode_load_stats_response,
)

SERVICE: Final = "envoy.service.load_stats.v3.LoadReportingService"

OFF: Final = 2.0
"""Factor by which an interval must be off before an Envoy is asked anew."""


class LoadSink(Protocol):
    """Where reports go; neither method may raise, or keep the event loop."""

    async def reported(self, reporter: object, stats: LoadStats) -> None:
        """Take in a report; `reporter` is one object for all reports of a stream."""

    def left(self, reporter: object) -> None:
        """The reporter has gone."""


class LoadReportingService:
    """Asks every Envoy that comes for reports, and hands them on."""

    def __init__(self, sink: LoadSink, ready: Callable[[], bool]) -> None:
        """Prepare to ask.

        Args:
            sink: Takes the reports.
            ready: Whether there is a fleet yet that they can be about.
        """
        self._sink = sink
        self._ready = ready
        self._reporters: set[object] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        """Its method, for a gRPC server."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "StreamLoadStats": grpc.stream_stream_rpc_method_handler(self._stream)
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        if not self._ready():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no configuration is loaded yet")
        reporter, told = object(), 0.0
        try:
            async for data in soon(requests):
                first = reporter not in self._reporters
                stats = await read(data, partial(decode_load_stats, first=first))
                if first:
                    admit(stats.node)
                    self._reporters.add(reporter)
                wanted = report_interval(len(self._reporters), len(stats.loads))
                if first or not told / OFF < wanted < told * OFF:
                    told = wanted
                    await context.write(encode_load_stats_response(told))
                await self._sink.reported(reporter, stats)
        except ProtocolError as error:
            await context.abort(grpc.StatusCode[error.code], error.message)
        finally:
            self._reporters.discard(reporter)
            self._sink.left(reporter)
