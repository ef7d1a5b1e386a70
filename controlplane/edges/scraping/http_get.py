"""GET over a connection that is kept: what a scrape needs of HTTP, and no more.

A general client took half as long again for a scrape as reading what was scraped takes; see
docs/decisions/0010. The protocol itself is left to llhttp, the parser of Node.js.
"""

import asyncio
import errno
import socket
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from aiohappyeyeballs import start_connection
from yarl import URL

from controlplane.edges.scraping.http_connection import (
    Answer,
    Connection,
    DisconnectedError,
    Receiver,
)
from controlplane.settings import Address
from controlplane.settings.reach import refusal

IDLE: Final = 15.0
"""Seconds after which a connection is not used again: something on the way may have forgotten it,
and would not say so."""

_ATTEMPT: Final = 0.25
"""Seconds after which the next address of a name is tried as well (RFC 8305)."""

# No compression: nothing that is small on the wire can be large in memory.
_HEADERS: Final = (
    "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: identity\r\nUser-Agent: plimsoll\r\n\r\n"
)


class Getter:
    """Asks one address at a time, and keeps the connection for the next time; `close` it."""

    def __init__(self, receiver: Receiver) -> None:
        """Prepare; nothing is opened yet.

        Args:
            receiver: Of this event loop.
        """
        self._receiver = receiver
        self._address: Address | None = None
        self._connection: Connection | None = None

    async def get(self, address: Address, path: str, deadline: float) -> Answer:
        """Ask once; whoever is cancelled meanwhile has the connection closed.

        Args:
            address: Whom.
            path: For what, with a query if there is one.
            deadline: Seconds for all of it.

        Raises:
            OSError: Nobody can be reached there.
            AnswerError: What came is no answer, or a longer one than may be.
            TimeoutError: It was not there by then.
        """
        request, now = _request(address, path), self._receiver.clock()
        due = now + deadline
        if address != self._address:
            self.close()
            self._address = address
        known = self._connection
        try:
            if known is not None and now - known.used_at <= IDLE:
                try:
                    return await known.ask(request, due)
                except DisconnectedError:
                    # It was closed for having been idle, perhaps while the request was on its way.
                    pass
            self.close()
            async with asyncio.timeout(due - self._receiver.clock()):
                self._connection = await self._connected(address)
            return await self._connection.ask(request, due)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close what is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connected(self, address: Address) -> Connection:
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
        for *_, place in found:
            # A name that led elsewhere when it was written down may lead to a cloud's metadata now.
            if (why := refusal(ip_address(str(place[0]).partition("%")[0]))) is not None:
                raise OSError(errno.EACCES, f"it leads to an address that {why}")
        connected = await start_connection(found, happy_eyeballs_delay=_ATTEMPT)
        _, connection = await loop.create_connection(
            lambda: Connection(self._receiver), sock=connected
        )
        return connection


@lru_cache(maxsize=1 << 12)
def _request(address: Address, path: str) -> bytes:
    url = URL(f"http://{address}{path}")
    host = url.host_port_subcomponent
    return f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: {host}\r\n{_HEADERS}".encode("ascii")
