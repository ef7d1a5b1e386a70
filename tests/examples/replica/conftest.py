"""The real model, read once, and replicas served in process on real sockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from prometheus_client import CollectorRegistry

from embedding_replica.engine import Engine
from embedding_replica.metrics import Metrics
from embedding_replica.model import Model, architecture, model_folder
from embedding_replica.openai import Limits
from embedding_replica.server import Server
from tests.processes import DEADLINE

Client = TestClient[Request, Application]
Start = Callable[[Engine], Awaitable[Client]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]


def read_samples(exposition: str) -> dict[str, float]:
    """Read each sample by its name and its labels' values.

    By hand: prometheus_client's own parser adds ``_total`` to the names of counters.
    """
    found = re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", exposition, re.MULTILINE)
    return {
        ",".join([name, *re.findall(r'="(.*?)"', labels)]): float(value)
        for name, labels, value in found
    }


class Gate:
    """A sleep to give to an engine: while shut, the batch in work stays there."""

    def __init__(self) -> None:
        self.asleep = 0
        self._open = asyncio.Event()
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def sleep(self, _seconds: float) -> None:
        self.asleep += 1
        try:
            await self._open.wait()
        finally:
            self.asleep -= 1


@pytest.fixture(scope="session")
def model() -> Model:
    return Model.load(model_folder())


@pytest.fixture
def samples() -> Callable[[str], dict[str, float]]:
    return read_samples


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def limits() -> Limits:
    sizes = architecture(model_folder())
    return Limits(
        model="all-MiniLM-L6-v2",
        batch=4,
        vocabulary=sizes.vocabulary,
        dimensions=sizes.hidden,
    )


@pytest.fixture
def until() -> Until:
    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            # What is waited for is state of the server, which has no event for each test.
            while not condition():
                await asyncio.sleep(0.001)

    return wait


@pytest.fixture
async def start(limits: Limits) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def started(engine: Engine) -> Client:
            metrics = Metrics(waiting=lambda: engine.waiting, registry=CollectorRegistry())
            engine.on_batch = metrics.batch
            if (memory := engine.memory) is not None:
                metrics.show_gpu("GPU-1", lambda: engine.memory or memory)
            stack.callback(engine.close)
            server = TestServer(Server(engine, metrics, limits).app(), handler_cancellation=True)
            return await stack.enter_async_context(TestClient(server))

        yield started
