"""Where connections come in and answers go out: so many at once, and none for ever."""

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
"""Seconds for a client to read why it was refused: what is closed with a request unread in it is
reset, and then the answer may be lost."""


class _Full(asyncio.Protocol):
    """Answers whatever comes, reads none of it, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.write(_FULL)
            transport.write_eof()
            asyncio.get_running_loop().call_later(_LINGER, transport.close)


def doorway(server: web.Server, most: int = MAX_CONNECTIONS) -> Callable[[], asyncio.BaseProtocol]:
    """What makes the protocol of each new connection.

    Args:
        server: Serves those that are let in.
        most: How many may be open.
    """
    return lambda: _Full() if len(server.connections) >= most else server()


def delivered(seconds: float) -> Middleware:
    """A middleware that cuts off clients who do not take their answer.

    Args:
        seconds: For the whole of an answer; streams see to it themselves.
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
                pass  # It has left; nobody waits for an answer.
        return response

    return deliver
