"""``plimsoll serve`` with nothing set that it would not do by itself, and its Envoys."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running, loopback, pairs
from benchmarks.balance.envoys import envoys, pids
from benchmarks.balance.ports import free_ports
from controlplane.resources.bootstrap import bootstrap
from controlplane.settings import Address
from tests.processes import process, until

POOL: Final = "pool"


@asynccontextmanager
async def plimsoll(
    settings: Mapping[str, Any], folder: Path, cell: Cell, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """Run the control plane and its Envoys.

    Args:
        settings: Of the pool; empty for the defaults.
        folder: For files.
        cell: Says how many sidecars, and how many slots replicas declare.
        replicas: Where they serve.
    """
    admin, xds, listener, *rest = free_ports(3 + 2 * cell.sidecars)
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
    config = folder / "plimsoll.yaml"
    data = {
        "admin": {"address": str(loopback(admin))},
        "xds": {"address": str(loopback(xds))},
        "store": {"path": str(folder / "plimsoll.db")},
        "pools": [pool],
    }
    config.write_text(yaml.safe_dump(data))
    ports = pairs(rest)
    configs = [
        bootstrap(
            f"sidecar-{number}",
            loopback(xds),
            pools=[POOL],
            admin_port=sidecar_admin,
            listen={POOL: loopback(port)},
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
        started = envoys(folder, cell.ready_at_first, POOL, ports, configs)
        sidecars = await stack.enter_async_context(started)

        async def told() -> dict[str, Any]:
            said = {}
            for name in ids:
                url = f"http://{loopback(admin)}/v1/pools/{POOL}/replicas/{name}"
                async with session.get(url) as response:
                    found = await response.json()
                said[name] = {key: found[key] for key in ("capacity", "tier", "weight")}
            return said

        async def changes() -> int:
            # All sidecars are served the same; the first speaks for them.
            # The clusters of classes are called after the pool's.
            return await sidecars[0].stat(f"cluster.{POOL}.*update_success")

        processes = {"sidecars": pids(sidecars), "plane": [plane.pid]}
        yield Running([port for port, _ in ports], processes, told, changes)


by_metrics = partial(plimsoll, {})
by_load_reports = partial(plimsoll, {"metrics": {"profile": "none"}})


async def _answers(session: aiohttp.ClientSession, admin: int) -> bool:
    try:
        async with session.get(f"http://{loopback(admin)}/livez") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False
