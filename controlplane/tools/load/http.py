"""Send POST requests over HTTP/1.1 to one URL, over as few connections as they take."""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Final

from yarl import URL

from controlplane.http_connection import Answer, AnswerError, Connection, reason, room

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
        self._room = room()
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
            self._send(connection, exchange, request)
        else:
            exchange.opening = asyncio.create_task(self._open(exchange, request))
        return exchange

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _pop(self) -> Connection | None:
        oldest = self._loop.time() - KEEPALIVE
        while self._idle:
            connection = self._idle.pop()
            if connection.used_at < oldest:
                connection.close()
            elif connection.is_open:
                return connection
        return None

    def _send(self, connection: Connection, exchange: Exchange, request: bytes) -> None:
        exchange.connection = connection
        connection.send(request, partial(self._ended, exchange, connection))

    def _ended(
        self, exchange: Exchange, connection: Connection, outcome: Answer | AnswerError
    ) -> None:
        exchange.connection = None
        if connection.is_open:
            self._idle.append(connection)
        if isinstance(outcome, Answer):
            exchange.end(Response(outcome.status, headers=outcome.headers, body=outcome.body))
        else:
            exchange.end(Response(fault=str(outcome)))

    async def _open(self, exchange: Exchange, request: bytes) -> None:
        try:
            async with asyncio.timeout(self._connect):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._room, self._loop.time),
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
            exchange.end(Response(fault=reason(error), connected=False))
        else:
            exchange.opening = None
            self._send(connection, exchange, request)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
