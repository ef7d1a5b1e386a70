"""Replicas that speak gRPC, for clients without a proxy, with metrics over HTTP/1."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2

from tests.processes import free_port
from tests.proxyless.client import METHOD
from tests.replica import BYTES_PER_TOKEN, FakeReplica, replica

_HTTP2 = b"PRI "
CHECK = "/grpc.health.v1.Health/Check"


class Door:
    """One port for both: gRPC by the first bytes of a connection, and HTTP/1.

    Attributes:
        fake: The replica behind it.
        id: Its own, which it answers calls with.
        calls: When each call came, seconds of the event loop's clock.
        swallowed: How often clients sent something while it hung.
    """

    def __init__(self, fake: FakeReplica, id_: str) -> None:
        self.fake, self.id = fake, id_
        self.calls: list[float] = []
        self.port, self._grpc_port = free_port(), free_port()
        self._open: set[asyncio.StreamWriter] = set()
        self.swallowed = 0
        self._hangs = False
        self._listening: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it serves both."""
        return f"127.0.0.1:{self.port}"

    async def embed(self, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """Answer a call with its own id."""
        self.calls.append(asyncio.get_running_loop().time())
        await self.fake.compute(len(body) // BYTES_PER_TOKEN)
        return self.id.encode()

    async def check(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """Answer as its health check over HTTP would."""
        word = "SERVING" if self.fake.loaded else "NOT_SERVING"
        status = health_pb2.HealthCheckResponse.ServingStatus.Value(word)
        return health_pb2.HealthCheckResponse(status=status).SerializeToString()

    def hang(self) -> None:
        """Answer nothing any more, and keep all connections."""
        self._hangs = True

    async def start(self) -> None:
        """Begin to listen, or begin again."""
        self._hangs = False
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def stop(self) -> None:
        """Close everything, as the kernel does for a process that ends."""
        assert self._listening is not None
        self._listening.close()
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            begun = await reader.readexactly(len(_HTTP2))
            is_grpc = begun == _HTTP2
            port = self._grpc_port if is_grpc else self.fake.port
            inner, outer = await asyncio.open_connection("127.0.0.1", port)
            self._open.add(outer)
            outer.write(begun)
            # Where it hangs already only checks get so far: a call waits for an answer first.
            counts = is_grpc and not self._hangs
            await asyncio.gather(
                self._copy(reader, outer, counts=counts), self._copy(inner, writer)
            )
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._open.discard(writer)

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool = False
    ) -> None:
        while data := await reader.read(1 << 16):
            if self._hangs:
                self.swallowed += counts
                continue
            writer.write(data)
            await writer.drain()
        writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Door"]:
        """Serve until the context closes."""
        server = grpc.aio.server()
        for method, answers in ((METHOD, self.embed), (CHECK, self.check)):
            service, _, name = method[1:].partition("/")
            handler = grpc.method_handlers_generic_handler(
                service, {name: grpc.unary_unary_rpc_method_handler(answers)}
            )
            server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"127.0.0.1:{self._grpc_port}")
        await server.start()
        await self.start()
        try:
            yield self
        finally:
            with contextlib.suppress(AssertionError):
                self.stop()
            await server.stop(0)


@asynccontextmanager
async def grpc_replica(id_: str, service: float = 0.002) -> AsyncIterator[Door]:
    """A replica that takes so many seconds for a call."""
    async with replica(service) as fake, Door(fake, id_).serving() as door:
        yield door
