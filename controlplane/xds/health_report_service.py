"""The health discovery service: each Envoy checks some replicas, and says what it sees."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Protocol

import grpc

from controlplane.resources.health_checks import Checked, health_check_specifier
from controlplane.resources.views import View
from controlplane.signals.load import Endpoint
from controlplane.xds.connection import Context, read, soon
from controlplane.xds.errors import ProtocolError
from controlplane.xds.node import admit
from controlplane.xds.reports import decode_health_report

SERVICE: Final = "envoy.service.health.v3.HealthDiscoveryService"

LOOK: Final = 5.0
"""Seconds between two looks at what an Envoy is to check."""

MAX_STREAMS: Final = 10_000
"""Open at a time; more are refused."""


class HealthSink(Protocol):
    """Says what is to be checked and takes what is seen; no method may block or raise."""

    def to_check(self, node: str, view: View, known: tuple[Checked, ...]) -> tuple[Checked, ...]:
        """What a node is to check that has checked what is known so far."""

    def health_seen(self, reporter: object, node: str, healthy: Mapping[Endpoint, bool]) -> None:
        """Take in a report; `reporter` is one object for all reports of a stream."""

    def health_left(self, reporter: object) -> None:
        """The reporter has gone."""


class HealthReportingService:
    """Asks every Envoy that comes for checks of some replicas, and hands on what it sees."""

    def __init__(self, sink: HealthSink, ready: Callable[[], bool]) -> None:
        """Prepare to ask.

        Args:
            sink: Takes the reports.
            ready: Whether there is a fleet yet that they can be about.
        """
        self._sink, self._ready, self._open = sink, ready, 0

    def handler(self) -> grpc.GenericRpcHandler:
        """Its method, for a gRPC server."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "StreamHealthCheck": grpc.stream_stream_rpc_method_handler(self._stream)
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        if not self._ready():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no configuration is loaded yet")
        if self._open >= MAX_STREAMS:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_STREAMS} Envoys report health already"
            )
        reporter, asking, name = object(), None, ""
        self._open += 1
        try:
            async for data in soon(requests):
                report = await read(data, decode_health_report)
                if asking is None:
                    node, view = admit(report.node)
                    name = node.id
                    asking = asyncio.create_task(self._ask(name, view, context), name="xds: health")
                else:
                    self._sink.health_seen(reporter, name, report.healthy)
        except ProtocolError as error:
            await context.abort(grpc.StatusCode[error.code], error.message)
        finally:
            self._open -= 1
            self._sink.health_left(reporter)
            if asking is not None:
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError, grpc.aio.BaseError):
                    await asking

    async def _ask(self, node: str, view: View, context: Context) -> None:
        """Say what is to be checked whenever that changes, until cancelled."""
        said: object = None
        known: tuple[Checked, ...] = ()
        while True:
            known = self._sink.to_check(node, view, known)
            wanted = [
                (it.pool.name, it.replica.address, it.pool.settings.health_check) for it in known
            ]
            if wanted != said:
                said = wanted
                await context.write(health_check_specifier(known))
            await asyncio.sleep(LOOK)
