"""GET requests over connections that are kept: one for each address, for the next scrape."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final

from yarl import URL

from controlplane.edges.http_response import AnswerError, Response
from controlplane.settings import Address

IDLE: Final = 60.0
"""Seconds for which a connection is kept that nobody uses."""

_RECEIVED: Final = 1 << 18
"""Bytes that are taken from a socket at a time: most expositions are one piece."""

# No redirects: an address is a host and a port that somebody registered, not a place to be sent
# on from. No compression: nothing that is small on the wire can be large in memory.
_HEADERS: Final = (
    "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: identity\r\nUser-Agent: plimsoll\r\n\r\n"
)


class DisconnectedError(AnswerError):
    """The other side has closed the connection without a word of an answer."""

    def __init__(self) -> None:
        super().__init__("the connection was closed without an answer")


class Connection(asyncio.BufferedProtocol):
    """One connection; one request at a time."""

    def __init__(self, buffer: memoryview, clock: Callable[[], float]) -> None:
        self._buffer = buffer
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._response = Response(0)
        self._answered: asyncio.Future[Response] | None = None
        self.began_at: float | None = None
        self.used_at = clock()

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes, most: int) -> Response:
        """Send a request and wait for the whole answer.

        Raises:
            DisconnectedError: The other side has gone before it answered anything.
            AnswerError: What came is no answer, or longer than `most` bytes.
        """
        if self._transport is None or self._transport.is_closing():
            raise DisconnectedError
        self._response, self.began_at = Response(most), None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answered
        finally:
            self._answered = None
            self.used_at = self._clock()

    def close(self) -> None:
        """Close it, whatever is on the way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a socket's always is
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where to put what comes; the same for all, as it is read at once."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So much has come."""
        if self._answered is None or self._answered.done():
            self.close()
            return
        if self.began_at is None:
            self.began_at = self._clock()
        try:
            self._response.feed(self._buffer[:nbytes])
        except AnswerError as error:
            self._answered.set_exception(error)
        else:
            if self._response.is_whole:
                self._answered.set_result(self._response)

    def eof_received(self) -> None:
        """The other side has nothing more to say; asyncio closes the connection then."""
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """It is closed."""
        self._ended()

    def _ended(self) -> None:
        if self._answered is None or self._answered.done():
            return
        if self.began_at is None:
            self._answered.set_exception(DisconnectedError())
            return
        try:
            self._response.end()
        except AnswerError as error:
            self._answered.set_exception(error)
        else:
            self._answered.set_result(self._response)


class Session:
    """Connections to any number of addresses."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._idle: dict[Address, Connection] = {}
        self._buffer = memoryview(bytearray(_RECEIVED))

    async def get(self, address: Address, path: str, most: int) -> tuple[Response, float]:
        """Ask once.

        Args:
            address: Whom.
            path: For what, with a query if there is one.
            most: Bytes that the answer may have.

        Returns:
            The answer, and when its first byte came.

        Raises:
            OSError: Nobody can be reached there.
            AnswerError: What came is no answer, or a longer one.
        """
        request = _request(address, path)
        known = self._idle.pop(address, None)
        if known is not None:
            try:
                return await self._ask(address, known, request, most)
            except DisconnectedError:
                # It was closed for having been idle, perhaps while the request was on its way.
                pass
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._buffer, self._clock), address.host, address.port
        )
        return await self._ask(address, connection, request, most)

    def close_idle(self, seconds: float = 0.0) -> None:
        """Close the connections that nobody has used for so long."""
        oldest = self._clock() - seconds
        for address, connection in [*self._idle.items()]:
            if connection.used_at <= oldest or not connection.is_open:
                del self._idle[address]
                connection.close()

    async def _ask(
        self, address: Address, connection: Connection, request: bytes, most: int
    ) -> tuple[Response, float]:
        kept = False
        try:
            response = await connection.ask(request, most)
            kept = response.keeps_alive and address not in self._idle
            if kept:
                self._idle[address] = connection
            return response, connection.began_at or self._clock()
        finally:
            if not kept:
                connection.close()


@asynccontextmanager
async def session(clock: Callable[[], float] = time.monotonic) -> AsyncIterator[Session]:
    """A session; leaving the context closes its connections.

    Args:
        clock: Seconds that never go back.
    """
    opened = Session(clock)
    loop = asyncio.get_running_loop()

    timers: list[asyncio.TimerHandle] = []

    def sweep() -> None:
        opened.close_idle(IDLE)
        timers[:] = [loop.call_later(IDLE / 2, sweep)]

    sweep()
    try:
        yield opened
    finally:
        timers[0].cancel()
        opened.close_idle()


@lru_cache(maxsize=1 << 14)
def _request(address: Address, path: str) -> bytes:
    url = URL(f"http://{address}{path}")
    return (
        f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n{_HEADERS}"
    ).encode("ascii")
