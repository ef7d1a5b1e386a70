"""The Envoys of a mesh, and their certificates in files."""

import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from controlplane.resources.secret_sources import NodeTls, SecretSource, secret_files
from tests.certificates import DAY, DOMAIN, Authority
from tests.certificates import node as node_id
from tests.envoy.pools import pool as pool_entry
from tests.processes import Envoy, Plimsoll, free_port, serving, sidecar, started_envoy, until
from tests.replica import FakeReplica, replica


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


POOL: Final = "p"


@dataclass
class Mesh:
    """What a test has of it."""

    folder: Path
    authority: Authority
    plane: Plimsoll
    egress: Envoy
    replicas: list[FakeReplica]
    ports: list[int]
    ingresses: list[Envoy]
    entry: dict[str, Any]

    async def change(self, **mesh: Any) -> None:
        """Put the pool with another ``mesh``."""
        settings = {k: v for k, v in self.entry.items() if k not in ("name", "replicas")}
        body = {**settings, "mesh": mesh}
        assert await self.plane.call("PUT", f"/v1/pools/{POOL}", body) in (200, 201)

    async def direct(self, context: Any, index: int = 0) -> int:
        """The status of a request straight to an ingress; 0: the connection gave none."""
        url = f"{'https' if context else 'http'}://127.0.0.1:{self.ports[index]}/v1/embeddings"
        try:
            async with (
                aiohttp.ClientSession(trust_env=False) as session,
                session.post(url, json={"input": "a"}, ssl=context or True) as response,
            ):
                return response.status
        except aiohttp.ClientError:
            return 0


@asynccontextmanager
async def meshed(
    folder: Path, mode: str, *, with_ingress: int = 1, plain: int = 0, **mesh: Any
) -> AsyncIterator[Mesh]:
    """A pool whose first replicas have an ingress, and an egress with a certificate."""
    authority = Authority()
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica()) for _ in range(with_ingress + plain)]
        ports = [free_port() for _ in range(with_ingress)]
        entries = {f"r{i}": {"address": item.address} for i, item in enumerate(replicas)}
        for index, port in enumerate(ports):
            entries[f"r{index}"]["ingress"] = f"127.0.0.1:{port}"
        entry = pool_entry(POOL, entries, mesh={"mode": mode, **mesh})
        plane = await stack.enter_async_context(serving(folder, [entry]))
        ingresses = [
            await stack.enter_async_context(
                beside(folder, authority, plane, index, port, each.address)
            )
            for index, (port, each) in enumerate(zip(ports, replicas, strict=False))
        ]
        secrets = install(authority, folder / "egress-certs", node_id("egress"))
        egress = await stack.enter_async_context(
            sidecar(folder, plane.xds, [POOL], "egress", secrets=secrets)
        )
        yield Mesh(folder, authority, plane, egress, replicas, ports, ingresses, entry)


def beside(
    folder: Path, authority: Authority, plane: Plimsoll, index: int, port: int, address: str
) -> AbstractAsyncContextManager[Envoy]:
    """The ingress of the replica with this number and address."""
    secrets = install(authority, folder / f"ingress-{index}-certs", pool_id(POOL))
    return ingress(folder, plane.xds, POOL, port, address, secrets, f"ingress-{index}")


async def serves(envoy: Envoy, replicas: Sequence[FakeReplica]) -> None:
    """Wait until an Envoy finds all of them healthy and is answered."""

    async def is_so() -> bool:
        healthy = await envoy.healthy(POOL)
        return len(healthy) == len(replicas) and await envoy.post(POOL) == 200

    await until("all replicas serve", is_so)
