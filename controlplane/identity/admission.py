"""Who a client is by its certificate, and which pools it may hold.

A node's certificate has exactly one URI among its names: ``spiffe://TRUST-DOMAIN/node/ID``. More
than one would leave open who the node is (SPIFFE X.509-SVID, section 2).
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from controlplane.config.errors import shown
from controlplane.identity.certificates import Certificate, CertificateError, read_certificate

_NODE: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
"""What a part of the path of a SPIFFE id may have (SPIFFE-ID, section 2.2)."""

Revoked: TypeAlias = Callable[[str, int], bool]
"""Whether a certificate is not to be believed any more, by the name in it and its serial number."""


def none_revoked(_name: str, _serial: int) -> bool:
    """Where nobody revokes certificates."""
    return False


class NotAdmittedError(Exception):
    """A client is refused; the text is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a client has proven, up to seconds since 1970; pools are None for all."""

    spiffe_id: str
    node: str
    serial: int
    expires: float
    pools: frozenset[str] | None = None


class Admission:
    """Admits nodes of one trust domain; a certificate authority replaces `revoked`."""

    def __init__(
        self, trust_domain: str, nodes: Mapping[str, Collection[str]] | None = None
    ) -> None:
        """Begin to admit.

        `nodes`: the pools that nodes may hold, ``*`` for all, by their ids or by how these begin,
        with a ``*`` at the end; None: any node may hold any pool.
        """
        self._prefix = f"spiffe://{trust_domain}/node/"
        self._nodes = nodes
        self.revoked: Revoked = none_revoked

    def identify(self, pem: bytes, now: float, *, resumed: bool = False) -> Identity:
        """Say who shows a certificate that leads to a trusted root, at seconds since 1970.

        `resumed`: it was shown in an earlier TLS session only.
        """
        try:
            certificate = read_certificate(pem)
        except CertificateError as error:
            raise NotAdmittedError(f"what it shows {error}") from None
        if len(certificate.uris) != 1:
            raise NotAdmittedError(
                f"its certificate has {len(certificate.uris)} URIs among its names; a node's has"
                f" one, {self._prefix}ID"
            )
        uri = certificate.uris[0]
        node = uri.removeprefix(self._prefix)
        if node == uri or not _NODE.fullmatch(node):
            raise NotAdmittedError(
                f"its certificate is of {shown(uri)}; a node's is of {self._prefix}ID"
            )
        identity = Identity(uri, node, certificate.serial, certificate.expires, self._pools(node))
        if (why := self.refusal(identity, now)) is not None:
            raise NotAdmittedError(f"{why}; its TLS session is resumed" if resumed else why)
        return identity

    def refusal(self, identity: Identity, now: float) -> str | None:
        """Say why an identity counts no more; None while it does.

        A TLS handshake looks at dates, and one that resumes a session does not. Streams last longer
        than certificates.
        """
        if identity.expires <= now:
            return f"its certificate, of {identity.spiffe_id}, has expired"
        if self.revoked(identity.spiffe_id, identity.serial):
            return f"its certificate, of {identity.spiffe_id}, is revoked"
        return None

    def _pools(self, node: str) -> frozenset[str] | None:
        if self._nodes is None:
            return None
        found = longest_match(self._nodes, node)
        if found is None:
            raise NotAdmittedError(f"node {shown(node)} is none of xds.tls.nodes")
        pools = frozenset(self._nodes[found])
        return None if "*" in pools else pools


def longest_match(patterns: Iterable[str], text: str) -> str | None:
    """The pattern that says most about a text: the text itself, or its beginning before a ``*``."""
    found = (
        pattern
        for pattern in patterns
        if pattern == text or (pattern.endswith("*") and text.startswith(pattern[:-1]))
    )
    return max(found, key=lambda pattern: (pattern == text, len(pattern)), default=None)


def name_of(certificate: Certificate) -> str:
    """Name a client of the REST API by its certificate: its only SPIFFE id, or ``CN=NAME``."""
    if len(certificate.uris) > 1:
        raise NotAdmittedError("the certificate names several URIs")
    if certificate.uris:
        return certificate.uris[0]
    if not certificate.common_name:
        raise NotAdmittedError("the certificate names neither a URI nor a common name")
    return f"CN={certificate.common_name}"
