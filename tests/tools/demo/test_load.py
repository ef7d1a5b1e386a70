"""The load: what is a right answer, when requests leave, and what becomes of slow ones."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import aiohttp
import pytest
from aiohttp import web

from controlplane.tools.demo.load import DIMENSIONS, Load, fault, percentile
from controlplane.tools.demo.texts import LONG, SHORT, text


def chance() -> Random:
    return Random(1876)  # noqa: S311 - a test's chance is always the same


def answer(vector: object) -> bytes:
    return json.dumps({"data": [{"embedding": vector}]}).encode()


RIGHT = answer([DIMENSIONS**-0.5] * DIMENSIONS)


def test_one_embedding_of_length_1_is_right() -> None:
    assert fault(200, RIGHT) is None


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, RIGHT, "status 503"),
        (200, b"", "an answer without an embedding"),
        (200, b"[]", "an answer without an embedding"),
        (200, b'{"data": []}', "an answer without an embedding"),
        (200, answer("text"), "an answer without an embedding"),
        (200, answer(None), "an answer without an embedding"),
        (200, answer([1.0]), "an embedding of 1 numbers"),
        (200, answer([0.1] * DIMENSIONS), "an embedding of length 1.96"),
    ],
)
def test_anything_else_is_a_fault(status: int, body: bytes, said: str) -> None:
    assert fault(status, body) == said


def test_texts_are_short_and_long() -> None:
    drawing = chance()
    drawn = {text(drawing) for _ in range(2000)}
    assert drawn == {*SHORT, *LONG}


def test_the_99th_percentile_of_100_is_the_second_largest() -> None:
    assert percentile(range(100), 0.99) == 98
    assert percentile([], 0.99) is None


@asynccontextmanager
async def server(delay: float = 0.0, status: int = 200) -> AsyncIterator[str]:
    """A server that answers right, after a while, one at a time."""
    one_at_a_time = asyncio.Lock()

    async def embed(_request: web.Request) -> web.Response:
        async with one_at_a_time:
            await asyncio.sleep(delay)
        return web.Response(body=RIGHT, status=status)

    app = web.Application()
    app.add_routes([web.post("/", embed)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def sent_for(load: Load, seconds: float) -> None:
    await sent_until_over(load, asyncio.create_task(load.run()), seconds)


async def sent_until_over(load: Load, running: "asyncio.Task[None]", seconds: float) -> None:
    await asyncio.sleep(seconds)
    await load.finish()
    await running


async def test_slow_answers_do_not_slow_the_sending_and_waiting_counts() -> None:
    async with server(delay=0.05) as url, aiohttp.ClientSession() as session:
        load = Load(session, [url], rate=50, seed=1)
        await sent_for(load, 1.0)
    # A client that waited for each answer would have sent 20, and seen 50 ms each time.
    assert load.outcome.requests > 25
    assert load.outcome.failed == 0
    assert max(load.outcome.latencies) > 0.5


async def test_a_client_that_is_late_itself_counts_its_own_delay() -> None:
    async with server() as url, aiohttp.ClientSession() as session:
        load = Load(session, [url], rate=50, seed=1)
        running = asyncio.create_task(load.run())
        await asyncio.sleep(0.1)
        time.sleep(0.5)  # noqa: ASYNC251 - holds up everything, as a busy machine does
        await sent_until_over(load, running, 0.2)
    assert max(load.outcome.latencies) > 0.4


async def test_sidecars_take_turns() -> None:
    async with server() as right, server(status=503) as wrong, aiohttp.ClientSession() as session:
        load = Load(session, [right, wrong], rate=100, seed=1)
        await sent_for(load, 0.5)
    assert load.outcome.failures.keys() == {"status 503"}
    assert abs(load.outcome.failed - len(load.outcome.latencies)) <= 1


async def test_a_sidecar_that_is_gone_is_a_failed_request() -> None:
    async with server() as url:
        pass
    async with aiohttp.ClientSession() as session:
        load = Load(session, [url], rate=50, seed=1)
        await sent_for(load, 0.3)
    assert load.outcome.failed == load.outcome.requests > 0
