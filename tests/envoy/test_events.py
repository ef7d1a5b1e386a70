"""A real Envoy among the events: it connects, takes what is sent, refuses something, and leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.resources.bootstrap import Protocol
from controlplane.resources.resource import LISTENER
from tests.envoy.pools import PROTOCOLS, pool_of, put, serves
from tests.envoy.test_xds_rejections import NOT_OURS
from tests.processes import DEADLINE, Plimsoll, free_port, serving, sidecar, until
from tests.replica import replica


class Nodes:
    """What the stream of events says of nodes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.last = ""

    async def next(self) -> dict[str, Any]:
        """The next event about a node."""
        kind = ""
        async with asyncio.timeout(DEADLINE):
            async for line in self._response.content:
                key, _, value = line.decode().rstrip("\n").partition(": ")
                if key == "id":
                    self.last = value
                elif key == "event":
                    kind = value
                elif key == "data" and kind == "node":
                    found: dict[str, Any] = json.loads(value)
                    return found
        raise AssertionError("the stream has ended")


@asynccontextmanager
async def following(plane: Plimsoll, last: str | None = None) -> AsyncIterator[Nodes]:
    headers = {} if last is None else {"Last-Event-ID": last}
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 20) as session,
        session.get(f"http://{plane.admin}/v1/events", headers=headers) as response,
    ):
        yield Nodes(response)


async def is_in_sync(plane: Plimsoll, node: str) -> bool:
    nodes = (await plane.get("/v1/nodes"))["nodes"]
    return any(item["id"] == node and len(item["types"]) == 4 and item["in_sync"] for item in nodes)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_envoy_that_connects_refuses_something_and_leaves_is_followed(
    tmp_path: Path, protocol: Protocol
) -> None:
    async with AsyncExitStack() as stack:
        only = await stack.enter_async_context(replica())
        entry = pool_of("p", only)
        port = int(entry["listener"]["address"].rpartition(":")[2])
        plane = await stack.enter_async_context(serving(tmp_path, []))
        await put(plane, entry)
        nodes = await stack.enter_async_context(following(plane))
        async with sidecar(
            tmp_path, plane.xds, ["p"], "web-1", protocol=protocol, unmoved={"p": port}
        ) as envoy:
            connected = await nodes.next()
            assert (connected["id"], connected["change"]) == ("web-1", "connected")
            await until("Envoy serves the pool", lambda: serves(envoy, "p"))
            # What it takes is no event, and shown at once by the list of nodes.
            await until("it has acknowledged all", lambda: is_in_sync(plane, "web-1"))

            await put(plane, entry | {"listener": {"address": NOT_OURS}})
            rejected = await nodes.next()
            assert (rejected["change"], rejected["names"]) == ("rejected", ["p"])
            assert (rejected["id"], rejected["type_url"]) == ("web-1", LISTENER)
            assert NOT_OURS in rejected["message"]
            assert not await is_in_sync(plane, "web-1")

            moved = free_port()
            await put(plane, entry | {"listener": {"address": f"127.0.0.1:{moved}"}})
            await until("it has acknowledged what is right", lambda: is_in_sync(plane, "web-1"))
        left = await nodes.next()
        assert (left["id"], left["change"]) == ("web-1", "left")
        # Who comes back is told what came meanwhile, and not what it knows.
        async with sidecar(tmp_path, plane.xds, ["p"], "web-2", protocol=protocol):
            again = await stack.enter_async_context(following(plane, nodes.last))
            back = await again.next()
            assert (back["id"], back["change"]) == ("web-2", "connected")
