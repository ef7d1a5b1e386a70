"""Check tokens, certificates and roles. Without any, only programs of this machine are answered.

A web page in a browser on this machine can send requests to loopback as well, directly or through a
host name that resolves to loopback (DNS rebinding). Such a request carries the page's host name in
``Host`` or ``Origin``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from controlplane.api.errors import Handler, Problem
from controlplane.api.tls import ClientCertificates
from controlplane.config import Address, Role, Token
from controlplane.config.identity import holder
from controlplane.identity import NotAdmittedError

_OPEN: Final = frozenset({"/", "/livez", "/readyz", "/openapi.json", "/docs", "/v1/join"})
"""Orchestrators have no token, and browsers send none by themselves. These answers reveal nothing
about this control plane. A node that joins has a token of another kind."""

PAGE_FILES: Final = "page/"
"""The files of the page at `/`, which are as open."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request.

    Attributes:
        name: The token's name, or what the certificate says, with a ``:`` or a ``=`` in it, which
            no token's name has; ``loopback`` for a program of this machine.
        role: What the sender may do.
        kind: What the sender has shown.
    """

    name: str
    role: Role
    kind: str = "token"

    @property
    def owner(self) -> str | None:
        """The owner of what the sender registers; None without a token."""
        return None if self is LOOPBACK else self.name


_SENDER: Final = web.RequestKey("sender", Principal)

LOOPBACK: Final = Principal("loopback", Role.OPERATE)


NO_CERTIFICATES: Final = ClientCertificates({})


def guard(
    tokens: Callable[[], Sequence[Token]], certificates: ClientCertificates = NO_CERTIFICATES
) -> Middleware:
    """Return a middleware that refuses requests without a valid token or certificate.

    Args:
        tokens: Gives the present tokens.
        certificates: Of clients that need no token; where there are neither, only loopback is
            answered.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _OPEN and not request.path.startswith(f"/{PAGE_FILES}"):
            known = tokens()
            if known or certificates:
                request[_SENDER] = _known(request, known, certificates)
            else:
                _check_local(request)
                request[_SENDER] = LOOPBACK
        return await handler(request)

    return guarded


def sender_of(request: web.Request) -> Principal:
    """Return the sender of a request."""
    return request[_SENDER]


def may_stay(
    request: web.Request,
    tokens: Sequence[Token],
    role: Role,
    certificates: ClientCertificates = NO_CERTIFICATES,
) -> bool:
    """Whether a request that needs a role would still be accepted."""
    if not (tokens or certificates):
        return True
    try:
        return _known(request, tokens, certificates).role.includes(role)
    except Problem:
        return False


def require(request: web.Request, role: Role) -> None:
    """Refuse a sender whose role does not include a role.

    Raises:
        Problem: The role is too small.
    """
    sender = sender_of(request)
    if not sender.role.includes(role):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"the {sender.kind} {sender.name!r} has the role {sender.role}; this takes the role"
            f" {role}",
        )


def _known(
    request: web.Request, tokens: Sequence[Token], certificates: ClientCertificates
) -> Principal:
    if "Authorization" not in request.headers and certificates:
        try:
            if (shown := certificates.shown(request)) is not None:
                return Principal(*shown, "certificate")
        except NotAdmittedError as error:
            raise Problem(HTTPStatus.FORBIDDEN, str(error)) from None
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
