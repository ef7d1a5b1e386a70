"""Requests through an Envoy for as long as a test does something else, and what came of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.processes import Envoy


@asynccontextmanager
async def load(
    envoy: Envoy, pool: str, workers: int = 4, pause: float = 0.005
) -> AsyncIterator[Counter[int]]:
    """Send requests until the context closes; counts the statuses, 0 for no answer at all."""
    statuses: Counter[int] = Counter()
    stopped = asyncio.Event()

    async def work() -> None:
        while not stopped.is_set():
            statuses[await envoy.post(pool)] += 1
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
        try:
            yield statuses
        finally:
            stopped.set()
