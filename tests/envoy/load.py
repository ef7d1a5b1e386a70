"""Requests through an Envoy for as long as a test does something else, and what came of them."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count, cycle

from controlplane.tools.load.generator import Generator
from controlplane.tools.load.record import Answer
from controlplane.tools.load.schedule import Departure, Step
from tests.processes import DEADLINE, Envoy, until


@asynccontextmanager
async def load(
    envoy: Envoy,
    pool: str,
    workers: int = 4,
    rate: float = 150.0,
    texts: Sequence[str] = ("a text",),
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Counter[int]]:
    """Send requests until the context closes; counts the statuses, 0 for no answer at all.

    The first request waits for the listener, which Envoy opens after it has the clusters. Why there
    was no answer is printed, which pytest shows of a test that fails.

    Args:
        envoy: Takes them.
        pool: That they are for.
        workers: Requests in flight at most; further ones wait.
        rate: Requests per second, as far as `workers` allows.
        texts: Sent in turn, again and again.
        headers: Of all requests.
    """
    statuses: Counter[int] = Counter()
    stopped = asyncio.Event()
    step = Step(0, rate, 0.0, 0.0, math.inf)

    def schedule() -> Iterator[Departure]:
        bodies = cycle([json.dumps({"model": "m", "input": text}).encode() for text in texts])
        for number in count():
            if stopped.is_set():
                return
            yield Departure(number / rate, step, body=next(bodies))

    def answered(answer: Answer) -> None:
        statuses[answer.status or 0] += 1
        if answer.status is None:
            print(f"{pool}: {answer.fault} after {answer.service:.1f} s")  # noqa: T201

    generator = Generator(
        [f"http://127.0.0.1:{envoy.listeners[pool]}/v1/embeddings"],
        [step],
        most=workers,
        timeout=DEADLINE,
        # The test's own work may hold this process up for longer than a connection takes.
        connect=DEADLINE,
        headers=headers,
        answered=answered,
    )

    await envoy.listens(pool)
    async with asyncio.TaskGroup() as group:
        group.create_task(generator.run(schedule(), asyncio.get_running_loop().time()))
        try:
            yield statuses
        finally:
            stopped.set()


async def goes_on(statuses: Counter[int], count: int = 50) -> None:
    """Wait until so many requests more were answered, or not."""
    seen = statuses.total()

    async def has_gone_on() -> bool:
        return statuses.total() > seen + count

    await until("requests go on", has_gone_on)
