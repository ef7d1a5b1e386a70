"""Plimsoll steers a mesh of Istio: a real istiod, and Envoys that it configures."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from controlplane.config import Address
from tests.envoy.pools import pool
from tests.istio.client import istiod as another
from tests.istio.test_serve import plimsoll
from tests.istiod.mesh import (
    Mesh,
    cluster,
    count,
    entry_of_user,
    hosts,
    istiod,
    report,
    sidecar,
    soon,
    thousand,
)
from tests.processes import Envoy, Plimsoll, free_port, until
from tests.replica import FakeReplica, replica

pytestmark = pytest.mark.timeout(600)


@dataclass
class World:
    """What runs.

    Attributes:
        replicas: By id.
        port: On which Plimsoll serves istiod.
    """

    plane: Plimsoll
    mesh: Mesh
    envoy: Envoy
    replicas: Mapping[str, FakeReplica]
    port: int

    async def has(self, *ids: str) -> bool:
        """Whether the Envoy has just these replicas."""
        return (await hosts(self.envoy)).keys() == {self.replicas[item].address for item in ids}

    async def shares(self) -> dict[str, float]:
        """What Plimsoll says that each replica gets."""
        found = (await self.plane.get("/v1/pools/p/replicas"))["replicas"]
        return {item["id"]: item["share"] for item in found}

    async def served(self, count: int, at_once: int = 8) -> dict[str, float]:
        """Send requests through the Envoy; returns the part that each replica got."""
        before = {id_: item.served for id_, item in self.replicas.items()}
        answers = Counter[int]()
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                answers[await self.envoy.post("p")] += 1

        await asyncio.gather(*(some() for _ in range(at_once)))
        assert answers == {200: count}
        return {id_: (each.served - before[id_]) / count for id_, each in self.replicas.items()}


@asynccontextmanager
async def world(
    folder: Path, seconds: Mapping[str, float], debounce: str = "10ms", **more: Any
) -> AsyncIterator[World]:
    """Replicas that take so long for a request, Plimsoll, istiod, and an Envoy that has them."""
    port = free_port()
    async with AsyncExitStack() as stack:
        fakes = {
            id_: await stack.enter_async_context(replica(service))
            for id_, service in seconds.items()
        }
        entries: dict[str, dict[str, Any]] = {
            id_: {"address": fake.address, **more.pop(id_, {})} for id_, fake in fakes.items()
        }
        declared = pool("p", entries, **more)
        plane = await stack.enter_async_context(plimsoll(folder, declared, port))
        mesh = await stack.enter_async_context(istiod(folder, port, debounce=debounce))
        envoy = await stack.enter_async_context(sidecar(folder, mesh))
        found = World(plane, mesh, envoy, fakes, port)
        await until("the Envoy has all replicas", lambda: found.has(*seconds))
        yield found


async def has(envoy: Envoy, wanted: int) -> bool:
    """Whether an Envoy has so many replicas."""
    return await count(envoy) == wanted


def in_ms(seconds: list[float]) -> str:
    """The median and the longest."""
    return f"{median(seconds) * 1e3:.0f} ms (longest {max(seconds) * 1e3:.0f})"


async def test_shares_at_an_envoy_of_the_mesh_are_those_that_plimsoll_says(tmp_path: Path) -> None:
    seconds = {"fast": 0.002, "quick": 0.002, "slow": 0.02}
    async with world(tmp_path, seconds) as found:
        config = await cluster(found.envoy)
        assert config["lb_policy"] == "LEAST_REQUEST"
        assert "locality_weighted_lb_config" in config["common_lb_config"]

        async def are_the_same() -> bool:
            seen: list[dict[str, float]] = []

            async def watch() -> None:
                while True:
                    seen.append(await found.shares())
                    await asyncio.sleep(0.1)

            watching = asyncio.create_task(watch())
            served = await found.served(2_000)
            watching.cancel()
            said = {each: sum(shares[each] for shares in seen) / len(seen) for each in served}
            report(*(f"{item}: {said[item]:.3f} said, {served[item]:.3f} served;" for item in said))
            # Two of one tier share what it gets, by how many requests each has in flight.
            fast = (served["fast"] + served["quick"]) / (said["fast"] + said["quick"])
            slow = served["slow"] / said["slow"]
            is_apart = said["fast"] > 2 * said["slow"]
            return is_apart and max(abs(fast - 1), abs(slow - 1)) <= 0.05

        await until("shares are within 5 % of what Plimsoll says", are_the_same, 180)


@pytest.mark.parametrize("debounce", ["10ms", "100ms"])
async def test_a_decision_reaches_envoys(tmp_path: Path, debounce: str) -> None:
    async with (
        world(tmp_path, {"a": 0.002, "b": 0.002}, debounce) as found,
        another(Address("127.0.0.1", found.port)) as told,
    ):

        async def is_told(count: int) -> bool:
            return len(told.endpoints()) == count

        decided, came = [], []
        for _ in range(5):
            for action, wanted in (("drain", 1), ("undrain", 2)):
                assert await found.plane.call("POST", f"/v1/pools/p/replicas/a/{action}") == 200
                decided.append(await soon(action, lambda wanted=wanted: is_told(wanted)))
                came.append(await soon(action, lambda wanted=wanted: has(found.envoy, wanted)))
                await asyncio.sleep(0.5)
        report(
            f"debounce {debounce}: from the command until istiod is told {in_ms(decided)},",
            f"until the Envoy has it {in_ms(came)} more",
        )


async def test_a_thousand_replicas(tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(thousand())
        entries = {f"r{i}": {"address": address} for i, address in enumerate(addresses)}
        check = {"interval": "10s", "timeout": "5s"}
        declared = pool("p", entries, metrics={"profile": "none"}, health_check=check)
        plane = await stack.enter_async_context(plimsoll(tmp_path, declared, port))
        mesh = await stack.enter_async_context(istiod(tmp_path, port))
        envoy = await stack.enter_async_context(sidecar(tmp_path, mesh))

        await until("the Envoy has all replicas", lambda: has(envoy, 1_000))
        assert {await envoy.post("p") for _ in range(100)} == {200}
        took, before = [], mesh.cpu()
        for _ in range(10):
            for action, wanted in (("drain", 999), ("undrain", 1_000)):
                assert await plane.call("POST", f"/v1/pools/p/replicas/r7/{action}") == 200
                took.append(await soon(action, lambda wanted=wanted: has(envoy, wanted)))
        cpu = (mesh.cpu() - before) / len(took) * 1e3
        report(
            f"1,000 replicas: from the command until the Envoy has it {in_ms(took)},",
            f"{cpu:.0f} ms of istiod's CPU for each change",
        )


async def test_requests_are_answered_while_istiod_is_away(tmp_path: Path) -> None:
    seconds = {"a": 0.002, "b": 0.002}
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(world(tmp_path, seconds))
        os.kill(found.mesh.pid, 9)
        await found.served(200)
        assert await found.plane.call("POST", "/v1/pools/p/replicas/a/drain") == 200
        assert await found.has("a", "b")
        grpc = found.mesh.grpc
        await stack.enter_async_context(istiod(tmp_path, found.port, grpc))
        await until("what changed meanwhile has come", lambda: found.has("b"))
        await found.served(200)


async def test_envoys_keep_what_they_have_while_plimsoll_is_away(tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        fakes = {item: await stack.enter_async_context(replica()) for item in ("a", "b")}
        declared = pool("p", {id_: {"address": fake.address} for id_, fake in fakes.items()})
        first = AsyncExitStack()
        plane = await first.enter_async_context(plimsoll(tmp_path, declared, port))
        mesh = await stack.enter_async_context(istiod(tmp_path, port))
        envoy = await stack.enter_async_context(sidecar(tmp_path, mesh))
        found = World(plane, mesh, envoy, fakes, port)
        await until("the Envoy has all replicas", lambda: found.has("a", "b"))

        counts: list[int] = []

        async def watch() -> None:
            while True:
                counts.append(len(await hosts(envoy)))
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        plane.kill()
        await plane.ended()
        await first.aclose()
        await found.served(200)
        found.plane = await stack.enter_async_context(plimsoll(tmp_path, declared, port))

        async def is_connected() -> bool:
            return "plimsoll_xds_istiods 1.0" in await found.plane.text("/metrics")

        await until("istiod has come back", is_connected)
        await found.served(200)
        watching.cancel()
        assert set(counts) == {2}
        assert await found.plane.call("POST", "/v1/pools/p/replicas/a/drain") == 200
        await until("a change reaches the Envoy again", lambda: found.has("b"))


async def test_what_istio_finds_wrong_costs_nothing(tmp_path: Path) -> None:
    labels = {"image": "registry.example/tei:1.8", "ends-badly-": "x", "istio-locality": "us.x"}
    seconds = {"a": 0.002, "b": 0.002}
    async with world(tmp_path, seconds, a={"labels": labels}) as found:
        settings = {"model": "m", "listener": {"address": f"127.0.0.1:{free_port()}"}}
        assert await found.plane.call("PUT", "/v1/pools/Bad_Name", settings) == 201
        path = "/v1/pools/Bad_Name/replicas/x"
        address = {"address": f"127.0.0.1:{free_port()}"}
        assert await found.plane.call("PUT", path, address) == 201
        assert await found.plane.call("POST", "/v1/pools/p/replicas/b/drain") == 200
        await until("changes go on to come", lambda: found.has("a"))
        log = (tmp_path / "plimsoll.log").read_text()
        assert "pool Bad_Name is not given to istiod: its name cannot begin a host name" in log
        said = (tmp_path / "istiod.log").read_text()
        assert "Error adding a new resource" not in said
        assert "Invalid data" not in said


@pytest.mark.parametrize("namespace", ["default", "elsewhere"])
async def test_the_host_of_a_user_is_left_alone(tmp_path: Path, namespace: str) -> None:
    async with replica() as own:
        entry_of_user(tmp_path, namespace, own.address)
        port = free_port()
        async with AsyncExitStack() as stack:
            fake = await stack.enter_async_context(replica())
            declared = pool("p", {"a": {"address": fake.address}})
            plane = await stack.enter_async_context(plimsoll(tmp_path, declared, port))
            mesh = await stack.enter_async_context(istiod(tmp_path, port))
            envoy = await stack.enter_async_context(sidecar(tmp_path, mesh))

            async def is_that_of_the_user() -> bool:
                return (await hosts(envoy)).keys() == {own.address}

            await until("the Envoy has the user's replica", is_that_of_the_user)
            # A change of ours, and time for it to come.
            assert await plane.call("POST", "/v1/pools/p/replicas/a/drain") == 200
            await asyncio.sleep(1)
            assert await is_that_of_the_user()
            config = await cluster(envoy)
            assert "locality_weighted_lb_config" not in config.get("common_lb_config", {})
            assert await envoy.post("p") == 200
            assert (own.served, fake.served) == (1, 0)
