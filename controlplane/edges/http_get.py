"""GET over a connection that is kept: what a scrape needs of HTTP, and no more.

A general client took longer for a scrape than it takes to read and to weigh what was scraped; see
docs/decisions/0010. The protocol itself is left to llhttp, the parser of Node.js.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from aiohappyeyeballs import start_connection
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from yarl import URL

from controlplane.settings import Address

MAX_HEAD: Final = 32 << 10
"""Bytes of an answer's headers."""

_OK: Final = HTTPStatus.OK.value
_RECEIVED: Final = 1 << 18
"""Bytes that are taken from a socket at a time: most expositions are one piece."""
_ATTEMPT: Final = 0.25
"""Seconds after which the next address of a name is tried as well (RFC 8305)."""

# No compression: nothing that is small on the wire can be large in memory.
_HEADERS: Final = (
    "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: identity\r\nUser-Agent: plimsoll\r\n\r\n"
)


class AnswerError(Exception):
    """What came is no answer; the message says why in a few words."""


class DisconnectedError(AnswerError):
    """The connection was closed before a byte of an answer had come."""

    def __init__(self) -> None:
        super().__init__("the connection was closed without an answer")


class TooLongError(AnswerError):
    """The body is longer than it may be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole one.

    Attributes:
        status: Of its first line.
        encoding: Of its body; "identity" is none.
        body: As it came; empty where the status is above 200.
        began_at: When its first byte came, seconds of the clock.
    """

    status: int
    encoding: str
    body: bytes
    began_at: float


class Receiver:
    """Room for what comes, shared by connections of one event loop: it is read at once."""

    def __init__(self, clock: Callable[[], float], most: int) -> None:
        """Prepare.

        Args:
            clock: Seconds that never go back.
            most: Bytes that a body may have.
        """
        self.clock = clock
        self.most = most
        self.buffer = memoryview(bytearray(_RECEIVED))


class _Connection(asyncio.BufferedProtocol):
    """One connection; one request at a time. It is also what the parser tells of what it finds."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Answer] | None = None
        self._begin()

    def _begin(self) -> None:
        self._began_at: float | None = None
        self._encoding = "identity"
        self._head = self._named = self._size = 0
        self._pieces: list[bytes] = []
        # Whether the headers are over, and whether they say where the body ends.
        self._has_head = self._has_end = False

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, request: bytes) -> Answer:
        if self._transport is None or self._transport.is_closing():
            raise DisconnectedError
        self._begin()
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answered
        finally:
            self._answered = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a socket's always is
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._receiver.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._began_at is None:
            self._began_at = self._receiver.clock()
        if not self._has_head:
            self._head += nbytes
        try:
            self._parser.feed_data(self._receiver.buffer[:nbytes])
        except HttpParserUpgrade:
            self._fail(AnswerError("it answers 101, which nobody asked for"))
        except HttpParserError as error:
            self._fail(AnswerError(f"this is no HTTP answer: {str(error)[:100]}"))
        else:
            if not self._has_head and self._head > MAX_HEAD:
                self._fail(AnswerError(f"its headers are longer than {MAX_HEAD} bytes"))

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._ended()

    def on_message_begin(self) -> None:
        if self._answered is None or self._answered.done():
            # Nobody has asked for that: whatever comes next would not be an answer either.
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._named += len(name) + len(value)
        if self._named > MAX_HEAD:
            self._fail(AnswerError(f"its headers are longer than {MAX_HEAD} bytes"))
        match name.lower():
            case b"content-encoding":
                self._encoding = value.decode("latin-1").strip().lower()
            case b"content-length" | b"transfer-encoding":
                self._has_end = True

    def on_headers_complete(self) -> None:
        self._has_head = True
        if (status := self._parser.get_status_code()) > _OK:
            # Its body says nothing that is looked at.
            self.close()
            self._succeed(status)

    def on_body(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._receiver.most:
            self._pieces.clear()
            self._fail(TooLongError(f"is longer than {self._receiver.most >> 20} MiB"))
        else:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < _OK:
            # Only a word beforehand: the answer is still to come.
            self._has_head = self._has_end = False
            return
        if not self._parser.should_keep_alive():
            self.close()
        self._succeed(status)

    def _ended(self) -> None:
        """The other side has nothing more to say."""
        if self._answered is None or self._answered.done():
            return
        if self._began_at is None:
            self._fail(DisconnectedError())
        elif self._has_head and not self._has_end:
            self._succeed(self._parser.get_status_code())
        else:
            self._fail(AnswerError("the connection was closed before the answer was whole"))

    def _succeed(self, status: int) -> None:
        if self._answered is not None and not self._answered.done():
            assert self._began_at is not None  # noqa: S101 - it has come
            body = b"".join(self._pieces)
            # A thousand connections would else keep a thousand bodies until the next ones come.
            self._pieces.clear()
            self._answered.set_result(Answer(status, self._encoding, body, self._began_at))

    def _fail(self, error: AnswerError) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)


class Getter:
    """Asks one address at a time, and keeps the connection for the next time; `close` it."""

    def __init__(self, receiver: Receiver) -> None:
        """Prepare; nothing is opened yet.

        Args:
            receiver: Of this event loop.
        """
        self._receiver = receiver
        self._address: Address | None = None
        self._connection: _Connection | None = None

    async def get(self, address: Address, path: str) -> Answer:
        """Ask once; whoever is cancelled meanwhile has the connection closed.

        Args:
            address: Whom.
            path: For what, with a query if there is one.

        Raises:
            OSError: Nobody can be reached there.
            AnswerError: What came is no answer, or a longer one than may be.
        """
        request = _request(address, path)
        if address != self._address:
            self.close()
            self._address = address
        known = self._connection
        try:
            if known is not None:
                try:
                    return await known.ask(request)
                except DisconnectedError:
                    # It was closed for having been idle, perhaps while the request was on its way.
                    known.close()
            self._connection = await self._connected(address)
            return await self._connection.ask(request)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close what is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connected(self, address: Address) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            found = socket.getaddrinfo(
                *(address.host, address.port),
                type=socket.SOCK_STREAM,
                flags=socket.AI_NUMERICHOST,
            )
        except socket.gaierror:
            found = await loop.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        connected = await start_connection(found, happy_eyeballs_delay=_ATTEMPT)
        _, connection = await loop.create_connection(
            lambda: _Connection(self._receiver), sock=connected
        )
        return connection


@lru_cache(maxsize=1 << 12)
def _request(address: Address, path: str) -> bytes:
    url = URL(f"http://{address}{path}")
    host = url.host_port_subcomponent
    return f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: {host}\r\n{_HEADERS}".encode("ascii")
