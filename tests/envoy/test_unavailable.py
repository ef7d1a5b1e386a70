"""Why a client gets 503: each cause that docs/unavailable.md has, with a real Envoy and its log."""

import json
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import trustme

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from tests.authority import Files
from tests.envoy.faulty import FaultyReplica
from tests.envoy.pools import pool, pool_of, running
from tests.processes import Plimsoll, free_port, serving, until
from tests.replica import FakeReplica, replica

PAGE = Path(__file__).parents[2] / "docs" / "unavailable.md"
ROWS = [
    tuple(cell.strip().strip("`") for cell in line.strip("|").split("|"))
    for line in PAGE.read_text().splitlines()
    if re.match(r"\| \d{3} ", line)
]
"""Status, flags, details, cause, what explain says, what to do."""


EXPLAINED = {
    "Not known to Envoy yet": ("loading",),
    "Gone for": ("dying", "poison"),
    "Its certificate is not trusted": ("untrusted",),
}
"""The pools of which explain says so."""


class World:
    """A gateway with a pool for each cause."""

    def __init__(self) -> None:
        self.dying = [FaultyReplica() for _ in range(2)]
        self.refusing = [FaultyReplica("refuses") for _ in range(2)]
        self.poisoned = [FaultyReplica() for _ in range(4)]
        self.gateway = Address("127.0.0.1", free_port())
        self.small = Address("127.0.0.1", free_port())

    async def run(self, folder: Path) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
        """Produce each cause.

        Returns:
            The lines of the log, and for each pool what explain says.
        """
        async with AsyncExitStack() as stack:
            for each in (*self.dying, *self.refusing, *self.poisoned):
                await each.start()
                stack.callback(each.die)
            ready, hung = [await stack.enter_async_context(replica()) for _ in range(2)]
            files = Files(folder / "tls", trustme.CA(), "other.test")
            secured = await stack.enter_async_context(replica(tls=files.server_context()))
            tls = {"ca": str(files.ca), "server_name": "replica.test"}
            untrusted = pool_of("untrusted", secured, upstream={"tls": tls})
            hung.answers.clear()
            plane = await stack.enter_async_context(
                serving(folder, [*self.pools(ready, hung), untrusted])
            )
            where = self.gateway
            data = bootstrap(
                "gateway", plane.xds, admin_port=free_port(), gateway=where, log="json"
            )
            envoy = await stack.enter_async_context(running(folder, data, self.gateway.port, "all"))

            async def are_there() -> bool:
                status = await envoy.post("all", path="/ready/v1/embeddings")
                healthy = [await envoy.healthy(name) for name in ("dying", "poison", "refusing")]
                return status == 200 and [len(each) for each in healthy] == [2, 4, 2]

            await until("the gateway serves every pool", are_there)
            for name in ("empty", "asleep", "loading", "nowhere", "refusing", "hung", "untrusted"):
                await self.ask(f"/{name}/v1/embeddings")
            await self.ask("/ready/outside")
            await self.ask("/poison/v1/embeddings", text="poison")
            for each in self.dying:
                each.die()
            await self.ask("/dying/v1/embeddings")
            hung.answers.set()
            explained = ("empty", "loading", "dying", "poison", "untrusted")
            said = {name: await why(plane, name) for name in explained}
            lines = await self.logged(folder, 10)
            data = bootstrap(
                "small",
                plane.xds,
                admin_port=free_port(),
                gateway=self.small,
                log="json",
                max_heap=8 << 20,
            )
            (folder / "small").mkdir()
            envoy = await stack.enter_async_context(
                running(folder / "small", data, self.small.port, "all")
            )

            async def is_refused() -> bool:
                return await envoy.post("all", path="/ready/v1/embeddings") == 503

            await until("an Envoy without memory refuses", is_refused)
            lines += await self.logged(folder / "small", 1)
        return lines, said

    def pools(self, ready: FakeReplica, hung: FakeReplica) -> list[dict[str, Any]]:
        def of(name: str, replicas: Sequence[FaultyReplica]) -> dict[str, Any]:
            where = [{"address": f"127.0.0.1:{each.port}"} for each in replicas]
            return pool(name, {f"r{number}": each for number, each in enumerate(where)})

        loading = {"a": {"address": f"127.0.0.1:{free_port()}"}}
        return [
            pool("empty", {}),
            pool("asleep", {}, scaling={"min_replicas": 0}),
            pool("loading", loading),
            pool_of("ready", ready, route={"prefix": "/v1"}),
            pool_of("hung", hung, route={"timeout": "1s"}),
            of("dying", self.dying),
            of("refusing", self.refusing),
            of("poison", self.poisoned),
        ]

    async def ask(self, path: str, text: str = "a") -> None:
        url = f"http://{self.gateway}{path}"
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.post(url, json={"input": text}) as answer,
        ):
            await answer.read()

    async def logged(self, folder: Path, least: int) -> list[dict[str, Any]]:
        def failed() -> list[dict[str, Any]]:
            lines = (folder / "envoy.log").read_text().splitlines()
            read = [json.loads(line) for line in lines if line.startswith("{")]
            return [line for line in read if int(line["status"]) >= 400]

        async def are_written() -> bool:
            return len(failed()) >= least

        await until("Envoy has written its log", are_written)
        return failed()


async def why(plane: Plimsoll, name: str) -> list[str]:
    found = await plane.get(f"/v1/pools/{name}/replicas")
    return [sentence for each in found["replicas"] for sentence in each["why"]]


async def test_each_cause_on_the_page_has_these_flags_in_the_log(tmp_path: Path) -> None:
    lines, said = await World().run(tmp_path)
    found = {(line["status"], line["flags"], line["details"].partition("{")[0]) for line in lines}
    for status, flags, details, cause, explained, _ in ROWS:
        kinds = {
            (int(line["status"]), line["flags"]) for line in lines if details in line["details"]
        }
        assert (int(status), flags) in kinds, (cause, found)
        for name in EXPLAINED.get(explained, ()):
            assert any(sentence.startswith(explained) for sentence in said[name]), said[name]
    assert said["empty"] == []
    # And the page has every one that was produced.
    on_page = {(int(status), flags) for status, flags, *_ in ROWS}
    assert {(int(line["status"]), line["flags"]) for line in lines} <= on_page
