"""``GET /v1/events``: what changes, as it changes; nobody misses anything without being told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from controlplane.api.events import MAX_READERS, MOST_EVENTS
from controlplane.api.server import Limits
from controlplane.plane import Probe
from tests.api.served import POOL, REPLICA, Served, served
from tests.processes import DEADLINE

PATH = "/v1/pools/m/replicas/a"


@dataclass
class Follower:
    """A client of the stream."""

    response: aiohttp.ClientResponse
    last: str = ""

    async def line(self) -> str:
        async with asyncio.timeout(DEADLINE):
            return (await self.response.content.readline()).decode()

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event and its data."""
        kind, data = "", {}
        while (line := await self.line()) != "\n" or not kind:
            assert line, "the stream has ended"
            key, _, value = line.rstrip("\n").partition(": ")
            if key == "id":
                self.last = value
            elif key == "event":
                kind = value
            elif key == "data":
                data = json.loads(value)
        return kind, data


@asynccontextmanager
async def following(api: Served, last: str | None = None) -> AsyncIterator[Follower]:
    headers = {} if last is None else {"Last-Event-ID": last}
    url = f"http://{api.address}/v1/events"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        # A proxy on the way is to pass each event on at once, and to keep none.
        kept = response.headers["Cache-Control"], response.headers["X-Accel-Buffering"]
        assert kept == ("no-store", "no")
        yield Follower(response)


async def change(api: Served, times: int = 1) -> None:
    for _ in range(times):
        await api.ask("POST", f"{PATH}/drain")
        await api.ask("POST", f"{PATH}/undrain")


async def test_the_first_event_is_the_present_state_and_then_come_changes() -> None:
    async with served() as api:
        await api.filled()
        async with following(api) as follower:
            kind, state = await follower.next()
            assert kind == "state"
            assert state["pools"] == (await api.ask("GET", "/v1/pools")).body["pools"]
            await api.ask("POST", f"{PATH}/drain")
            kind, data = await follower.next()
            assert (kind, data["change"], data["id"]) == ("replica", "changed", "a")
            assert (data["draining"], data["pool"]) == ("operator", "m")


async def test_pools_and_replicas_come_change_and_go() -> None:
    async with served() as api, following(api) as follower:
        await follower.next()
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        tag = (await api.ask("PUT", "/v1/pools/m", json=POOL | {"model": "x"})).headers["ETag"]
        await api.ask("PUT", PATH, json=REPLICA)
        await api.ask("DELETE", PATH)
        await api.ask("DELETE", "/v1/pools/m")
        found = [await follower.next() for _ in range(5)]
        assert [(kind, data["change"]) for kind, data in found] == [
            ("pool", "added"),
            ("pool", "changed"),
            ("replica", "added"),
            ("replica", "removed"),
            ("pool", "removed"),
        ]
        assert found[1][1]["etag"] == tag


async def test_a_replica_that_becomes_ready_is_a_change_and_a_weight_is_none() -> None:
    async with served() as api:
        await api.filled()
        async with following(api) as follower:
            await follower.next()
            api.decide()
            api.plane.probed(api.target("a"), Probe.HEALTHY, api.now)
            api.decide()
            kind, data = await follower.next()
            assert (kind, data["id"], data["state"]) == ("replica", "a", "ready")


async def test_who_comes_back_goes_on_where_it_was() -> None:
    async with served() as api:
        await api.filled()
        async with following(api) as follower:
            await follower.next()
        await change(api)
        async with following(api, follower.last) as again:
            assert (await again.next())[1]["draining"] == "operator"
            assert (await again.next())[1]["draining"] is None
            await api.ask("POST", f"{PATH}/drain")
            assert (await again.next())[1]["draining"] == "operator"


@pytest.mark.parametrize(
    "last",
    [
        *("", "x", "0123abcd-1", "{start}", "{start}-99999999", "{start}--1", "²-²"),
        *("{start}-²", "{start}-" + "1" * 5_000),
    ],
)
async def test_an_id_that_was_never_given_out_is_told_of_and_gets_the_present_state(
    last: str,
) -> None:
    async with served() as api:
        await api.filled()
        async with following(api) as follower:
            await follower.next()
        start = follower.last.partition("-")[0]
        async with following(api, last.format(start=start)) as again:
            assert [(await again.next())[0] for _ in range(2)] == ["missed", "state"]


async def test_who_comes_back_too_late_is_told_and_gets_the_present_state() -> None:
    async with served() as api:
        await api.filled()
        async with following(api) as follower:
            await follower.next()
        for index in range(MOST_EVENTS + 1):
            api.server._feed.publish("pool", {"pool": str(index)})
        async with following(api, follower.last) as again:
            assert [(await again.next())[0] for _ in range(2)] == ["missed", "state"]
            await api.ask("POST", f"{PATH}/drain")
            assert (await again.next())[0] == "replica"


async def test_when_nothing_happens_a_comment_says_so() -> None:
    async with served(limits=Limits(heartbeat=0.05)) as api, following(api) as follower:
        await follower.next()
        assert await follower.line() == ": nothing new\n"
        assert await follower.line() == "\n"
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        while (line := await follower.line()) in (": nothing new\n", "\n"):
            pass
        assert line.startswith("id: ")


async def test_a_reader_that_stops_is_cut_and_others_are_not() -> None:
    async with served(limits=Limits(answer=0.3)) as api:
        await api.filled()
        _, writer = await asyncio.open_connection(api.address.host, api.address.port, limit=1 << 10)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with following(api) as follower:
            await follower.next()
            async with asyncio.timeout(DEADLINE):
                while api.server._events.readers < 2:
                    await asyncio.sleep(0.01)
                seen = 0
                # Kernels keep some megabytes for who does not read.
                while api.server._events.readers == 2:
                    api.server._feed.publish("pool", {"pool": "x" * 500_000})
                    assert (await follower.next())[0] == "pool"
                    seen += 1
            await api.ask("POST", f"{PATH}/drain")
            assert (await follower.next())[0] == "replica"
            assert seen > 1
        writer.transport.abort()


async def test_there_are_only_so_many_readers_and_who_leaves_makes_room() -> None:
    async with served() as api:
        api.server._events.readers = MAX_READERS - 1
        async with following(api) as follower:
            await follower.next()
            refused = await api.ask("GET", "/v1/events")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "30")
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        async with asyncio.timeout(DEADLINE):
            while api.server._events.readers > MAX_READERS - 1:
                await asyncio.sleep(0.01)


async def test_the_end_of_the_server_ends_the_stream_at_once() -> None:
    async with served() as api, following(api) as follower:
        await follower.next()
        await api.server.stop(60.0)
        assert await follower.line() == ""


async def test_of_a_stream_there_is_no_head() -> None:
    async with served() as api:
        answer = await api.ask("HEAD", "/v1/events")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")


async def test_a_stream_needs_the_token_as_everything_else_does() -> None:
    async with served(token="s3cret") as api:  # noqa: S106 - of a server only this test knows
        assert (await api.ask("GET", "/v1/events")).status == 401
