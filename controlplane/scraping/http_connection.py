"""One connection to a server of HTTP; the protocol is left to llhttp, the parser of Node.js."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from controlplane.config.metrics import DEFAULT_BYTES

MAX_HEAD: Final = 32 << 10
"""Bytes of an answer's headers, and of what comes between or after the pieces of its body."""

LOOK: Final = 0.05
"""Seconds between two looks for answers that are overdue: one timer for all that are awaited."""

STILL: Final = 0.25
"""Seconds between two looks from where on this process, or all of its machine, stood still: that
time is not held against those who were to answer in it."""

_OK: Final = HTTPStatus.OK.value
_RECEIVED: Final = 1 << 18
"""Bytes that are taken from a socket at a time: most expositions are one piece."""


class AnswerError(Exception):
    """What came is no answer; the message says why in a few words."""


class DisconnectedError(AnswerError):
    """The connection was closed before a byte of an answer had come."""

    def __init__(self) -> None:
        super().__init__("the connection was closed without an answer")


class TooLongError(AnswerError):
    """The body is longer than it may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"is longer than {most} bytes: metrics.max_bytes allows more")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; the body is empty above status 200, and the first byte came at `began_at`."""

    status: int
    encoding: str
    body: bytes
    began_at: float
    location: str = ""


class Receiver:
    """What connections of one event loop share: room for what comes, and whose time is up."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, most: int = DEFAULT_BYTES
    ) -> None:
        """Prepare; the clock counts seconds that never go back."""
        self.clock = clock
        self.most = most
        # Whatever comes is taken out of it at once.
        self.buffer = memoryview(bytearray(_RECEIVED))
        self._due: dict[Connection, float] = {}
        self._looks = False
        self._looked_at = clock()

    def expect(self, connection: "Connection", due: float) -> None:
        """Have an answer be overdue at a time, or up to `LOOK` later, until it is settled."""
        self._due[connection] = due
        if not self._looks:
            self._look_later(self.clock())

    def settle(self, connection: "Connection") -> None:
        """Expect nothing more of it."""
        self._due.pop(connection, None)

    def _look(self) -> None:
        now = self.clock()
        if (passed := now - self._looked_at) > STILL:
            self._due = {connection: due + passed for connection, due in self._due.items()}
        for connection in [overdue for overdue, due in self._due.items() if due <= now]:
            connection.overdue()
        self._looks = False
        if self._due:
            self._look_later(now)

    def _look_later(self, now: float) -> None:
        self._looks, self._looked_at = True, now
        asyncio.get_running_loop().call_later(LOOK, self._look)


class Connection(asyncio.BufferedProtocol):
    """One connection; one request at a time. The parser calls its `on_` methods.

    `used_at`: when the last answer was there, or it was opened; seconds of the clock.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._parser = HttpResponseParser(self)
        # Servers that people wrote in an hour end lines with LF alone; nobody is misled by that.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Answer] | None = None
        self._most = 0
        self.used_at = receiver.clock()
        self._begin()

    def _begin(self) -> None:
        self._began_at: float | None = None
        # Bytes that came, and of them those since the last piece of a body.
        self._come = self._bare = 0
        self._forget()

    def _forget(self) -> None:
        self._encoding, self._location = "identity", b""
        self._body: bytes | bytearray = b""
        # Whether the headers are over, and whether they say where the body ends.
        self._has_head = self._has_end = False

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, request: bytes, due: float, most: int) -> Answer:
        """Send a whole request and wait for the answer, until `due` on the clock.

        Raises:
            AnswerError: What came is none, is longer than `most` bytes, or nothing came.
            TimeoutError: It was not there by then.
        """
        if self._transport is None or self._transport.is_closing():
            raise DisconnectedError
        self._begin()
        self._most = most
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        self._receiver.expect(self, due)
        try:
            return await self._answered
        finally:
            self._receiver.settle(self)
            self._answered = None
            self.used_at = self._receiver.clock()

    def overdue(self) -> None:
        """Nobody waits any longer for what was asked for."""
        self._fail(TimeoutError())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a socket's always is
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._receiver.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._answered is None or self._answered.done():
            # Nobody has asked for that: whatever comes next would not be an answer either.
            self.close()
            return
        if self._began_at is None:
            self._began_at = self._receiver.clock()
        self._come += nbytes
        self._bare += nbytes
        try:
            self._parser.feed_data(self._receiver.buffer[:nbytes])
        except HttpParserUpgrade:
            self._fail(AnswerError("it answers 101, which nobody asked for"))
        except HttpParserError as error:
            self._fail(AnswerError(f"this is no HTTP answer: {str(error)[:100]}"))
        else:
            if self._bare > MAX_HEAD:
                self._fail(AnswerError(f"its headers are longer than {MAX_HEAD} bytes"))
            elif self._come > 2 * self._most + MAX_HEAD:
                self._fail(self._too_long())

    def eof_received(self) -> None:
        """The other side has nothing more to say; asyncio closes the connection then."""
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._ended()
        # The parser knows this object too, and garbage is looked for rarely.
        self._forget()
        del self._parser

    def on_message_begin(self) -> None:
        if self._answered is None or self._answered.done():
            # Nobody has asked for that: whatever comes next would not be an answer either.
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-encoding":
                self._encoding = value.decode("latin-1").strip().lower()
            case b"location":
                self._location = value
            case b"content-length":
                self._has_end = True
            case b"transfer-encoding":
                self._has_end = value.strip().lower().endswith(b"chunked")

    def on_headers_complete(self) -> None:
        self._has_head = True
        if (status := self._parser.get_status_code()) > _OK:
            # Its body says nothing that is looked at.
            self.close()
            self._succeed(status)

    def on_body(self, piece: bytes) -> None:
        self._bare = 0
        if len(self._body) + len(piece) > self._most:
            self._fail(self._too_long())
        elif not self._body:
            # Most are one piece, and need not be copied.
            self._body = piece
        elif isinstance(self._body, bytearray):
            self._body += piece
        else:
            self._body = bytearray(self._body) + piece

    def on_message_complete(self) -> None:
        """The parser has the whole answer."""
        status = self._parser.get_status_code()
        if status < _OK:
            # Only a word beforehand: the answer is still to come.
            self._forget()
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
            where = self._location.decode("latin-1")
            answer = Answer(status, self._encoding, bytes(self._body), self._began_at, where)
            # A thousand connections would else keep a thousand bodies until the next ones come.
            self._forget()
            self._answered.set_result(answer)

    def _too_long(self) -> TooLongError:
        return TooLongError(self._most)

    def _fail(self, error: AnswerError | TimeoutError) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
