"""Serves Envoys over gRPC: bytes in and out of `DeltaStream`, one per stream.

In comes a slot with the newest catalog of snapshots, out go responses, and events for those who
log and count. Nothing about the protocol is decided here.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol, TypeAlias

import grpc

from controlplane.edges.latest import Latest
from controlplane.resources.resource import Snapshot
from controlplane.resources.views import View
from controlplane.settings import Address
from controlplane.xds.delta import DeltaStream, Response
from controlplane.xds.errors import ProtocolError
from controlplane.xds.events import Disconnected, Event
from controlplane.xds.nodes import NodeStatus
from controlplane.xds.requests import decode_delta

_log = logging.getLogger(__name__)

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"

MAX_STREAMS: Final = 10_000
"""Streams at a time, of all clients; more are refused with RESOURCE_EXHAUSTED."""

MAX_MESSAGE_BYTES: Final = 4 << 20
"""Longer requests are refused; the first one of an Envoy has 60 kB."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    # Envoy pings as often as its bootstrap says; by default gRPC answers pings more frequent than
    # every 5 minutes, on a connection without calls or data, by closing it.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A peer that is gone or stopped answers no pings; without them its streams would stay.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Two servers on one port would each get some of the Envoys.
    ("grpc.so_reuseport", 0),
)


class Catalog(Protocol):
    """Where snapshots come from."""

    def view(self, view: View) -> Snapshot:
        """The snapshot for all nodes with this view."""


Observer: TypeAlias = Callable[[str, Event], None]
"""Called with the id of a node and what happened on its stream; must neither block nor raise."""


_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class BindError(OSError):
    """The address to serve on cannot be had."""


class _Connection:
    """One open stream, shared by the task that reads it and the one that writes it."""

    def __init__(self) -> None:
        self.stream = DeltaStream()
        self.catalog: Catalog | None = None
        self.changed = asyncio.Event()
        self.ending: tuple[grpc.StatusCode, str] | None = None

    def end(self, code: grpc.StatusCode, message: str = "") -> None:
        """Have the writer end the stream; the first reason counts."""
        self.ending = self.ending or (code, message)
        self.changed.set()


class XdsServer:
    """The gRPC server. `start` it, and `stop` it before the event loop ends."""

    def __init__(
        self,
        address: Address,
        catalog: Latest[Catalog | None],
        observe: Observer,
        *,
        write_timeout: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a server.

        Args:
            address: To serve on; port 0 takes a free one.
            catalog: The newest catalog; None as long as nothing is loaded.
            observe: Told of everything that happens.
            write_timeout: Seconds after which a client that reads nothing is cut off.
            clock: Seconds that never go back, for `NodeStatus`.
        """
        self._address = address
        self._catalog = catalog
        self._observe = observe
        self._write_timeout = write_timeout
        self._clock = clock
        self._connections: set[_Connection] = set()
        self._server: grpc.aio.Server | None = None
        self._waker: asyncio.Task[None] | None = None

    async def start(self) -> Address:
        """Begin to serve.

        Returns:
            The address served on, with the real port.

        Raises:
            BindError: When the address is in use or cannot be bound.
        """
        server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_STREAMS)
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta)
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        try:
            port = server.add_insecure_port(str(self._address))
        except RuntimeError:
            raise BindError(
                f"cannot serve xDS on {self._address}: it is in use or not an address of this host"
            ) from None
        await server.start()
        self._server = server
        self._waker = asyncio.create_task(self._wake(), name="xds: new catalogs")
        return Address(self._address.host, port)

    async def stop(self, grace: float) -> None:
        """Refuse new streams and end the open ones, by force after `grace` seconds.

        Envoys keep their configuration and try to reconnect.
        """
        if self._waker:
            self._waker.cancel()
            await asyncio.gather(self._waker, return_exceptions=True)
        for connection in self._connections:
            connection.end(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if self._server:
            await self._server.stop(grace)

    def nodes(self) -> tuple[NodeStatus, ...]:
        """What is known of every connected node, by id."""
        known = (connection.stream.status() for connection in self._connections)
        return tuple(sorted(filter(None, known), key=lambda status: status.id))

    async def _wake(self) -> None:
        revision = self._catalog.revision
        while True:
            revision = await self._catalog.newer_than(revision)
            for connection in self._connections:
                connection.changed.set()

    async def _delta(self, requests: AsyncIterator[bytes], context: _Context) -> None:
        """Serve one stream; gRPC cancels this when the client leaves."""
        if self._catalog.value is None:
            # An empty answer would take away all that Envoy has (istio#25495).
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no configuration is loaded yet")
        connection = _Connection()
        stream = connection.stream
        self._connections.add(connection)
        reader = asyncio.create_task(self._read(connection, requests), name="xds: reader")
        try:
            await self._write(connection, context)
        finally:
            reader.cancel()
            self._connections.discard(connection)
            self._report(stream, Disconnected(connection.ending[1] if connection.ending else ""))
            await asyncio.gather(reader, return_exceptions=True)
        if connection.ending and connection.ending[0] is not grpc.StatusCode.OK:
            # With a client that does not read this lasts until it reads or its connection ends;
            # all that is kept for it is the one response that it did not take.
            await context.abort(*connection.ending)

    async def _read(self, connection: _Connection, requests: AsyncIterator[bytes]) -> None:
        """Take requests as fast as they come, also while the writer waits for the client."""
        stream = connection.stream
        try:
            async for data in requests:
                for event in stream.receive(decode_delta(data), self._clock()):
                    self._report(stream, event)
                connection.changed.set()
            connection.end(grpc.StatusCode.OK)
        except ProtocolError as error:
            connection.end(grpc.StatusCode[error.code], error.message)
        except Exception as error:  # noqa: BLE001 - the last frame of a task; it is logged
            # No client may learn of our faults, nor wait for a stream that nobody reads.
            _log.exception("a fault of ours ends the stream of a client")
            connection.end(grpc.StatusCode.INTERNAL, f"internal error: {type(error).__name__}")

    async def _write(self, connection: _Connection, context: _Context) -> None:
        """Send what is due after every change, until the stream is to end."""
        while await connection.changed.wait():
            connection.changed.clear()
            while response := self._next(connection):
                try:
                    async with asyncio.timeout(self._write_timeout):
                        await context.write(response.encoded)
                except TimeoutError:
                    problem = f"the client read nothing for {self._write_timeout:g} s"
                    connection.end(grpc.StatusCode.DEADLINE_EXCEEDED, problem)
                    return
                self._report(connection.stream, response.event)
            if connection.ending:
                return

    def _next(self, connection: _Connection) -> Response | None:
        if connection.ending:
            return None
        stream, newest = connection.stream, self._catalog.value
        if stream.view is not None and newest is not None and newest is not connection.catalog:
            stream.update(newest.view(stream.view))
            connection.catalog = newest
        return stream.next_response()

    def _report(self, stream: DeltaStream, event: Event) -> None:
        if stream.node:
            self._observe(stream.node.id, event)
