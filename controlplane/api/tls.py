"""TLS of the REST API: what it shows its clients, and who they are by their certificates."""

import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from aiohttp import web

from controlplane.config import Role
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
    """A context that serves with these, which were checked.

    A new one for each change: no context forgets a root that it once trusted.

    Raises:
        CertificateError: OpenSSL does not take them.
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
        raise CertificateError(f"OpenSSL does not take what is there: {why}") from None
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
        """Prepare.

        Args:
            roles: By name, or by how names begin, with a ``*`` at the end.
            wall_clock: Seconds since 1970, by which certificates expire.
            revoked: Knows which certificates do not count.
        """
        self._roles, self._wall_clock, self._revoked = roles, wall_clock, revoked

    def __bool__(self) -> bool:
        return bool(self._roles)

    def shown(self, request: web.Request) -> tuple[str, Role] | None:
        """The name and the role of the client; None where it shows no certificate.

        A TLS handshake looks at dates, and one that resumes a session does not.

        Raises:
            NotAdmittedError: Its certificate has no role, has expired or is revoked.
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
            raise NotAdmittedError(f"{name} is none of admin.tls.clients")
        return name, self._roles[found]
