"""Read certificates, and check that a certificate and a key can be served with."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

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
