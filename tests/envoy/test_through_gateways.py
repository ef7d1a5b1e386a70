"""A class that goes through a gateway, with real Envoys: what takes the way, and what it costs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from tests.envoy.load import load
from tests.envoy.pools import HEALTH_CHECK, pool_of, serves
from tests.processes import Envoy, Plimsoll, free_port, serving, sidecar, started_envoy, until
from tests.replica import FakeReplica, replica

POOL, JOBS = "minilm", "jobs"
JOB = {"x-job": "nightly"}
MATCH = {"header": {"name": "x-job", "value": "nightly"}}
DIRECT, THROUGH = (f"cluster.{POOL}_{JOBS}{each}.upstream_rq_total" for each in ("", "/gateways"))


@dataclass
class Stage:
    """Three replicas, a sidecar, and a gateway that the sidecar's jobs go through."""

    folder: Path
    plane: Plimsoll
    sidecar: Envoy
    replicas: list[FakeReplica]
    gateway_port: int

    @asynccontextmanager
    async def gateway(self, **options: Any) -> AsyncIterator[Envoy]:
        """Run the gateway."""
        where = Address("127.0.0.1", self.gateway_port)
        data = bootstrap(
            "gateway", self.plane.xds, admin_port=free_port(), gateway=where, **options
        )
        ports = {POOL: self.gateway_port}
        async with started_envoy(self.folder, "gateway", data, ports) as gateway:
            yield gateway

    async def is_used(self) -> bool:
        """Whether a job that is sent now takes the way through the gateway."""
        before = await self.sidecar.stat(THROUGH)
        assert await self.sidecar.post(POOL, headers=JOB) == 200
        return await self.sidecar.stat(THROUGH) > before

    async def uses_gateway(self) -> None:
        """Wait until jobs take the way."""
        await until("jobs go through the gateway", self.is_used)


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Begin without a gateway."""
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica()) for _ in range(3)]
        port = free_port()
        via = {"name": JOBS, "match": MATCH, "via": [f"127.0.0.1:{port}"]}
        check = HEALTH_CHECK | {"timeout": "1s"}
        entry = pool_of(POOL, *replicas, classes=[via], health_check=check)
        plane = await stack.enter_async_context(serving(folder, [entry]))
        envoy = await stack.enter_async_context(sidecar(folder, plane.xds, [POOL]))
        await until("the sidecar serves", lambda: serves(envoy, POOL))
        yield Stage(folder, plane, envoy, replicas, port)


async def test_x(tmp_path: Path) -> None:
    async with stage(tmp_path) as here, here.gateway() as gateway:
        await here.uses_gateway()
        for _ in range(100):
            assert await here.sidecar.post(POOL, headers=JOB) == 200
        for _ in range(50):
            assert await here.sidecar.post(POOL) == 200
        import asyncio

        await asyncio.sleep(3)
        for e in (here.sidecar, gateway):
            print(
                {
                    k: v
                    for k, v in (await e.stats(f"cluster.{POOL}")).items()
                    if v
                    and (
                        "rq_total" in k
                        or "rq_completed" in k
                        or "rq_retry" in k
                        or k.endswith("rq_200")
                    )
                }
            )
        print([r.started for r in here.replicas])
        text = await here.plane.text("/metrics")
        print([l for l in text.splitlines() if "request" in l and POOL in l and not "bucket" in l])
        print(await here.plane.get(f"/v1/pools/{POOL}"))
        print(here.replicas[0].headers)
        for e in (here.sidecar, gateway):
            print(
                (await e.admin("/config_dump?resource=dynamic_listeners"))["configs"][:1]
                if 0
                else ""
            )
        assert 0
