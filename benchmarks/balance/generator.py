"""A process that sends requests when they are due, whatever became of those before.

Run as ``python -m benchmarks.balance.generator``. Latency counts from when a request should have
been sent, so a generator that falls behind, or a proxy that holds it up, hides nothing.
"""

import asyncio
import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
import click

from benchmarks.balance.outcome import Request, encode
from benchmarks.balance.replicas import PATH, SERVED_BY
from benchmarks.balance.schedule import Arrival, arrivals

PATIENCE: Final = aiohttp.ClientTimeout(total=60)
"""For one answer; no run that is not cut comes near it."""


class Generator:
    """Sends a schedule, dealing requests to targets in turn."""

    def __init__(self, session: aiohttp.ClientSession, ports: Sequence[int], most: int) -> None:
        """Prepare a generator.

        Args:
            session: Sends.
            ports: Of the proxies, on loopback.
            most: Requests without an answer at which the run is cut.
        """
        self._session = session
        self._urls = [f"http://127.0.0.1:{port}{PATH}" for port in ports]
        self._most = most
        self._loop = asyncio.get_running_loop()
        self.requests: list[Request] = []
        self.cut_at: float | None = None

    async def run(self, schedule: Sequence[Arrival]) -> None:
        """Send everything and wait for the answers, or stop when too many are missing."""
        waiting: set[asyncio.Task[None]] = set()
        begun = self._loop.time()
        for number, arrival in enumerate(schedule):
            await asyncio.sleep(begun + arrival.at - self._loop.time())
            if len(waiting) >= self._most:
                self.cut_at = arrival.at
                break
            url = self._urls[number % len(self._urls)]
            task = asyncio.create_task(self._send(url, arrival, begun))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        left = list(waiting)
        if self.cut_at is not None:
            for task in left:
                task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _send(self, url: str, arrival: Arrival, begun: float) -> None:
        due = begun + arrival.at
        late = self._loop.time() - due
        replica: int | None = None
        try:
            body = str(arrival.tokens).encode()
            async with self._session.post(url, data=body) as response:
                await response.read()
                if response.status == 200:
                    replica = int(response.headers[SERVED_BY])
        except (aiohttp.ClientError, TimeoutError):
            pass
        finally:
            latency = None if replica is None else self._loop.time() - due
            self.requests.append(Request(arrival.at, late, latency, replica))


@click.command
@click.option("--ports", required=True, help="Of the proxies, separated by commas.")
@click.option("--seed", required=True, type=int)
@click.option("--rate", required=True, type=float, help="Requests per second.")
@click.option("--seconds", required=True, type=float)
@click.option("--most", required=True, type=int, help="Requests in flight that end the run.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(ports: str, seed: int, rate: float, seconds: float, most: int, out: Path) -> None:
    """Send load and write what came of it into a file."""
    schedule = list(arrivals(seed, rate, seconds))
    out.write_text(asyncio.run(_run([int(port) for port in ports.split(",")], schedule, most)))


async def _run(ports: list[int], schedule: list[Arrival], most: int) -> str:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(
        connector=connector, timeout=PATIENCE, trust_env=False
    ) as session:
        generator = Generator(session, ports, most)
        gc.freeze()
        clock, cpu = time.monotonic(), time.process_time()
        await generator.run(schedule)
        used = (time.process_time() - cpu) / (time.monotonic() - clock)
    requests = sorted(generator.requests, key=lambda request: request.at)
    return encode(requests, generator.cut_at, used)


if __name__ == "__main__":
    main()
