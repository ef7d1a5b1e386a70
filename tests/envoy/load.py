"""Requests through an Envoy for as long as a test does something else, and what came of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

from tests.processes import Envoy


@asynccontextmanager
async def load(
    envoy: Envoy,
    pool: str,
    workers: int = 4,
    pause: float = 0.005,
    texts: Sequence[str] = ("a text",),
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Counter[int]]:
    """Send requests until the context closes; counts the statuses, 0 for no answer at all.

    Args:
        envoy: Takes them.
        pool: That they are for.
        workers: As many at a time.
        pause: Seconds between two of a worker.
        texts: Sent in turn, again and again.
        headers: Of all of them.
    """
    statuses: Counter[int] = Counter()
    stopped = asyncio.Event()
    turn = cycle(texts)

    async def work() -> None:
        while not stopped.is_set():
            statuses[await envoy.post(pool, next(turn), headers)] += 1
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
        try:
            yield statuses
        finally:
            stopped.set()
