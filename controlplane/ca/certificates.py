"""Make certificates: a root, an intermediate, and leaves that name a SPIFFE id.

Times are seconds since 1970 and are passed in. Of a certificate request only the public key counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED: Final = 300.0
"""Seconds before its making from which a certificate counts: clocks of other machines differ."""

YEAR: Final = 365 * 86_400.0
ROOT_SECONDS: Final = 10 * YEAR
INTERMEDIATE_SECONDS: Final = 5 * YEAR

MAX_CSR: Final = 16_384
"""Characters of a certificate request; one with a P-256 key has 500."""


_DNS_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
)


class CaError(Exception):
    """What was asked of the certificate authority cannot be done; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate, with its chain up to but without the root, and its private key, in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """A leaf: its chain in PEM, the leaf first, without the root; when it ends."""

    chain: bytes
    serial: int
    expires: float


class Authority:
    """A certificate that signs others, with its key; equal where the certificates are."""

    def __init__(self, pair: KeyPair) -> None:
        """Read a pair; `CaError`: the two are unreadable or do not belong together."""
        try:
            self._chain = x509.load_pem_x509_certificates(pair.certificate)
            key = serialization.load_pem_private_key(pair.key, password=None)
        except (ValueError, TypeError):
            raise CaError("is not a certificate with its key, both in PEM") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CaError("has a key that is not of an elliptic curve")
        if key.public_key() != self.certificate.public_key():
            raise CaError("has a key that does not belong to the certificate")
        self._key = key
        self._pem = pair.certificate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Authority) and self._pem == other._pem

    def __hash__(self) -> int:
        return hash(self._pem)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate that signs."""
        return self._chain[0]

    @property
    def trust_domain(self) -> str:
        """The trust domain that the certificate may sign for; `CaError`: it is bound to none."""
        try:
            extension = self.certificate.extensions.get_extension_for_class(x509.NameConstraints)
            permitted = extension.value.permitted_subtrees or ()
            (name,) = (
                constraint
                for constraint in permitted
                if isinstance(constraint, x509.UniformResourceIdentifier)
            )
        except (x509.ExtensionNotFound, ValueError):
            raise CaError(
                "is not bound to one trust domain; `plimsoll ca init` makes one"
            ) from None
        return name.value

    @property
    def validity(self) -> tuple[float, float]:
        """When the certificate begins and ends."""
        return self.certificate.not_valid_before_utc.timestamp(), self.expires

    @property
    def expires(self) -> float:
        return self.certificate.not_valid_after_utc.timestamp()

    def is_signed_by(self, root: x509.Certificate) -> bool:
        """Whether a root signed this certificate."""
        return _signed(self.certificate, root)

    def issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        uris: Sequence[str],
        hosts: Sequence[str] = (),
        *,
        now: float,
        seconds: float,
    ) -> Issued:
        """Sign a leaf for clients and servers alike; it does not outlive this certificate."""
        expires = min(now + seconds, self.expires)
        names = [
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
            *(_host(name) for name in hosts),
        ]
        builder = _builder(public_key, self.certificate.subject, x509.Name([]), now, expires)
        leaf = (
            builder
            # RFC 5280, 4.2.1.6: critical where the subject is empty.
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(_authority(self._key), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        chain = leaf.public_bytes(serialization.Encoding.PEM) + self._pem
        return Issued(chain, leaf.serial_number, leaf.not_valid_after_utc.timestamp())

    def intermediate(self, *, now: float) -> KeyPair:
        """Make a certificate that signs leaves, and nothing that signs again."""
        key = new_key()
        expires = min(now + INTERMEDIATE_SECONDS, self.expires)
        name = _name(f"{self.trust_domain} intermediate", key)
        builder = _builder(key.public_key(), self.certificate.subject, name, now, expires)
        made = _signing(builder, self.trust_domain, path_length=0)
        made = made.add_extension(_authority(self._key), critical=False)
        return _pair(made.sign(self._key, hashes.SHA256()), key)


def new_root(trust_domain: str, *, now: float) -> KeyPair:
    """Make a root that signs for one trust domain only.

    Raises:
        CaError: The trust domain is no DNS name. Under a root that is bound to another one Envoy
            and gRPC (BoringSSL) trust nothing.
    """
    if not _DNS_NAME.fullmatch(trust_domain):
        raise CaError(
            f"the trust domain {trust_domain!r} must be a DNS name in lower-case letters, as in"
            ' "mesh.example"'
        )
    key = new_key()
    name = _name(f"{trust_domain} root", key)
    builder = _builder(key.public_key(), name, name, now, now + ROOT_SECONDS)
    made = _signing(builder, trust_domain, path_length=1)
    return _pair(made.sign(key, hashes.SHA256()), key)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_request(key: ec.EllipticCurvePrivateKey) -> str:
    """Make a certificate request, which says nothing but the key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def public_key_of(request: str) -> ec.EllipticCurvePublicKey:
    """Read the public key of a certificate request, and nothing else that it asks for.

    Raises:
        CaError: It is no request, is not signed by its own key, or has a key of another kind.
    """
    problem = "is not a certificate request in PEM, signed by its own key"
    if len(request) > MAX_CSR:
        raise CaError(f"is longer than {MAX_CSR} characters")
    try:
        parsed = x509.load_pem_x509_csr(request.encode())
        key = parsed.public_key()
        # First: with a long key of another kind a stranger could keep us busy.
        is_p256 = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
        is_signed = is_p256 and parsed.is_signature_valid
    except Exception:  # noqa: BLE001 - bytes of a stranger; the library raises many kinds
        raise CaError(problem) from None
    if not is_p256 or not isinstance(key, ec.EllipticCurvePublicKey):
        raise CaError("must have a key of the elliptic curve P-256")
    if not is_signed:
        raise CaError(problem)
    return key


