"""Real replicas that register themselves, a real Envoy, and no request that is lost."""

import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane.fleet import DRAIN_SECONDS
from tests.envoy.load import load
from tests.envoy.pools import pool, serves
from tests.processes import DEADLINE, Envoy, Plimsoll, free_port, process, serving, sidecar, until

REPLICA = Path(__file__).parents[2] / "examples" / "replica"
TTL = 3.0


class Members:
    """Three replicas of pool p, each a process of its own that can be started again."""

    def __init__(self, folder: Path, plane: Plimsoll, stack: AsyncExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.plane = plane
        self.ports = {id_: free_port() for id_ in ("a", "b", "c")}
        self.processes: dict[str, Process] = {}

    async def start(self, id_: str) -> None:
        """Start one at its port."""
        url = f"http://{self.plane.admin}/v1/pools/p"
        flags = ("--register", url, "--replica-id", id_, "--ttl", str(TTL), "--quiet", "1.5")
        argv = (sys.executable, REPLICA, "--port", str(self.ports[id_]), *flags)
        log = self._folder / f"{id_}-{len(list(self._folder.glob(f'{id_}-*')))}.log"
        started = process(*argv, "--model-name", "m", log=log)
        self.processes[id_] = await self._stack.enter_async_context(started)

    async def known(self, id_: str) -> Any:
        """What the API says of one."""
        return await self.plane.get(f"/v1/pools/p/replicas/{id_}")

    async def says(self, id_: str, key: str) -> object:
        """One value of it; None where there is no such replica."""
        return (await self.known(id_)).get(key)

    async def has_drained_itself(self, id_: str) -> bool:
        """Whether one was drained by its own request, as the audit log tells after it is gone."""
        entries = (await self.plane.get("/v1/audit?limit=1000"))["entries"]
        after = [entry["after"] or {} for entry in entries if entry["replica"] == id_]
        return "operator" in [item.get("draining") for item in after]

    async def generation(self, id_: str) -> object:
        """None where there is none."""
        return await self.says(id_, "generation")


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[tuple[Members, Envoy]]:
    """Three that have registered, and an Envoy that may use all of them."""
    async with AsyncExitStack() as stack:
        entry = pool("p", {}, metrics={"profile": "tei", "interval": "200ms"})
        plane = await stack.enter_async_context(serving(folder, [entry]))
        envoy = await stack.enter_async_context(sidecar(folder, plane.xds, ["p"]))
        members = Members(folder, plane, stack)
        for id_ in members.ports:
            await members.start(id_)
        await until("all are in", lambda: has(envoy, "a", "b", "c"))
        await until("Envoy serves the pool", lambda: serves(envoy, "p"))
        yield members, envoy


async def has(envoy: Envoy, *ids: str) -> bool:
    return await envoy.healthy("p") == set(ids)


async def test_a_rolling_restart_under_load_loses_no_request(tmp_path: Path) -> None:
    async with standing(tmp_path) as (members, envoy), load(envoy, "p") as statuses:
        retried = await envoy.stat(r"cluster\.p\.upstream_rq_retry")
        for id_ in ("a", "b"):
            before = await members.generation(id_)
            members.processes[id_].send_signal(signal.SIGTERM)

            assert await members.processes[id_].wait() == 0
            assert await members.has_drained_itself(id_)
            assert await members.generation(id_) is None
            await members.start(id_)
            await until("all are in again", lambda: has(envoy, "a", "b", "c"))
            assert await members.generation(id_) not in (None, before)
            seen = statuses.total()

            async def goes_on(seen: int = seen) -> bool:
                return statuses.total() > seen + 20

            await until("requests go on", goes_on)
        assert set(statuses) == {200}
        # Nor was any of them refused by one replica and saved by another.
        assert await envoy.stat(r"cluster\.p\.upstream_rq_retry") == retried


async def test_a_replica_that_is_killed_comes_back_as_another_or_is_given_up(
    tmp_path: Path,
) -> None:
    async with standing(tmp_path) as (members, envoy):
        before = await members.generation("a")
        members.processes["a"].kill()
        await members.processes["a"].wait()
        await members.start("a")

        async def is_back() -> bool:
            is_another = await members.generation("a") not in (None, before)
            return is_another and await members.says("a", "state") == "ready"

        await until("it is back as another generation", is_back)

        async def starts_slowly() -> bool:
            return any(step["name"] == "slow start" for step in (await members.known("a"))["steps"])

        await until("it starts slowly", starts_slowly)
        await until("all are in again", lambda: has(envoy, "a", "b", "c"))

        members.processes["b"].kill()

        async def drains() -> bool:
            return await members.says("b", "draining") == "lease"

        await until("its lease runs out and it is drained", drains)

        async def is_gone() -> bool:
            return await members.generation("b") is None and "b" not in await envoy.hosts("p")

        await until("it is removed", is_gone, DRAIN_SECONDS + DEADLINE)
        assert await serves(envoy, "p")
