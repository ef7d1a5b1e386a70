"""Applications that ask for embeddings: open loop, through every sidecar in turn, each checked.

Requests leave at the times of a Poisson process whether or not earlier ones were answered, and a
request's latency counts from the time at which it was meant to leave. A client that waited for
answers would send less just when the replicas are slow, and would not see it (Gil Tene's
"coordinated omission").
"""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from typing import Final

import aiohttp

from controlplane.tools.demo.layout import MODEL
from controlplane.tools.demo.texts import text
from controlplane.tools.load.percentiles import nearest_rank
from controlplane.tools.load.schedule import departures

DIMENSIONS: Final = 384
DEADLINE: Final = 30.0
"""Seconds after which a request has failed."""
_OFF_LENGTH: Final = 1e-3
"""How far from 1 the length of an embedding may be."""


def fault(status: int, body: bytes) -> str | None:
    """What is wrong with an answer; None for one embedding of the right size and length."""
    if status != 200:
        return f"status {status}"
    try:
        vector = json.loads(body)["data"][0]["embedding"]
        length = math.sqrt(math.fsum(number * number for number in vector))
    except (ValueError, LookupError, TypeError):
        return "an answer without an embedding"
    if len(vector) != DIMENSIONS:
        return f"an embedding of {len(vector)} numbers"
    return None if abs(length - 1) <= _OFF_LENGTH else f"an embedding of length {length:.3g}"


def percentile(values: Sequence[float], part: float) -> float | None:
    """The smallest value that so large a part of all does not exceed; None of nothing."""
    return nearest_rank(values, part) if values else None


@dataclass(slots=True)
class Outcome:
    """What came of the requests so far.

    Attributes:
        latencies: Seconds, of those with a right answer.
        failures: How often which fault.
    """

    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Requests without a right answer."""
        return self.failures.total()

    @property
    def requests(self) -> int:
        """Requests that have ended."""
        return len(self.latencies) + self.failed


class Load:
    """Sends requests until it is told to stop."""

    def __init__(
        self, session: aiohttp.ClientSession, urls: Sequence[str], rate: float, seed: int
    ) -> None:
        """Send nothing yet.

        Args:
            session: To send with.
            urls: Of the embeddings, one for each sidecar.
            rate: Requests per second in total.
            seed: Of departures and texts.
        """
        self.outcome = Outcome()
        self._session = session
        self._urls = cycle(urls)
        self._rate = rate
        # Two, so that when a request leaves does not depend on how fast others are answered.
        self._times = Random(seed)  # noqa: S311 - decides about texts, not about secrets
        self._texts = Random(seed)  # noqa: S311
        self._flying: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Send until `finish`."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            for departure in departures(self._rate, self._times):
                await asyncio.sleep(start + departure - loop.time())
                if self._stopped.is_set():
                    return
                task = asyncio.create_task(self._one(start + departure))
                self._flying.add(task)
                task.add_done_callback(self._flying.discard)
        finally:
            if not self._stopped.is_set():
                for task in self._flying:
                    task.cancel()

    async def finish(self) -> Outcome:
        """Send no more, and wait for the answers that are still to come."""
        self._stopped.set()
        if self._flying:
            await asyncio.wait(self._flying)
        return self.outcome

    async def _one(self, departure: float) -> None:
        body = {"model": MODEL, "input": text(self._texts)}
        try:
            async with self._session.post(
                next(self._urls), json=body, timeout=aiohttp.ClientTimeout(DEADLINE)
            ) as answer:
                found = fault(answer.status, await answer.read())
        except (aiohttp.ClientError, OSError) as error:
            found = type(error).__name__
        if found:
            self.outcome.failures[found] += 1
        else:
            self.outcome.latencies.append(asyncio.get_running_loop().time() - departure)
