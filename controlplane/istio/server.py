"""The gRPC server that istiod connects to, and what it is given of each new catalog."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Final

import grpc

from controlplane.config import Address
from controlplane.config.config import IstioSettings
from controlplane.identity import Credentials
from controlplane.istio.resources import NOTHING, Configuration, configure
from controlplane.istio.stream import Stream
from controlplane.latest import Latest
from controlplane.resources.catalog import ALL, Catalog
from controlplane.xds import AGGREGATED, Offer, ProtocolError
from controlplane.xds.connection import FIRST_REQUEST, TOO_LATE, Context, Methods
from controlplane.xds.grpc_server import ReloadableCredentials, serve

_log = logging.getLogger(__name__)

MAX_STREAMS: Final = 64
"""Replicas of istiod that are connected at a time; more are refused."""

MAX_MESSAGE_BYTES: Final = 1 << 20
"""Longer requests are refused; those of istiod have some hundred bytes."""


class IstioServer:
    """The server. `start` it, and `stop` it before the event loop ends."""

    def __init__(
        self,
        settings: IstioSettings,
        offered: Latest[Offer | None],
        catalog: Callable[[], Catalog | None],
        credentials: Credentials | None = None,
    ) -> None:
        self._settings = settings
        self._offered = offered
        self._catalog = catalog
        self._credentials = ReloadableCredentials(credentials)
        self._built_from: Catalog | None = None
        self._configuration = NOTHING
        self._server: grpc.aio.Server | None = None
        self._streams: set[Stream] = set()

    async def start(self) -> Address:
        """Begin to serve; returns the address with the real port, or raises `BindError`."""
        methods: Methods = {
            f"Stream{AGGREGATED.noun}": grpc.stream_stream_rpc_method_handler(self._serve)
        }
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        services = [(AGGREGATED.name, methods)]
        self._server, address = await serve(
            "istiod", self._settings.address, self._credentials, services, options, MAX_STREAMS
        )
        return address

    async def stop(self) -> None:
        """End all streams. istiod keeps what it holds, and tries to connect again."""
        if self._server:
            await self._server.stop(None)

    def accept(self, credentials: Credentials) -> None:
        """Serve with these, which were checked, from the next connection on; no stream ends."""
        self._credentials.accept(credentials)

    @property
    def connected(self) -> int:
        """How many istiods are connected."""
        return len(self._streams)

    def pools(self) -> Collection[str]:
        """The names of the pools that any istiod was given."""
        return self._configuration.pools if self._streams else ()

    async def _serve(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Serve one stream; gRPC cancels this when the client leaves."""
        stream, count = Stream(), self._offered.revision
        reading: asyncio.Future[object] = asyncio.ensure_future(_first(context))
        newer = asyncio.create_task(self._offered.newer_than(count), name="istio: catalog")
        self._streams.add(stream)
        try:
            while True:
                await asyncio.wait((reading, newer), return_when=asyncio.FIRST_COMPLETED)
                if newer.done():
                    again = self._offered.newer_than(newer.result())
                    newer = asyncio.create_task(again, name="istio: catalog")
                if reading.done():
                    if not isinstance(data := reading.result(), bytes):
                        return
                    _receive(stream, data)
                    reading = asyncio.ensure_future(context.read())
                for response in stream.responses(self._newest()):
                    await context.write(response)
        except ProtocolError as error:
            _log.warning("the stream of istiod %s ends: %s", stream.node or "", error.message)
            await context.abort(grpc.StatusCode[error.code], error.message)
        finally:
            self._streams.discard(stream)
            reading.cancel()
            newer.cancel()
            if stream.node is not None:
                _log.info("istiod %s disconnected", stream.node)

    def _newest(self) -> Configuration | None:
        """What istiod should hold; None while nothing that it holds may be taken away."""
        catalog = self._catalog()
        if catalog is None or not (catalog.released is None or ALL in catalog.released):
            return None
        if catalog is not self._built_from:
            before, self._built_from = self._configuration, catalog
            self._configuration = configure(catalog.pools, self._settings, before)
            for name, why in self._configuration.left_out.items():
                if before.left_out.get(name) != why:
                    _log.warning("pool %s is not given to istiod: %s", name, why)
        return self._configuration


def _receive(stream: Stream, data: bytes) -> None:
    is_first = stream.node is None
    rejected = stream.receive(data)
    if is_first:
        _log.info("istiod %s connected", stream.node)
    if rejected is not None:
        _log.warning("istiod %s rejected %s", stream.node, rejected)


async def _first(context: Context) -> object:
    """Read the first request, which must come soon."""
    try:
        async with asyncio.timeout(FIRST_REQUEST):
            return await context.read()
    except TimeoutError:
        raise ProtocolError("DEADLINE_EXCEEDED", TOO_LATE) from None
