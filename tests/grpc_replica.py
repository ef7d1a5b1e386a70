"""A replica that speaks gRPC: the standard health service, and one unary method that embeds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as grpc_health_aio

from controlplane.resources.routes import POOL_HEADER
from tests.processes import DEADLINE, free_port

SERVICE = "embed.v1.Embed"
METHOD = f"/{SERVICE}/Embed"

Fault = Literal["none", "unavailable", "full", "internal", "wrong", "late", "hangs"]
"""What becomes of requests: answers; UNAVAILABLE, RESOURCE_EXHAUSTED, INTERNAL or INVALID_ARGUMENT
at once; INTERNAL after an answer has begun; nothing."""

STATUS: dict[Fault, grpc.StatusCode] = {
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "full": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "internal": grpc.StatusCode.INTERNAL,
    "wrong": grpc.StatusCode.INVALID_ARGUMENT,
}


class GrpcReplica:
    """Counts what reaches it.

    Attributes:
        port: Where it serves.
        reached: Requests that reached it.
        fault: What becomes of them.
        service: Seconds that an answer takes.
    """

    def __init__(self, service: float = 0.005) -> None:
        self.port = free_port()
        self.reached = 0
        self.fault: Fault = "none"
        self.service = service
        self._health = grpc_health_aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"127.0.0.1:{self.port}"

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        """Serve until it is stopped; over TLS where there are credentials."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Embed": grpc.unary_unary_rpc_method_handler(self._embed),
            "EmbedEach": grpc.stream_stream_rpc_method_handler(self._embed_each),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if credentials is None:
            server.add_insecure_port(self.address)
        else:
            server.add_secure_port(self.address, credentials)
        await server.start()
        self._server = server
        await self.says("SERVING")

    async def says(self, status: Literal["SERVING", "NOT_SERVING"]) -> None:
        """Have its health service say this."""
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.ServingStatus.Value(status))

    async def die(self) -> None:
        """End at once, with all that it has in flight."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def _embed(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        self.reached += 1
        if (status := STATUS.get(self.fault)) is not None:
            await context.abort(status, "as the test has it")
        if self.fault == "late":
            await context.send_initial_metadata(())
            await asyncio.sleep(0.05)
            await context.abort(grpc.StatusCode.INTERNAL, "as the test has it")
        await asyncio.sleep(60 if self.fault == "hangs" else self.service)
        return self.address.encode()

    async def _embed_each(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        async for request in requests:
            self.reached += 1
            yield request


@asynccontextmanager
async def grpc_replica(
    service: float = 0.005, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[GrpcReplica]:
    """Run one in this process until the context closes, or it dies."""
    replica = GrpcReplica(service)
    await replica.start(credentials)
    try:
        yield replica
    finally:
        await replica.die()


class Client:
    """Sends requests of gRPC through a listener."""

    def __init__(self, channel: grpc.aio.Channel, pool: str) -> None:
        self._metadata = ((POOL_HEADER, pool),)
        self._embed: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        self._embed_each: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{SERVICE}/EmbedEach"
        )

    async def embed(self) -> tuple[grpc.StatusCode, str]:
        """Send a request; returns its status, and who answered or what the error says."""
        try:
            answer = await self._embed(b"a text", timeout=DEADLINE, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return grpc.StatusCode.OK, answer.decode()

    async def echoed(self, *texts: bytes) -> list[bytes]:
        """Send each text when the one before was answered, on one stream."""
        call = self._embed_each(timeout=DEADLINE)
        found = []
        for text in texts:
            await call.write(text)
            answer = await call.read()
            assert isinstance(answer, bytes)
            found.append(answer)
        await call.done_writing()
        return found


@asynccontextmanager
async def client(
    address: str,
    credentials: grpc.ChannelCredentials | None = None,
    name: str | None = None,
    pool: str = "p",
) -> AsyncIterator[Client]:
    """A client of a listener; over TLS where there are credentials, and verified by name."""
    options: list[tuple[str, Any]] = [
        ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1),
    ]  # fmt: skip
    if name is not None:
        options.append(("grpc.ssl_target_name_override", name))
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    async with channel:
        yield Client(channel, pool)
