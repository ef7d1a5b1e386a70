"""The Envoys of a mesh, and their certificates in files."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from controlplane.resources.secret_sources import NodeTls, SecretSource, secret_files
from tests.certificates import DAY, DOMAIN, Authority
from tests.processes import Envoy, free_port, started_envoy


def pool_id(name: str) -> str:
    """The SPIFFE id of the ingresses of a pool."""
    return f"spiffe://{DOMAIN}/pool/{name}"


def install(authority: Authority, folder: Path, uri: str, ends: float = DAY) -> SecretSource:
    """Put a leaf of this name and its root into a folder, in place of what was there.

    Returns:
        What an Envoy's bootstrap says of it.
    """
    certificate, key = authority.leaf([uri], ends=ends).write(folder, "leaf")
    ca = authority.write(folder)
    described = secret_files(NodeTls(str(certificate), str(key), str(ca), str(folder), ""))
    for name, content in described.items():
        if not (folder / name).exists():
            (folder / name).write_text(json.dumps(content))
    return SecretSource.in_folder(str(folder))


def client_context(roots: Path, shown: Path | None = None) -> ssl.SSLContext:
    """What a client that is no Envoy shows: the certificate in a folder, or none."""
    context = ssl.create_default_context(cafile=str(roots / "ca.pem"))
    context.check_hostname = False
    if shown is not None:
        context.load_cert_chain(shown / "leaf.pem", shown / "leaf-key.pem")
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
    tls: NodeTls | None = None,
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
        tls=tls,
    )
    async with started_envoy(folder, node, data, {pool: port}) as envoy:
        yield envoy
