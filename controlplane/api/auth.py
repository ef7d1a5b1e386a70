"""Who may ask, and for what: those with a token; without any only programs of this machine.

A web page that a browser on this machine shows can send requests to loopback as well, directly or
after its host name was made to resolve to it (DNS rebinding). Such requests carry the page's host
name in ``Host`` or ``Origin``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from controlplane.api.errors import Handler, Problem
from controlplane.settings import Address, Role, Token
from controlplane.settings.tokens import holder

_OPEN: Final = frozenset({"/", "/livez", "/readyz", "/openapi.json", "/docs"})
"""Asked by orchestrators, which have no token and use addresses of their own, and by browsers,
which send none by themselves. What they are told is the same of every control plane."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        name: Of the token; ``loopback`` for a program of this machine.
        role: What it may do.
    """

    name: str
    role: Role

    @property
    def owner(self) -> str | None:
        """Under which name it has what it registers; None: without a token nobody has a name."""
        return None if self is LOOPBACK else self.name


_WHO: Final = web.RequestKey("who", Principal)

LOOPBACK: Final = Principal("loopback", Role.OPERATE)


def guard(tokens: Callable[[], Sequence[Token]]) -> Middleware:
    """A middleware that lets through who may ask.

    Args:
        tokens: Of which every request must carry one at that time; without any only loopback may
            ask.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _OPEN:
            if known := tokens():
                request[_WHO] = _known(request, known)
            else:
                _check_local(request)
                request[_WHO] = LOOPBACK
        return await handler(request)

    return guarded


def who(request: web.Request) -> Principal:
    """Who has sent a request."""
    return request[_WHO]


def may_stay(request: web.Request, tokens: Sequence[Token], role: Role) -> bool:
    """Whether a request that takes a role, and was let in, would be let in with these tokens."""
    try:
        return not tokens or _known(request, tokens).role.includes(role)
    except Problem:
        return False


def require(request: web.Request, role: Role) -> None:
    """Refuse a request of somebody who may not send it.

    Raises:
        Problem: The role is another.
    """
    asking = who(request)
    if not asking.role.includes(role):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"the token {asking.name!r} has the role {asking.role}; this takes the role {role}",
        )


def _known(request: web.Request, tokens: Sequence[Token]) -> Principal:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        detail = "the token is missing: send it in the header Authorization: Bearer TOKEN"
        challenge = 'Bearer realm="plimsoll"'
    elif (token := holder(tokens, given.strip())) is None:
        detail = "the token is not one of this control plane"
        challenge = 'Bearer realm="plimsoll", error="invalid_token"'
    else:
        return Principal(token.name, token.role)
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
