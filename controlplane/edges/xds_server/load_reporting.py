"""The load reporting service: every Envoy says what it has sent to which replica."""

from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

import grpc

from controlplane.edges.xds_server.connection import Context
from controlplane.xds.admission import admit
from controlplane.xds.errors import ProtocolError
from controlplane.xds.load_stats import (
    LoadStats,
    decode_load_stats,
    encode_load_stats_response,
)

SERVICE: Final = "envoy.service.load_stats.v3.LoadReportingService"

INTERVAL: Final = 0.5
"""Seconds between two reports of an Envoy, as between two scrapes of a replica."""

AT_A_TIME: Final = 50
"""Envoys that may report so often. Each report repeats the 60 kB that an Envoy says of itself, so
more of them report more rarely: a hundred reports a second are 6 MB a second."""


class LoadSink(Protocol):
    """Where reports go; neither method may block or raise."""

    def reported(self, reporter: object, stats: LoadStats) -> None:
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
        reporter = object()
        try:
            async for data in requests:
                first = reporter not in self._reporters
                stats = decode_load_stats(data, first=first)
                if first:
                    admit(stats.node)
                    self._reporters.add(reporter)
                    interval = INTERVAL * max(1.0, len(self._reporters) / AT_A_TIME)
                    await context.write(encode_load_stats_response(interval))
                self._sink.reported(reporter, stats)
        except ProtocolError as error:
            await context.abort(grpc.StatusCode[error.code], error.message)
        finally:
            self._reporters.discard(reporter)
            self._sink.left(reporter)
