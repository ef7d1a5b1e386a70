"""Real Envoys on both sides of a request: mutual TLS between that of a client and of a replica."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.envoy.mesh import TestAuthority, ingress, node_id, pool_id
from tests.envoy.pools import pool
from tests.processes import Envoy, Plimsoll, free_port, serving, sidecar, until
from tests.replica import FakeReplica, replica

POOL = "p"


@dataclass
class Mesh:
    """What a test has of it."""

    folder: Path
    authority: TestAuthority
    plane: Plimsoll
    egress: Envoy
    replicas: list[FakeReplica]
    ports: list[int]
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
    folder: Path, mode: str, *, ingresses: int = 1, plain: int = 0, **mesh: Any
) -> AsyncIterator[Mesh]:
    """A pool whose first replicas have an ingress, and an egress with a certificate."""
    authority = TestAuthority()
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica()) for _ in range(ingresses + plain)]
        ports = [free_port() for _ in range(ingresses)]
        entries = {f"r{i}": {"address": it.address} for i, it in enumerate(replicas)}
        for index, port in enumerate(ports):
            entries[f"r{index}"]["ingress"] = f"127.0.0.1:{port}"
        entry = pool(POOL, entries, mesh={"mode": mode, **mesh})
        plane = await stack.enter_async_context(serving(folder, [entry]))
        for index, (port, it) in enumerate(zip(ports, replicas, strict=False)):
            secrets = authority.write(folder / f"ingress-{index}-certs", pool_id(POOL))
            node = f"ingress-{index}"
            await stack.enter_async_context(
                ingress(folder, plane.xds, POOL, port, it.address, secrets, node)
            )
        secrets = authority.write(folder / "egress-certs", node_id("egress"))
        egress = await stack.enter_async_context(
            sidecar(folder, plane.xds, [POOL], "egress", secrets=secrets)
        )
        yield Mesh(folder, authority, plane, egress, replicas, ports, entry)


async def serves(envoy: Envoy, replicas: Sequence[FakeReplica]) -> None:
    """Wait until an Envoy finds all of them healthy and is answered."""

    async def is_so() -> bool:
        healthy = await envoy.healthy(POOL)
        return len(healthy) == len(replicas) and await envoy.post(POOL) == 200

    await until("all replicas serve", is_so)


async def test_requests_are_answered_over_mutual_tls(tmp_path: Path) -> None:
    async with meshed(tmp_path, "strict") as mesh:
        await serves(mesh.egress, mesh.replicas)
        assert await mesh.egress.stat(f"cluster.{POOL}.ssl.handshake") > 0
        xfcc = mesh.replicas[0].headers["x-forwarded-client-cert"]
        assert xfcc.endswith(f"URI={node_id('egress')}")
