"""Connections of the API: how many there may be, and what each is answered that is no request.

aiohttp answers bytes that it cannot parse, and an `Expect` that it does not know, before any
handler. Here these answers are problem documents like all others.
"""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from controlplane.api.answers import FAULT, Problem, problem_of, problem_response

MAX_CONNECTIONS: Final = 512

_log = logging.getLogger(__name__)

_TEXT: Final = (
    b'{"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail":'
    b' "too many connections are open; close one, or try again later"}\n'
)
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    b"Retry-After: 5\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)
)

_REFUSAL_SECONDS: Final = 1.0
"""Seconds for a client to read the refusal: closing a connection with unread data in it resets the
connection, and the answer may be lost."""

_LINGER: Final = 1.0
"""Seconds for a client to finish a refused body, so that it reads the refusal."""

_SHOWN: Final = 200
"""Characters of what is wrong with a request."""


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.write(_FULL)
            transport.write_eof()
            asyncio.get_running_loop().call_later(_REFUSAL_SECONDS, transport.close)


class _Connection(web.RequestHandler):
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP request with a problem document, and with one line of the log."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun; there is no room for another")
        if isinstance(exc, HttpProcessingError):
            what = _what_is_wrong(exc.message)
            _log.info("no HTTP request from %s: %s", request.remote, what)
            problem = Problem(HTTPStatus.BAD_REQUEST, f"the request is not valid HTTP: {what}")
        else:
            _log.error("a fault of the control plane: %s", message or status, exc_info=exc)
            problem = FAULT
        answer = problem_response(problem)
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; an error that no handler of ours has seen is in the framework's words."""
        if isinstance(resp, web.HTTPException):
            resp = problem_response(problem_of(resp))
        return await super().finish_response(request, resp, start_time)


def _what_is_wrong(message: str) -> str:
    """Return the words of the parser, without the parts that quote and point into the request."""
    lines = (line.strip() for line in message.partition(" when reading")[0].splitlines())
    words = " ".join(line for line in lines if line and not line.startswith(("b'", 'b"', "^")))
    return words.rstrip(":.")[:_SHOWN]


def accepting(server: web.Server, most: int, idle: float) -> Callable[[], asyncio.BaseProtocol]:
    """Return the protocol factory of a server.

    Args:
        most: Connections that may be open at the same time.
        idle: Seconds for the first line and the headers of a request to arrive.
    """
    loop = asyncio.get_running_loop()

    def accept() -> asyncio.BaseProtocol:
        if len(server.connections) >= most:
            return _Full()
        # Bodies are small; none is unpacked, so none can be a compression bomb.
        return _Connection(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # None is documented
            auto_decompress=False,
            lingering_time=_LINGER,
            keepalive_timeout=idle,
        )

    return accept
