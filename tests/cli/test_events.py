"""``plimsoll events`` as a process beside a real API."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controlplane.api.schema import Answer, MissedEvent, PartingEvent
from controlplane.cli.events import line
from controlplane.client import Event
from tests.api.served import POOL, Served, served
from tests.client.test_events import Cutting
from tests.processes import DEADLINE, until


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as here:
        yield await here.filled()


@asynccontextmanager
async def following(url: str, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", "events", "--url", url, *options),
        stdout=pipe,
        stderr=pipe,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def said(process: asyncio.subprocess.Process) -> str:
    """The next line."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().rstrip("\n")


async def test_each_event_is_a_line_at_once_and_ctrl_c_ends_it_quietly(api: Served) -> None:
    async with following(f"http://{api.address}") as process:
        assert (await said(process))[8:] == "  state: m: 0 of 2 ready, 2 starting"
        await api.ask("POST", "/v1/pools/m/replicas/a/drain")
        words = "  replica m/a changed: starting, draining (operator), "
        assert (await said(process))[8:].startswith(words)
        await api.ask("DELETE", "/v1/pools/m/replicas/b")
        assert (await said(process))[8:] == "  replica m/b removed"
        await api.ask("PUT", "/v1/pools/m", json=POOL | {"model": "n"})
        assert (await said(process))[8:] == "  pool m changed"
        process.send_signal(signal.SIGINT)
        assert await process.communicate() == (b"", b"")
    assert process.returncode == 130


async def test_in_json_each_has_its_id_and_with_that_it_goes_on(api: Served) -> None:
    async with following(f"http://{api.address}", "--json") as process:
        state = json.loads(await said(process))
        assert state["event"] == "state"
        pools = (await api.ask("GET", "/v1/pools")).body["pools"]
        assert state["data"] == {"pools": pools}
    await api.ask("POST", "/v1/pools/m/replicas/a/drain")
    async with following(f"http://{api.address}", "--json", "--since", state["id"]) as process:
        event = json.loads(await said(process))
    assert (event["event"], event["data"]["id"], event["data"]["draining"]) == (
        "replica",
        "a",
        "operator",
    )


async def test_after_a_cut_it_says_so_once_and_goes_on(api: Served) -> None:
    way = Cutting(api)
    async with await asyncio.start_server(way, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with following(url) as process:
            await said(process)
            way.refuses = True
            way.cut()
            assert process.stderr is not None
            told = (await process.stderr.readline()).decode()
            await api.ask("POST", "/v1/pools/m/replicas/a/drain")
            await until("it has tried again", lambda: way.tried(3))
            way.refuses = False
            assert "replica m/a changed" in await said(process)
            process.send_signal(signal.SIGINT)
            _, errors = await process.communicate()
    assert told == f"plimsoll: the control plane at {url} closed the connection; trying again\n"
    assert errors == b""


def test_what_an_older_client_does_not_know_is_shown_and_harmless() -> None:
    assert line(Event(None, "new", {"a": "\x1b[2J"}, Answer())) == 'new: {"a": "\\u001b[2J"}'
    missed = Event(None, "missed", {}, MissedEvent(detail="gone\x1b"))
    assert line(missed) == "gone�"


def test_an_event_about_classes_is_a_line_with_who_serves_each() -> None:
    serving = {"bulk": 1, "search": 2}
    begun = PartingEvent(pool="m", change="begun", classes=serving, reasons=())
    words = "classes of pool m begun: bulk on 1 replica, search on 2 replicas"
    assert line(Event(None, "parting", {}, begun)) == words
    ended = PartingEvent(pool="m", change="ended", classes={}, reasons=())
    assert line(Event(None, "parting", {}, ended)) == "classes of pool m ended"
