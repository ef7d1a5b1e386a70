"""Who a client is by its certificate, and which pools it may hold.

A node's certificate has exactly one URI among its names: ``spiffe://TRUST-DOMAIN/node/ID``. More
than one would leave open who the node is (SPIFFE X.509-SVID, section 2).
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from controlplane.config.errors import shown

MIN_RSA_BITS: Final = 2048
"""OpenSSL serves with no shorter keys."""

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
"""Envoy verifies signatures of no others."""


class CertificateError(ValueError):
    """A certificate or a key cannot be used; the text is the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What matters of a certificate: the URIs that it names, and times in seconds since 1970."""

    uris: tuple[str, ...]
    common_name: str
    begins: float
    expires: float
    serial: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a TLS server serves with, in PEM.

    Attributes:
        certificate: The server's, and the ones between it and a root.
        client_ca: The roots of clients' certificates; None: clients show none.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None


def read_certificate(pem: bytes) -> Certificate:
    """Read the first certificate, or raise `CertificateError`."""
    try:
        parsed = x509.load_pem_x509_certificate(pem)
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
    except x509.ExtensionNotFound:
        uris = ()
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise CertificateError("is not a certificate in PEM") from None
    common = parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = str(common[0].value) if len(common) == 1 else ""
    begins, ends = parsed.not_valid_before_utc.timestamp(), parsed.not_valid_after_utc.timestamp()
    return Certificate(uris, name, begins, ends, parsed.serial_number)


def checked(credentials: Credentials, now: float) -> Credentials:
    """Check what a server is to serve with; returns it without what stands beside certificates.

    Raises:
        CertificateError: The text begins with the key of the setting that is wrong.
    """
    chain = _certificates("certificate", credentials.certificate)
    try:
        key = load_pem_private_key(credentials.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError("key holds no private key in PEM without a password") from None
    if chain[0].public_key() != key.public_key():
        raise CertificateError("key does not belong to the certificate")
    if not _is_common(key.public_key()):
        raise CertificateError(
            f"key must be RSA of {MIN_RSA_BITS} bits or more, P-256 or P-384; Envoy and OpenSSL"
            " do not all take others"
        )
    begins, ends = chain[0].not_valid_before_utc, chain[0].not_valid_after_utc
    if ends.timestamp() <= now:
        raise CertificateError(f"certificate expired at {_shown(ends)}")
    if begins.timestamp() > now:
        raise CertificateError(f"certificate is not valid before {_shown(begins)}")
    roots = credentials.client_ca and _pem(_certificates("client_ca", credentials.client_ca))
    return replace(credentials, certificate=_pem(chain), client_ca=roots)


def _is_common(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= MIN_RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)


def _pem(certificates: list[x509.Certificate]) -> bytes:
    # Some libraries take no text beside them, and bundles have the names of certificates there.
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _certificates(key: str, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError(f"{key} holds no certificate in PEM") from None


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
            raise NotAdmittedError(f"node {shown(node)} is not in xds.tls.nodes")
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
