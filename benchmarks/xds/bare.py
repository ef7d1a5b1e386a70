"""What gRPC itself costs: a server that writes the same bytes to every stream and reads answers.

It knows no protocol: no node, no subscription, no nonce, nothing to compare or to time out.
"""

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import grpc

from benchmarks.xds.fleet import ChangingCatalog, pool_name
from controlplane.latest import Latest
from controlplane.resources.resource import ENDPOINT
from controlplane.resources.views import View
from controlplane.xds import AGGREGATED, encode_delta

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Bare:
    """Writes the endpoints of the first pool, encoded before, whenever they have changed."""

    def __init__(self, content: ChangingCatalog, acknowledged: Callable[[], None]) -> None:
        """Prepare to serve.

        Args:
            content: What is served.
            acknowledged: Called for every answer.
        """
        self._content = content
        self._acknowledged = acknowledged
        self._message = Latest(self._encoded())
        self._server = grpc.aio.server()

    async def start(self) -> int:
        """Serve; returns the port."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._stream)
        }
        handler = grpc.method_handlers_generic_handler(AGGREGATED.name, methods)
        self._server.add_generic_rpc_handlers((handler,))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    def push(self) -> None:
        """Write the newest message to every stream."""
        self._message.set(self._encoded())

    async def stop(self) -> None:
        """End all streams."""
        await self._server.stop(1)

    def _encoded(self) -> bytes:
        resource = self._content.newest.view(View()).get(ENDPOINT, pool_name(0))
        assert resource is not None
        # As long as ours: sixteen characters of version, and a nonce of two digits.
        return encode_delta(
            version=resource.version, resources=[resource], type_url=ENDPOINT, nonce="10"
        )

    async def _stream(self, _: AsyncIterator[bytes], context: _Context) -> None:
        await context.read()
        while True:
            revision, message = self._message.revision, self._message.value
            await context.write(message)
            if not isinstance(await context.read(), bytes):
                return
            self._acknowledged()
            await self._message.newer_than(revision)
