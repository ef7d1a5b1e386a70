"""Real Envoys that see the fleet differently: from their zone, and as a gateway."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from controlplane.config import Address, Locality, Policy
from controlplane.resources.bootstrap import bootstrap
from tests.envoy.policies import balancing
from tests.envoy.pools import pool, running
from tests.processes import Envoy, free_port, serving, until
from tests.replica import FakeReplica, replica


async def served(envoy: Envoy, name: str, replicas: dict[str, FakeReplica]) -> dict[str, int]:
    """How many of 30 requests each replica serves, with as much time between them that one can."""
    before = {id_: item.served for id_, item in replicas.items()}
    for _ in range(30):
        assert await envoy.post(name) == 200
        await asyncio.sleep(0.03)
    return {id_: each.served - before[id_] for id_, each in replicas.items()}


# Localities by tiers, weights alone, and hashing: others differ in what is within a locality.
@pytest.mark.parametrize("policy", ["capacity-tiers", "round-robin", "ring-hash"])
async def test_an_envoy_sends_to_its_zone_and_elsewhere_only_when_that_is_down(
    tmp_path: Path, policy: Policy
) -> None:
    async with AsyncExitStack() as stack:
        replicas = {id_: await stack.enter_async_context(replica()) for id_ in ("near", "far")}
        zones = {"near": "a", "far": "b"}
        entries = {
            id_: {"address": item.address, "locality": {"region": "eu", "zone": zones[id_]}}
            for id_, item in replicas.items()
        }
        declared = pool("p", entries, balancing=balancing(policy, locality="nearest"))
        plane = await stack.enter_async_context(serving(tmp_path, [declared]))
        port = free_port()
        data = bootstrap(
            "sidecar",
            plane.xds,
            locality=Locality(region="eu", zone="a"),
            admin_port=free_port(),
            listen={"p": Address("127.0.0.1", port)},
        )
        envoy = await stack.enter_async_context(running(tmp_path, data, port, "p"))

        async def has_both() -> bool:
            return await envoy.healthy("p") == {"near", "far"} and await envoy.post("p") == 200

        await until("Envoy has both replicas", has_both)

        async def stays() -> bool:
            return await served(envoy, "p", replicas) == {"near": 30, "far": 0}

        # Until its requests are counted its Envoy is taken to send all that the pool can carry.
        await until("the zone keeps its requests", stays)
        replicas["near"].loaded = False

        async def has_moved() -> bool:
            return await envoy.healthy("p") == {"far"}

        await until("Envoy has seen that the near one is down", has_moved)

        async def are_elsewhere() -> bool:
            return await served(envoy, "p", replicas) == {"near": 0, "far": 30}

        # Its worker threads hear of that a moment after its statistics.
        await until("all requests go to the far one", are_elsewhere)


async def test_a_gateway_finds_pools_by_path_and_by_header(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        replicas = {name: await stack.enter_async_context(replica()) for name in ("p", "q")}
        pools = [pool(name, {"a": {"address": item.address}}) for name, item in replicas.items()]
        plane = await stack.enter_async_context(serving(tmp_path, pools))
        port = free_port()
        gateway = Address("127.0.0.1", port)
        data = bootstrap("gateway", plane.xds, admin_port=free_port(), gateway=gateway)
        envoy = await stack.enter_async_context(running(tmp_path, data, port, "all"))
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))

        async def ask(path: str, **headers: str) -> tuple[int, str]:
            url = f"http://{gateway}{path}"
            async with session.post(url, json={"input": "a"}, headers=headers) as response:
                return response.status, await response.text()

        async def is_there() -> bool:
            if await envoy.admin("/listeners?format=json") is None:
                return False
            healthy = [await envoy.healthy(name) for name in replicas]
            return healthy == [{"a"}, {"a"}] and bool(await envoy.post("all"))

        await until("the gateway has both pools", is_there)
        for name, each in replicas.items():
            before = each.served
            assert (await ask(f"/{name}/v1/embeddings"))[0] == 200
            assert (await ask("/v1/embeddings", **{"x-plimsoll-pool": name}))[0] == 200
            assert each.served == before + 2
        status, text = await ask("/v1/embeddings")
        assert (status, "x-plimsoll-pool" in text) == (404, True)
