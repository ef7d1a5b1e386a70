"""The client status discovery service: standard tools ask it what each Envoy holds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import grpc

from controlplane.identity import Identity
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.resource import TYPE_URLS
from controlplane.xds.authentication import Authenticator
from controlplane.xds.client_status import StatusRequest, decode_status_request, encode_config
from controlplane.xds.connection import Context, Methods
from controlplane.xds.node import Node, ProtocolError
from controlplane.xds.services import Catalog
from controlplane.xds.stream import Stream

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"

MAX_RESPONSE_BYTES: Final = 64 << 20
"""A longer answer is refused, so that asking for a whole fleet cannot exhaust our memory."""


AT_ONCE: Final = 4
"""Answers on streams that are made or wait to be read; others wait for their turn."""


class ClientStatusService:
    """Answers requests about the clients that are connected."""

    name = SERVICE

    def __init__(
        self,
        streams: Callable[[], Iterable[Stream]],
        newest: Callable[[], Catalog | None],
        write_timeout: float,
        authenticator: Authenticator,
    ) -> None:
        """Prepare to answer about streams, the oldest first.

        A client that the authenticator identifies is shown nobody but itself. A stream on which
        nobody reads is cut after `write_timeout` seconds.
        """
        self._streams = streams
        self._newest = newest
        self._write_timeout = write_timeout
        self._authenticator = authenticator
        self._turns = asyncio.Semaphore(AT_ONCE)

    def methods(self) -> Methods:
        return {
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
        }

    async def _fetch(self, request: bytes, context: Context) -> bytes:
        async with self._authenticator.call(context, needs_config=False) as identity:
            return await self._answer(request, identity)

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        async with self._authenticator.call(context, needs_config=False):
            async for request in self._authenticator.started(requests, context):
                async with self._turns:
                    # The certificate of its client may have expired since the request before.
                    answer = await self._answer(request, self._authenticator.identify(context))
                    try:
                        async with asyncio.timeout(self._write_timeout):
                            await context.write(answer)
                    except TimeoutError:
                        reason = f"the client read nothing for {self._write_timeout:g} s"
                        raise ProtocolError("DEADLINE_EXCEEDED", reason) from None

    async def _answer(self, data: bytes, identity: Identity | None) -> bytes:
        request, only = decode_status_request(data), identity.node if identity else None
        catalog, parts, size = self._newest(), [], 0
        for node, streams in self._nodes(request):
            if only not in (None, node.id):
                continue
            resources: dict[str, list[pb.GenericXdsConfig]] = {}
            for stream in streams:
                if catalog and stream.view:
                    of_stream: dict[str, list[pb.GenericXdsConfig]] = {}
                    for status in stream.resources(
                        catalog.view(stream.view), without_contents=request.without_contents
                    ):
                        of_stream.setdefault(status.type_url, []).append(status)
                    # A node that has just reconnected has two streams; the newer one counts.
                    resources |= of_stream
            listed = [status for url in TYPE_URLS for status in resources.get(url, ())]
            parts.append(encode_config(node, listed))
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

    def _nodes(self, request: StatusRequest) -> list[tuple[Node, list[Stream]]]:
        """The nodes that are asked for, by id, with their streams."""
        found: dict[str, tuple[Node, list[Stream]]] = {}
        for stream in self._streams():
            if stream.node and request.wants(stream.node):
                found.setdefault(stream.node.id, (stream.node, []))[1].append(stream)
        return [found[id_] for id_ in sorted(found)]
