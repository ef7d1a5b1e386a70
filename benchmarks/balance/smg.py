"""The model gateway smg as a central router: one process, however many sidecars a scenario has.

It speaks the OpenAI API alone, so requests carry a model and real JSON; it has no weights, and
knows of a replica's speed only by the requests that it has in flight there.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running
from benchmarks.machine import free_ports
from benchmarks.proxies import path_of
from controlplane.config import Address
from tests.processes import process, until

SETTINGS: Final = (
    "one process for all sidecars, policy least_load, a check each second, 3 retries, no circuit"
    " breakers"
)


def path() -> str:
    """Where it is."""
    return path_of("smg", ".venv/bin/pip install smg")


@asynccontextmanager
async def smg(folder: Path, cell: Cell, replicas: Sequence[Address]) -> AsyncIterator[Running]:
    """Run one process."""
    port, metrics = free_ports(2)
    command = (
        *(path(), "launch", "--host", "127.0.0.1", "--port", str(port)),
        *("--prometheus-port", str(metrics)),
        *("--policy", "least_load", "--backend", "vllm", "--disable-tokenizer-autoload"),
        *("--health-check-interval-secs", "1", "--health-check-timeout-secs", "1"),
        *("--retry-max-retries", "3", "--retry-initial-backoff-ms", "25"),
        *("--disable-circuit-breaker", "--log-level", "error"),
        *("--worker-urls", *(f"http://{address}" for address in replicas)),
    )
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        process(*command, log=folder / "smg.log") as started,
    ):

        async def knows_all() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{port}/workers") as response:
                    healthy = [
                        worker
                        for worker in (await response.json())["workers"]
                        if worker["is_healthy"]
                    ]
            except aiohttp.ClientError:
                return False
            return len(healthy) >= cell.ready_at_first

        await until(f"smg knows the replicas; see {folder}", knows_all)
        yield Running([port], {"sidecars": [started.pid]})
