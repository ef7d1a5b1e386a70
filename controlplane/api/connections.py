"""Limit how many connections are open, and how long a client may take its answer."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from controlplane.api.errors import Handler

MAX_CONNECTIONS: Final = 512

_TEXT: Final = (
    b'{"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail":'
    b' "too many connections are open; close one, or try again later"}\n'
)
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    b"Retry-After: 5\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)
)


_LINGER: Final = 1.0
"""Seconds for a client to read the refusal: closing a connection with unread data in it resets the
connection, and the answer may be lost."""


class _Full(asyncio.Protocol):
    """Refuses a connection without reading from it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.write(_FULL)
            transport.write_eof()
            asyncio.get_running_loop().call_later(_LINGER, transport.close)


def limited(server: web.Server, most: int = MAX_CONNECTIONS) -> Callable[[], asyncio.BaseProtocol]:
    """Return the protocol factory of a server with a limit of open connections."""
    return lambda: _Full() if len(server.connections) >= most else server()


def delivered(seconds: float) -> Middleware:
    """Return a middleware that cuts off a client that does not read its answer in time.

    Args:
        seconds: For a whole answer; an event stream has a limit of its own.
    """

    @web.middleware
    async def deliver(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if isinstance(response, web.Response):
            try:
                async with asyncio.timeout(seconds):
                    await response.prepare(request)
                    await response.write_eof()
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
            except ConnectionError:
                pass  # The client has left.
        return response

    return deliver
