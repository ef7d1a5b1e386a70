"""The real control plane, ``plimsoll serve``: how soon it is ready, and what it takes."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.machine import free_ports
from benchmarks.registry.api import connections
from benchmarks.registry.fleet import Layout
from benchmarks.scrape.served import memory_of
from tests.processes import process


@dataclass(frozen=True, slots=True)
class Plane:
    """One that serves.

    Attributes:
        pid: Of its process.
        admin: Port of its REST API.
        xds: Port for Envoys.
        ready: Seconds from its start until it was ready to serve Envoys.
        ready_cpu: Seconds of CPU that it took for that.
    """

    pid: int
    admin: int
    xds: int
    ready: float
    ready_cpu: float

    @property
    def rss(self) -> int:
        """Bytes of resident memory."""
        return memory_of(self.pid)["VmRSS"]


@asynccontextmanager
async def served(layout: Layout, folder: Path) -> AsyncIterator[Plane]:
    """Run a control plane; in the same folder as before it has what it had."""
    admin, xds = free_ports(2)
    config = folder / "plimsoll.yaml"
    config.write_text(yaml.safe_dump(layout.config(admin, xds)))
    command = (sys.executable, "-m", "controlplane", "serve", "--config", config)
    begun = time.monotonic()
    async with process(*command, "--log-level", "error", log=folder / "plimsoll.log") as started:
        await _ready(admin, started)
        took = time.monotonic() - begun
        yield Plane(started.pid, admin, xds, took, cpu_of(started.pid))


async def _ready(port: int, started: asyncio.subprocess.Process) -> None:
    while True:
        if started.returncode is not None:
            raise RuntimeError(f"plimsoll serve ended: {started.returncode}")
        try:
            async with connections(port, 1) as (connection,):
                await connection.ask(("GET", "/readyz", None))
                return
        except (OSError, RuntimeError):
            await asyncio.sleep(0.02)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process took so far, to the nanosecond; ticks would be 10 ms each."""
    found = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += int((thread / "schedstat").read_text().split()[0])
    return found / 1e9
