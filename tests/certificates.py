"""Certificates for tests: authorities, and leaves that say what a test makes them say."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DOMAIN = "plimsoll.local"
DAY = 86_400.0


def node(id_: str) -> str:
    """The SPIFFE id of a node."""
    return f"spiffe://{DOMAIN}/node/{id_}"


@dataclass(frozen=True)
class Leaf:
    """A certificate with its key, both in PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both, each by renaming; returns the paths of the certificate and of the key."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / f"{name}.pem", folder / f"{name}-key.pem"
        for path, content in zip(paths, (self.certificate, self.key), strict=True):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)
        return paths


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def self_signed(key: Key) -> Leaf:
    """A certificate of this key, valid for a day."""
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-signed")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    return Leaf(made.public_bytes(serialization.Encoding.PEM), pem(key))


def pem(key: Key) -> bytes:
    """A private key as a file has it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


WEAK = self_signed(rsa.generate_private_key(65537, 1024))  # noqa: S505 - that is the point
"""OpenSSL does not serve with it."""


class Authority:
    """A root that signs leaves."""

    def __init__(self) -> None:
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)

    @property
    def root(self) -> bytes:
        """In PEM."""
        return self._ca.cert_pem.bytes()

    def write(self, folder: Path, name: str = "ca.pem") -> Path:
        """Write the root."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(self.root)
        return path

    def server(self, *names: str) -> Leaf:
        """A leaf for a server on loopback."""
        made = self._ca.issue_cert(*(names or ("127.0.0.1", "localhost")))
        chain = b"".join(each.bytes() for each in made.cert_chain_pems)
        return Leaf(chain, made.private_key_pem.bytes())

    def leaf(
        self,
        uris: Sequence[str] = (),
        *,
        begins: float = -DAY,
        ends: float = DAY,
        common_name: str = "",
    ) -> Leaf:
        """A leaf for a client.

        Args:
            uris: Among its names.
            begins: Seconds from now on.
            ends: Likewise.
            common_name: Of its subject.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self._ca._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(seconds=begins))
            .not_valid_after(now + datetime.timedelta(seconds=ends))
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        signer = self._ca._private_key
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        made = builder.sign(signer, hashes.SHA256())
        return Leaf(made.public_bytes(serialization.Encoding.PEM), pem(key))

    def node(self, id_: str, *, begins: float = -DAY, ends: float = DAY) -> Leaf:
        """A leaf for a node."""
        return self.leaf([node(id_)], begins=begins, ends=ends)
