"""Send POST requests over HTTP/1.1 to one URL, for as little CPU as a generator of load can spend.

A general client took most of the CPU that a request costs. The protocol itself is left to llhttp,
the parser of Node.js.
"""

import asyncio
import os
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from yarl import URL

CONNECT: Final = 5.0
"""Seconds after which an attempt to connect fails: a wrong address must show soon."""

KEEPALIVE: Final = 4.0
"""Seconds that an idle connection is kept: less than any known server does, because a server that
closes it just as a request leaves looks like a failed request."""

_ATTEMPT: Final = 0.25
"""Seconds after which the next address of a name is tried as well (RFC 8305)."""


@dataclass(frozen=True, slots=True)
class Response:
    """What came of a request.

    Attributes:
        status: Of the answer; None without a whole answer.
        fault: Why there is none, in a few words; None with one.
        headers: Of the answer, by lower-case name.
    """

    status: int | None = None
    fault: str | None = None
    connected: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Done = Callable[[Response], None]


class Exchange:
    """A request on its way; `done` is called once."""

    __slots__ = ("_done", "connection", "opening", "timer")

    def __init__(self, done: Done) -> None:
        self._done: Done | None = done
        self.connection: Connection | None = None
        self.opening: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def end(self, response: Response) -> None:
        done, self._done = self._done, None
        if self.timer is not None:
            self.timer.cancel()
        if done is not None:
            done(response)

    def expire(self) -> None:
        """Give up waiting for an answer."""
        self.end(Response(fault="no answer in time", connected=self.connection is not None))
        self.abandon()

    def abandon(self) -> None:
        """Close the connection; nobody waits for the answer."""
        self._done = None
        if self.timer is not None:
            self.timer.cancel()
        if self.opening is not None:
            self.opening.cancel()
        if self.connection is not None:
            self.connection.close()


class Connection(asyncio.Protocol):
    """A connection that carries one request after the other; it also is the parser's callback."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._parser = HttpResponseParser(self)
        # Simple servers end lines with LF alone; nobody is misled by that.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self.is_open = False
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._has_come = self._has_head = self._is_whole = False

    def send(self, exchange: Exchange, request: bytes) -> None:
        """Send a request; the connection must be open and idle."""
        assert self._transport is not None  # noqa: S101 - it is open
        self._exchange, exchange.connection = exchange, self
        self._begin()
        self._transport.write(request)

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a socket's always is
        self._transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below."""
        if self._exchange is None:
            self.close()  # Nobody asked for that, so what follows would be no answer either.
            return
        self._has_come = True
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.close()
            self._end(Response(fault="not an HTTP answer"))
            return
        # Not from within the parser, which would take an error of the callback for one of its own.
        if self._is_whole:
            self._succeed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._exchange is not None:
            self._lost(exc)
        # The parser refers to this object too, and garbage is collected rarely.
        del self._parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The answer is whole, unless the status is an interim one."""
        if self._parser.get_status_code() < 200:
            self._begin()
            return
        self._is_whole = True
        if not self._parser.should_keep_alive():
            self.close()

    def _lost(self, error: Exception | None) -> None:
        has_length = bool({"content-length", "transfer-encoding"} & self._headers.keys())
        if error is None and self._has_head and not has_length:
            self._succeed()
        elif self._has_come:
            self._end(Response(fault="answer cut off"))
        elif isinstance(error, OSError):
            self._end(Response(fault=_reason(error)))
        else:
            self._end(Response(fault="disconnected without an answer"))

    def _succeed(self) -> None:
        status = self._parser.get_status_code()
        self._end(Response(status, headers=self._headers, body=b"".join(self._pieces)))

    def _end(self, response: Response) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        exchange.connection = None
        if self.is_open and response.status is not None:
            self._client.idle(self)
        exchange.end(response)


class Client:
    """Connections to the server of one URL."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        connect: float = CONNECT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            url: A user and a password in it are sent.
            connect: Seconds after which an attempt to connect fails.
        """
        parsed = URL(url)
        lines = {
            "host": parsed.host_port_subcomponent or "",
            "accept": "*/*",
            "user-agent": "plimsoll",
            **(headers or {}),
        }
        if parsed.user is not None:
            pair = f"{parsed.user}:{parsed.password or ''}".encode()
            lines["authorization"] = f"Basic {b64encode(pair).decode()}"
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._head = f"POST {parsed.raw_path_qs} HTTP/1.1\r\n{text}content-length: ".encode()
        self._host, self._port = parsed.raw_host or "", parsed.port or 80
        # Only a name has further addresses; asyncio's race among them loses a socket if cancelled.
        self._attempt = None if _is_address(self._host) else _ATTEMPT
        self._tls = tls
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []

    def post(self, body: bytes, done: Done, timeout: float | None = None) -> Exchange:
        """Send a request at once.

        Args:
            done: Called with what came of it, also after a failure.
            timeout: Seconds for everything, connecting included; None: no limit.
        """
        request = b"%s%d\r\n\r\n%s" % (self._head, len(body), body)
        exchange = Exchange(done)
        if timeout is not None:
            exchange.timer = self._loop.call_later(timeout, exchange.expire)
        connection = self._pop()
        if connection is not None:
            connection.send(exchange, request)
        else:
            exchange.opening = asyncio.create_task(self._open(exchange, request))
        return exchange

    def idle(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _pop(self) -> Connection | None:
        oldest = self._loop.time() - KEEPALIVE
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since < oldest:
                connection.close()
            elif connection.is_open:
                return connection
        return None

    async def _open(self, exchange: Exchange, request: bytes) -> None:
        try:
            async with asyncio.timeout(self._connect):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    happy_eyeballs_delay=self._attempt,
                )
        except TimeoutError:
            exchange.end(Response(fault="no connection in time", connected=False))
        except (socket.gaierror, UnicodeError):
            exchange.end(Response(fault="host not found", connected=False))
        except OSError as error:
            exchange.end(Response(fault=_reason(error), connected=False))
        else:
            exchange.opening = None
            connection.send(exchange, request)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error)  # Its number is none of the system's.
    # Where several addresses were tried, the numbers are only in the message.
    found = re.search(r"Errno (\d+)", str(error))
    number = error.errno or (int(found[1]) if found else 0)
    return os.strerror(number).lower() if number else type(error).__name__
