"""A client's connection of HTTP/1.1, one request at a time, over llhttp, the parser of Node.js.

The scraper and the load generator use it: a general client takes most of the CPU that a request of
theirs costs.
"""

import asyncio
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_HEAD: Final = 32 << 10
"""Bytes of an answer's headers, and of what comes between or after the pieces of its body."""

NO_LIMIT: Final = 1 << 62
"""Bytes that no body has."""

_OK: Final = HTTPStatus.OK.value
_RECEIVED: Final = 1 << 18
"""Bytes that are taken from a socket at a time: most answers are one piece."""


class AnswerError(Exception):
    """What came is no answer; the message says why in a few words."""


class DisconnectedError(AnswerError):
    """The connection was closed before a byte of an answer had come."""

    def __init__(self, why: str = "the connection was closed without an answer") -> None:
        super().__init__(why)


class TooLongError(AnswerError):
    """The body is longer than it may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"is longer than {most} bytes: metrics.max_bytes allows more")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, with headers by lower-case name; its first byte came at `began_at`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    began_at: float


Done = Callable[[Answer | AnswerError], None]


def room() -> memoryview:
    """Make room for what all connections of an event loop receive: it is taken out at once."""
    return memoryview(bytearray(_RECEIVED))


class Connection(asyncio.BufferedProtocol):
    """One connection. The parser calls its `on_` methods.

    `used_at`: when the last answer was there, or it was opened; seconds of the clock.
    """

    def __init__(self, received: memoryview, clock: Callable[[], float]) -> None:
        """Prepare; `received` is the event loop's `room`."""
        self._received, self._clock = received, clock
        self._parser = HttpResponseParser(self)
        # Servers that people wrote in an hour end lines with LF alone; nobody is misled by that.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._most, self._only_ok = NO_LIMIT, False
        self.used_at = clock()
        self._begin()

    def _begin(self) -> None:
        self._began_at: float | None = None
        # Bytes that came, and of them those since the last piece of a body.
        self._come = self._bare = 0
        self._outcome: Answer | AnswerError | None = None
        self._forget()

    def _forget(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: bytes | bytearray = b""
        self._has_head = False

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent, once the last one was answered."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def send(
        self, request: bytes, done: Done, most: int = NO_LIMIT, *, only_ok: bool = False
    ) -> None:
        """Send a whole request.

        Args:
            done: Called once with what came of it. After an error the connection is closed.
            most: Bytes that the answer's body may have.
            only_ok: Whether the body of a status above 200 is of no use: it is not waited for.

        Raises:
            DisconnectedError: The connection is closed.
        """
        if self._transport is None or self._transport.is_closing():
            raise DisconnectedError
        self._begin()
        self._done, self._most, self._only_ok = done, most, only_ok
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a socket's always is
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        """Feed the parser, which calls the methods below."""
        if self._done is None:
            # Nobody has asked for that: whatever comes next would not be an answer either.
            self.close()
            return
        if self._began_at is None:
            self._began_at = self._clock()
        self._come += nbytes
        self._bare += nbytes
        try:
            self._parser.feed_data(self._received[:nbytes])
        except HttpParserUpgrade:
            self._conclude(AnswerError("it answers 101, which nobody asked for"))
        except HttpParserError as error:
            self._conclude(AnswerError(f"this is no HTTP answer: {str(error)[:100]}"))
        else:
            if self._bare > MAX_HEAD:
                self._conclude(AnswerError(f"its headers are longer than {MAX_HEAD} bytes"))
            elif self._come > 2 * self._most + MAX_HEAD:
                self._conclude(TooLongError(self._most))
        # Not from within the parser, which would take an error of the callback for one of its own.
        self._tell()

    def eof_received(self) -> None:
        """The other side has nothing more to say."""
        self.close()
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        # The parser knows this object too, and garbage is looked for rarely.
        self._forget()
        del self._parser

    def on_message_begin(self) -> None:
        if self._outcome is not None:
            # Nobody has asked for a second answer.
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._has_head = True
        if self._only_ok and self._parser.get_status_code() > _OK:
            self.close()
            self._answer()

    def on_body(self, piece: bytes) -> None:
        self._bare = 0
        if self._outcome is not None:
            return
        if len(self._body) + len(piece) > self._most:
            self._conclude(TooLongError(self._most))
        elif not self._body:
            # Most are one piece, and need not be copied.
            self._body = piece
        elif isinstance(self._body, bytearray):
            self._body += piece
        else:
            self._body = bytearray(self._body) + piece

    def on_message_complete(self) -> None:
        """The parser has the whole answer."""
        if self._parser.get_status_code() < _OK:
            # Only a word beforehand: the answer is still to come.
            self._forget()
            return
        if not self._parser.should_keep_alive():
            self.close()
        self._answer()

    def _ended(self, error: Exception | None) -> None:
        """The other side has nothing more to say."""
        framing = self._headers.get("transfer-encoding", "").strip().lower()
        has_end = "content-length" in self._headers or framing.endswith("chunked")
        if self._done is None:
            return
        if self._began_at is None:
            self._conclude(DisconnectedError(reason(error)) if error else DisconnectedError())
        elif self._has_head and not has_end:
            self._answer()
        else:
            self._conclude(AnswerError("the connection was closed before the answer was whole"))
        self._tell()

    def _answer(self) -> None:
        assert self._began_at is not None  # noqa: S101 - it has come
        status = self._parser.get_status_code()
        self._conclude(Answer(status, self._headers, bytes(self._body), self._began_at))

    def _conclude(self, outcome: Answer | AnswerError) -> None:
        """Take the outcome of the request; later ones are ignored."""
        if self._outcome is None:
            self._outcome = outcome
            # A thousand connections would else keep a thousand bodies until the next ones come.
            self._forget()

    def _tell(self) -> None:
        """Tell the outcome, once there is one."""
        if (outcome := self._outcome) is None or (done := self._done) is None:
            return
        self._outcome = self._done = None
        self.used_at = self._clock()
        if isinstance(outcome, AnswerError):
            self.close()
        done(outcome)


def reason(error: Exception) -> str:
    """Say in a few words why there is no connection any more, or why there never was one."""
    if not isinstance(error, OSError) or isinstance(error, ssl.SSLError):
        return str(error)  # Its number, if any, is none of the system's.
    # Where several addresses were tried, the numbers are only in the message.
    found = re.search(r"Errno (\d+)", str(error))
    number = error.errno or (int(found[1]) if found else 0)
    return os.strerror(number).lower() if number else type(error).__name__
