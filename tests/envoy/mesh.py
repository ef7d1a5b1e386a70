"""Certificates from files, and the Envoys of a mesh."""

import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from controlplane.resources.bootstrap_tls import secret_files
from controlplane.resources.secret_sources import SecretSource
from tests.processes import Envoy, free_port, started_envoy

TRUST_DOMAIN: Final = "plimsoll.local"


def node_id(name: str) -> str:
    """The SPIFFE id of an Envoy."""
    return f"spiffe://{TRUST_DOMAIN}/node/{name}"


def pool_id(name: str) -> str:
    """The SPIFFE id of the ingresses of a pool."""
    return f"spiffe://{TRUST_DOMAIN}/pool/{name}"


class TestAuthority:
    """A root that signs leaves with a SPIFFE id."""

    __test__ = False

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test root")])
        builder = self._builder(self._name, self._key.public_key(), timedelta(hours=1))
        limits = x509.BasicConstraints(ca=True, path_length=0)
        self.root = builder.add_extension(limits, critical=True).sign(self._key, hashes.SHA256())

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, lasts: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + lasts)
        )

    def write(self, folder: Path, uri: str, lasts: timedelta = timedelta(hours=1)) -> SecretSource:
        """Put a leaf of this name and the root into a folder, in place of what was there.

        Returns:
            What an Envoy's bootstrap says of it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = (
            self._builder(x509.Name([]), key.public_key(), lasts)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True
            )
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
                ),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for name, content in (
            ("key.pem", secret),
            ("roots.pem", self.root.public_bytes(pem)),
            ("cert.pem", leaf.public_bytes(pem)),
        ):
            _replace(folder / name, content)
        paths = (str(folder / name) for name in ("cert.pem", "key.pem", "roots.pem"))
        for name, response in secret_files(*paths).items():
            if not (folder / name).exists():
                _replace(folder / name, json.dumps(response).encode())
        return SecretSource.in_folder(str(folder))


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)


def client_context(folder: Path | None, roots: Path) -> ssl.SSLContext:
    """What a client that is no Envoy shows: the certificate of a folder, or none."""
    context = ssl.create_default_context(cafile=str(roots / "roots.pem"))
    context.check_hostname = False
    if folder is not None:
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@asynccontextmanager
async def ingress(
    folder: Path,
    xds: Address,
    pool: str,
    port: int,
    replica: str,
    secrets: SecretSource | None,
    node: str = "ingress",
) -> AsyncIterator[Envoy]:
    """Run the Envoy beside a replica, with the bootstrap that Plimsoll prints for it."""
    data = bootstrap(
        node,
        xds,
        pools=[pool],
        admin_port=free_port(),
        listen={pool: Address("127.0.0.1", port)},
        replica=Address("127.0.0.1", int(replica.rpartition(":")[2])),
        secrets=secrets,
    )
    async with started_envoy(folder, node, data, {pool: port}) as envoy:
        yield envoy
