"""The client status discovery service: standard tools ask it what each Envoy holds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import grpc

from controlplane.resources.resource import TYPE_URLS
from controlplane.xds.authentication import Authenticator
from controlplane.xds.client_status import (
    ResourceStatus,
    StatusRequest,
    decode_status_request,
    encode_config,
)
from controlplane.xds.connection import Context, soon
from controlplane.xds.node import Node, ProtocolError
from controlplane.xds.services import AnyStream, Catalog

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"

MAX_RESPONSE_BYTES: Final = 64 << 20
"""A longer answer is refused, so that asking for a whole fleet cannot exhaust our memory."""


AT_ONCE: Final = 4
"""Answers on streams that are made or wait to be read; others wait for their turn."""


class ClientStatusService:
    """Answers requests about the clients that are connected."""

    def __init__(
        self,
        streams: Callable[[], Iterable[AnyStream]],
        newest: Callable[[], Catalog | None],
        write_timeout: float,
        authenticator: Authenticator,
    ) -> None:
        """Prepare to answer.

        Args:
            streams: The open ones, the oldest first.
            newest: What clients should hold; None as long as nothing is loaded.
            write_timeout: Seconds after which a stream is cut on which nobody reads.
            authenticator: Says who asks; one that it identifies is shown nobody but itself.
        """
        self._streams = streams
        self._newest = newest
        self._write_timeout = write_timeout
        self._authenticator = authenticator
        self._turns = asyncio.Semaphore(AT_ONCE)

    def handler(self) -> grpc.GenericRpcHandler:
        """Its two methods, for a gRPC server."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _fetch(self, request: bytes, context: Context) -> bytes:
        identity = None
        try:
            identity = self._authenticator.identify(context)
            only = identity.node if identity else None
            return await self._answer(decode_status_request(request), only)
        except ProtocolError as error:
            await self._authenticator.abort(context, error, identity)

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        async for request in self._soon(requests, context):
            async with self._turns:
                answer = await self._fetch(request, context)
                try:
                    async with asyncio.timeout(self._write_timeout):
                        await context.write(answer)
                except TimeoutError:
                    reason = f"the client read nothing for {self._write_timeout:g} s"
                else:
                    continue
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, reason)

    async def _soon(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        try:
            async for request in soon(requests):
                yield request
        except ProtocolError as error:
            await context.abort(grpc.StatusCode[error.code], error.message)

    async def _answer(self, request: StatusRequest, only: str | None) -> bytes:
        catalog, parts, size = self._newest(), [], 0
        for node, streams in self._nodes(request):
            if only not in (None, node.id):
                continue
            resources: dict[str, list[ResourceStatus]] = {}
            for stream in streams:
                if catalog and stream.view:
                    of_stream: dict[str, list[ResourceStatus]] = {}
                    for status in stream.resources(catalog.view(stream.view)):
                        of_stream.setdefault(status.type_url, []).append(status)
                    # A node that has just reconnected has two streams; the newer one counts.
                    resources |= of_stream
            listed = [status for url in TYPE_URLS for status in resources.get(url, ())]
            parts.append(encode_config(node, listed, without_contents=request.without_contents))
            size += len(parts[-1])
            if size > MAX_RESPONSE_BYTES:
                raise ProtocolError(
                    "RESOURCE_EXHAUSTED",
                    f"the answer is longer than {MAX_RESPONSE_BYTES >> 20} MiB: ask for fewer nodes"
                    " with node_matchers, or set exclude_resource_contents",
                )
            # Envoys get their updates in between.
            await asyncio.sleep(0)
        return b"".join(parts)

    def _nodes(self, request: StatusRequest) -> list[tuple[Node, list[AnyStream]]]:
        """The nodes that are asked for, by id, with their streams."""
        found: dict[str, tuple[Node, list[AnyStream]]] = {}
        for stream in self._streams():
            if stream.node and request.wants(stream.node):
                found.setdefault(stream.node.id, (stream.node, []))[1].append(stream)
        return [found[id_] for id_ in sorted(found)]
