"""``plimsoll serve`` with nothing set that it would not do by itself, and its Envoys."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import yaml

from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running, loopback, pairs
from benchmarks.balance.envoys import envoys, pids
from benchmarks.machine import free_ports
from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from tests.processes import process, until

POOL: Final = "pool"


class Plane:
    """``plimsoll serve``, which can be killed and started again, until its context closes."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        """Start nothing yet."""
        self._command, self._log = command, log
        self._stack = AsyncExitStack()
        self._started: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._started is not None
        return self._started.pid

    async def start(self) -> None:
        """Start it, or start it again."""
        # The log of one that was killed stays.
        log = self._log if self._started is None else self._log.with_suffix(".again.log")
        self._started = await self._stack.enter_async_context(process(*self._command, log=log))

    async def kill(self) -> None:
        """End it without a chance to say goodbye."""
        assert self._started is not None
        self._started.kill()
        await self._started.wait()


@asynccontextmanager
async def plimsoll(
    settings: Mapping[str, Any],
    folder: Path,
    cell: Cell,
    replicas: Sequence[Address],
    *,
    has_gateway: bool = False,
) -> AsyncIterator[Running]:
    """Run the control plane and its Envoys.

    Args:
        settings: Of the pool; empty for the defaults.
        folder: For files.
        cell: Says how many sidecars, and how many slots replicas declare.
        replicas: Where they serve.
        has_gateway: Whether bulk requests go through one more Envoy.
    """
    admin, xds, listener, *rest = free_ports(3 + 2 * (cell.sidecars + has_gateway))
    ports = pairs(rest)
    gateways, sidecars = ports[:has_gateway], ports[has_gateway:]
    ids = [f"r{number}" for number in range(len(replicas))]
    pool: dict[str, Any] = {
        "name": POOL,
        "model": "simulated",
        "listener": {"address": str(loopback(listener))},
        "replicas": [
            {"id": name, "address": str(address), "slots": cell.slots}
            for name, address in zip(ids, replicas, strict=True)
        ],
        "metrics": {"profile": cell.scenario.world.profile},
        **settings,
    }
    if has_gateway:
        pool["balancing"] = {"long_requests_via": [str(loopback(port)) for port, _ in gateways]}
    config = folder / "plimsoll.yaml"
    data = {
        "admin": {"address": str(loopback(admin))},
        "xds": {"address": str(loopback(xds))},
        "store": {"path": str(folder / "plimsoll.db")},
        "pools": [pool],
    }
    config.write_text(yaml.safe_dump(data))
    configs = [
        bootstrap("gateway", loopback(xds), admin_port=own_admin, gateway=loopback(port))
        for port, own_admin in gateways
    ]
    configs += [
        bootstrap(
            f"sidecar-{number}",
            loopback(xds),
            pools=[POOL],
            admin_port=own_admin,
            listen={POOL: loopback(port)},
        )
        for number, (port, own_admin) in enumerate(sidecars)
    ]
    command = (sys.executable, "-m", "controlplane", "serve", "--config", config)
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        Plane(command, folder / "plimsoll.log") as plane,
        AsyncExitStack() as stack,
    ):
        # An Envoy that finds nobody there waits longer each time before it tries again.
        await until(f"plimsoll serves; see {folder}", partial(_answers, session, admin))
        started = envoys(folder, cell.ready_at_first, POOL, ports, configs)
        running = await stack.enter_async_context(started)

        async def told() -> dict[str, Any]:
            said = {}
            for name in ids:
                url = f"http://{loopback(admin)}/v1/pools/{POOL}/replicas/{name}"
                async with session.get(url) as response:
                    found = await response.json()
                said[name] = {key: found[key] for key in ("capacity", "tier", "weight")}
            return said

        async def changes() -> int:
            # All sidecars are served the same; the last speaks for them.
            # The clusters of classes are called after the pool's.
            return await running[-1].stat(f"cluster.{POOL}.*update_success")

        processes = {
            "sidecars": pids(running[has_gateway:]),
            **({"gateway": pids(running[:has_gateway])} if has_gateway else {}),
            "plane": [plane.pid],
        }
        yield Running([port for port, _ in sidecars], processes, told, changes, plane)


by_metrics = partial(plimsoll, {})
through_a_gateway = partial(plimsoll, {}, has_gateway=True)
by_load_reports = partial(plimsoll, {"metrics": {"profile": "none"}})


async def _answers(session: aiohttp.ClientSession, admin: int) -> bool:
    try:
        async with session.get(f"http://{loopback(admin)}/livez") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False