def shown_leaf(chain: str, roots: bytes, now: float) -> x509.Certificate:
    """Check a chain that an `Authority` under one of these roots made, and return its leaf."""
    foreign = CaError("is not a certificate of this CA with the one that signed it")
    try:
        leaf, signer, *_ = x509.load_pem_x509_certificates(chain.encode())
        leaf.verify_directly_issued_by(signer)
    except Exception:  # noqa: BLE001 - bytes of a stranger; the library raises many kinds
        raise foreign from None
    # A root signs nothing but intermediates.
    if not any(_signed(signer, root) for root in certificates_of(roots)):
        raise foreign
    if min(leaf.not_valid_after_utc, signer.not_valid_after_utc).timestamp() <= now:
        raise CaError("has expired")
    return leaf


def certificates_of(pem: bytes) -> list[x509.Certificate]:
    """Read certificates; `CaError`: there are none, or one cannot be read."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CaError("holds no certificates in PEM") from None


def node_uri(trust_domain: str, node: str) -> str:
    """The SPIFFE id of a node."""
    return f"spiffe://{trust_domain}/node/{node}"


def pool_uri(trust_domain: str, pool: str) -> str:
    """The SPIFFE id of the replicas of a pool."""
    return f"spiffe://{trust_domain}/pool/{pool}"


def control_plane_uri(trust_domain: str) -> str:
    """The SPIFFE id of the control plane, which is no node."""
    return f"spiffe://{trust_domain}/control-plane"


def _signed(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    subject: x509.Name,
    now: float,
    expires: float,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(public_key)
        .issuer_name(issuer)
        .subject_name(subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(now - BACKDATED), UTC))
        .not_valid_after(datetime.fromtimestamp(int(expires), UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _signing(
    builder: x509.CertificateBuilder, trust_domain: str, *, path_length: int
) -> x509.CertificateBuilder:
    # A stolen key can make no id of another trust domain.
    bound = x509.NameConstraints([x509.UniformResourceIdentifier(trust_domain)], None)
    return (
        builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=path_length), critical=True
        )
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(bound, critical=True)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _name(text: str, key: ec.EllipticCurvePrivateKey) -> x509.Name:
    # Another for each key: a certificate that is named as its issuer counts for no path length, and
    # two roots of one name confuse those who build paths.
    mark = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:8]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{text[:55]} {mark}")])


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key))
