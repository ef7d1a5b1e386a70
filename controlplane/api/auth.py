"""Who sends a request, by token or certificate, and what the sender may do.

Without tokens and certificates only programs of this machine are answered. A web page in a browser
on this machine can send requests to loopback as well, directly or through a host name that resolves
to loopback (DNS rebinding). Such a request carries the page's host name in `Host` or `Origin`.
"""

import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from controlplane.api.answers import Handler, Problem
from controlplane.config import Address, Role, Token
from controlplane.config.identity import holder
from controlplane.identity import (
    CertificateError,
    Credentials,
    NotAdmittedError,
    Revoked,
    longest_match,
    name_of,
    none_revoked,
    read_certificate,
)


def server_context(credentials: Credentials) -> ssl.SSLContext:
    """Make a context that serves with checked credentials.

    Each change needs a new context: a context never forgets a root.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    # Python reads certificates from files only, and these may have changed since they were checked.
    try:
        with _in_memory(credentials.certificate) as chain, _in_memory(credentials.key) as key:
            context.load_cert_chain(chain, key)
        if credentials.client_ca is not None:
            context.load_verify_locations(cadata=credentials.client_ca.decode())
            context.verify_mode = ssl.CERT_OPTIONAL
    except ssl.SSLError as error:
        why = (error.reason or str(error)).replace("_", " ").lower()
        raise CertificateError(f"OpenSSL rejects the files: {why}") from None
    return context


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The path of a file that has no place on a disk."""
    number = os.memfd_create("pem")
    try:
        os.write(number, content)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


class ClientCertificates:
    """The roles of clients by their certificates."""

    def __init__(
        self,
        roles: Mapping[str, Role],
        wall_clock: Callable[[], float] = time.time,
        revoked: Revoked = none_revoked,
    ) -> None:
        """Take roles by name, or by a prefix with a ``*`` at the end; `wall_clock`: since 1970."""
        self._roles, self._wall_clock, self._revoked = roles, wall_clock, revoked

    def __bool__(self) -> bool:
        return bool(self._roles)

    def shown(self, request: web.Request) -> tuple[str, Role] | None:
        """The name and the role of a client, or None; `NotAdmittedError` where it has no role.

        A TLS handshake checks dates, but a resumed session does not.
        """
        stream = request.transport and request.transport.get_extra_info("ssl_object")
        der = stream.getpeercert(binary_form=True) if stream else None
        if not der:
            return None
        try:
            certificate = read_certificate(ssl.DER_cert_to_PEM_cert(der).encode())
        except CertificateError as error:
            raise NotAdmittedError(f"what it shows {error}") from None
        name = name_of(certificate)
        if certificate.expires <= self._wall_clock():
            raise NotAdmittedError(f"the certificate of {name} has expired")
        if self._revoked(name, certificate.serial):
            raise NotAdmittedError(f"the certificate of {name} is revoked")
        found = longest_match(self._roles, name)
        if found is None:
            raise NotAdmittedError(f"{name} is not in admin.tls.clients")
        return name, self._roles[found]


_OPEN: Final = frozenset({"/", "/livez", "/readyz", "/openapi.json", "/docs", "/v1/join"})
"""Orchestrators have no token, and browsers send none by themselves. These answers reveal nothing
about this control plane. A node that joins has a token of another kind."""

PAGE_FILES: Final = "page/"
"""The files of the page at `/`, which are as open."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request.

    Attributes:
        name: The token's name; the certificate's, which has a ``:`` or a ``=`` as no token's name
            has; or ``loopback`` for a program of this machine.
        kind: ``token`` or ``certificate``.
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

    Where there are neither tokens nor certificates, only loopback is answered.
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
    """Raise a `Problem` if the sender's role does not include a role."""
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
