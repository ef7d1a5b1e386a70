"""Who may ask: those with the token; without a token only programs of this machine.

A web page that a browser on this machine shows can send requests to loopback as well, directly or
after its host name was made to resolve to it (DNS rebinding). Such requests carry the page's host
name in ``Host`` or ``Origin``.
"""

import hmac
from hashlib import sha256
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from controlplane.edges.rest.problems import Handler, Problem
from controlplane.settings import Address

_OPEN: Final = frozenset({"/livez", "/readyz"})
"""Asked by orchestrators, which have no token and use addresses of their own; they tell nothing."""


def guard(token: str | None) -> Middleware:
    """A middleware that lets through who may ask.

    Args:
        token: That every request must carry; None: there is none, and only loopback may ask.
    """
    digest = None if token is None else _digest(token)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _OPEN:
            if digest is None:
                _check_local(request)
            else:
                _check_token(request, digest)
        return await handler(request)

    return guarded


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _check_token(request: web.Request, digest: bytes) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        detail = "the token is missing: send it in the header Authorization: Bearer TOKEN"
        challenge = 'Bearer realm="plimsoll"'
    elif not hmac.compare_digest(_digest(given.strip()), digest):
        detail = "the token is not the one of this control plane"
        challenge = 'Bearer realm="plimsoll", error="invalid_token"'
    else:
        return
    raise Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


def _check_local(request: web.Request) -> None:
    if not _is_local(f"//{request.headers.get('Host', '')}"):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "without a token only requests to a loopback name such as 127.0.0.1 or localhost are"
            " taken; set admin.token_file to use another name",
        )
    # Browsers send one with every request of a page that can change something or read the answer.
    if (origin := request.headers.get("Origin")) is not None and not _is_local(origin):
        raise Problem(
            HTTPStatus.FORBIDDEN, "a web page of another site may not use this control plane"
        )


def _is_local(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host is not None and Address(host, 0).is_loopback
