"""A process that is healthy at every address of loopback: any number of replicas.

Run as ``python -m benchmarks.registry.replicas``.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.xds.orders import Order, obey, say

_HEALTHY: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(asyncio.Protocol):
    """Answers one request, whatever it asks for, and closes: nobody asks a second time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        if data.endswith(b"\r\n\r\n"):
            self._transport.write(_HEALTHY)
            self._transport.close()


async def _main() -> None:
    listening = socket.socket()
    # All of 127.0.0.0/8, and nothing that comes from outside.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    listening.bind(("", 0))
    await asyncio.get_running_loop().create_server(Connection, sock=listening, backlog=10_000)
    say({"port": listening.getsockname()[1]})
    await obey(_no_order)


async def _no_order(order: Order) -> Mapping[str, Any]:
    raise ValueError(f"{order['do']!r} is no order")


if __name__ == "__main__":
    asyncio.run(_main())
