"""Real Envoys in three zones: at home while there is room, elsewhere with what is too much."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from controlplane.config import Address, Locality
from controlplane.resources.bootstrap import bootstrap
from tests.envoy.load import load
from tests.envoy.pools import pool, running
from tests.processes import Envoy, Plimsoll, free_port, serving, until
from tests.replica import FakeReplica, replica

ZONES = {"near": ("eu", "a"), "region": ("eu", "b"), "far": ("us", "a")}
SECONDS = 0.025
"""That a request takes; each replica has one slot, and so carries 40 a second."""


@dataclass
class Stage:
    """A replica and an Envoy in each of three zones.

    Attributes:
        stops: Closes what each replica listens on.
    """

    plane: Plimsoll
    envoys: dict[str, Envoy]
    replicas: dict[str, FakeReplica]
    stops: dict[str, AsyncExitStack]

    def served(self) -> dict[str, int]:
        return {name: item.served for name, item in self.replicas.items()}

    async def zone(self, name: str) -> dict[str, Any]:
        """What the API shows of a zone."""
        region, zone = ZONES[name]
        zones = (await self.plane.get("/v1/pools/p"))["zones"]
        return next(item for item in zones if (item["region"], item["zone"]) == (region, zone))


@asynccontextmanager
async def stage(
    folder: Path,
    seconds: Mapping[str, float] = MappingProxyType(dict.fromkeys(ZONES, SECONDS)),
    nodes: Sequence[str] = tuple(ZONES),
) -> AsyncIterator[Stage]:
    """Begin with replicas that take so long, and with these Envoys; a number follows the zone."""
    async with AsyncExitStack() as stack:
        replicas, stops, entries = {}, {}, {}
        for name, takes in seconds.items():
            region, zone = ZONES[name.partition("-")[0]]
            stops[name] = await stack.enter_async_context(AsyncExitStack())
            scene = replicas[name] = await stops[name].enter_async_context(replica(takes))
            locality = {"region": region, "zone": zone}
            entries[name] = {"address": scene.address, "slots": 1, "locality": locality}
        declared = pool("p", entries, balancing={"locality": "nearest", "slow_start": None})
        plane = await stack.enter_async_context(serving(folder, [declared]))
        envoys = {}
        for name in nodes:
            region, zone = ZONES[name.partition("-")[0]]
            own, port = folder / name, free_port()
            own.mkdir()
            data = bootstrap(
                name,
                plane.xds,
                locality=Locality(region=region, zone=zone),
                admin_port=free_port(),
                listen={"p": Address("127.0.0.1", port)},
            )
            envoys[name] = await stack.enter_async_context(running(own, data, port, "p"))
        for envoy in envoys.values():

            async def has_all(envoy: Envoy = envoy) -> bool:
                return await envoy.healthy("p") == {*seconds} and await envoy.post("p") == 200

            await until("an Envoy has all replicas", has_all)
        yield Stage(plane, envoys, replicas, stops)


async def test_a_zone_keeps_its_requests_spills_what_is_too_much_and_survives_its_replicas(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as scene:
        for name, envoy in scene.envoys.items():

            async def stays(name: str = name, envoy: Envoy = envoy) -> bool:
                before = scene.served()
                for _ in range(20):
                    assert await envoy.post("p") == 200
                    # Without a rest these would be all that a replica can carry.
                    await asyncio.sleep(3 * SECONDS)
                grown = {each: count - before[each] for each, count in scene.served().items()}
                return grown == {each: 20 if each == name else 0 for each in ZONES}

            await until("a zone keeps its requests", stays)

        before = scene.served()
        async with load(scene.envoys["near"], "p", workers=400, rate=65.0) as statuses:

            async def is_spilt() -> bool:
                zone = await scene.zone("near")
                spills = {each["zone"]: each["part"] for each in zone["spills"]}
                enough = scene.replicas["region"].served - before["region"] > 60
                return enough and zone["stays"] < 0.85 and spills.get("b", 0) > 0.1

            await until("what is too much for a zone goes to the next one", is_spilt)
        assert {*statuses} == {200}
        assert scene.replicas["near"].served - before["near"] > 60

        async with load(scene.envoys["near"], "p", workers=100, rate=25.0) as statuses:
            begun = statuses[200]

            async def goes_on() -> bool:
                return statuses[200] - begun > 50

            await until("some requests are answered", goes_on)
            await scene.stops["near"].aclose()
            begun = statuses[200]
            await until("the zone goes on without replicas of its own", goes_on)

            async def is_lost() -> bool:
                zone = await scene.zone("near")
                return bool(zone["capacity"] == 0 and zone["stays"] == 0)

            await until("the control plane counts on nothing there", is_lost)
            begun = statuses[200]
            await until("and requests go where it says", goes_on)
        assert {*statuses} == {200}


async def test_many_nodes_beside_few_replicas_spill_together_and_to_tiers_by_capacity(
    tmp_path: Path,
) -> None:
    seconds = {"near": 0.1, "region-1": 0.1, "region-2": 0.4, "far": 0.1}
    nodes = ("near-1", "near-2", "near-3")
    async with stage(tmp_path, seconds, nodes) as scene, AsyncExitStack() as stack:

        async def begins(name: str) -> Counter[int]:
            """A third of what the zone's replica carries."""
            return await stack.enter_async_context(load(scene.envoys[name], "p", rate=3.0))

        first = await begins(nodes[0])

        async def stays() -> bool:
            zone = await scene.zone("near")
            return bool(zone["demand"] and zone["capacity"] and zone["stays"] > 0.95)

        await until("one alone stays in its zone", stays)
        others = [await begins(name) for name in nodes[1:]]

        async def is_spilt() -> bool:
            zone = await scene.zone("near")
            spills = {each["zone"]: each["part"] for each in zone["spills"]}
            return bool(zone["stays"] < 0.9 and spills.get("b", 0) > 0.05)

        await until("the zone spills what all of them send", is_spilt)

        async def are_apart() -> bool:
            path = "/v1/pools/p/replicas/region-"
            tiers = [(await scene.plane.get(f"{path}{i}"))["tier"] for i in (1, 2)]
            return len({*tiers}) == 2

        await until("the faster of the next zone has a tier of its own", are_apart)
        before = scene.served()

        async def is_by_capacity() -> bool:
            grown = {name: count - before[name] for name, count in scene.served().items()}
            return grown["region-1"] > 20 and grown["region-1"] > 1.5 * grown["region-2"]

        await until("what is spilt goes to the faster rather than the slower", is_by_capacity)
        assert {status for each in (first, *others) for status in each} == {200}
