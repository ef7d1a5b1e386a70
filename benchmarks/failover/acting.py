"""Doing what a scenario says, at its time."""

import asyncio
import contextlib
import time
from typing import Final

import aiohttp

from benchmarks.balance.cell import body
from benchmarks.balance.contender import Running
from benchmarks.balance.wire import PATH, request
from benchmarks.failover.fleet import Fleet
from benchmarks.failover.scenarios import POISON, Act, Scenario
from benchmarks.worlds.traffic import BYTES_OF_REQUEST, BYTES_OF_TEXT, BYTES_PER_TOKEN, Arrival

UPLOADS: Final = 20
"""Clients that never come to an end: every other one within its headers."""
EVERY: Final = 0.5
"""Seconds between two bytes of theirs."""
_PROMISED: Final = 1_000_000
"""Bytes of a body that they say there will be."""


class Acting:
    """Who does it."""

    def __init__(self, scenario: Scenario, fleet: Fleet, running: Running) -> None:
        """Do nothing yet."""
        self._scenario, self._fleet, self._running = scenario, fleet, running
        self._uploads: list[asyncio.Task[None]] = []
        self._poison: asyncio.Task[None] | None = None

    @property
    def kept(self) -> int:
        """Uploads without an end that are still open."""
        return sum(not task.done() for task in self._uploads)

    async def play(self, fault: float) -> None:
        """Do everything.

        Args:
            fault: When the fault is, by the monotonic clock.
        """
        async with asyncio.TaskGroup() as group:
            for act in self._scenario.acts:
                await asyncio.sleep(fault + act.at - time.monotonic())
                # A restart takes a while, and the next thing has its own time.
                group.create_task(self._do(act))

    async def end(self) -> None:
        """Give up what goes on by itself."""
        tasks = [*self._uploads, *([self._poison] if self._poison else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _do(self, act: Act) -> None:
        to = [self._fleet.replicas[number] for number in act.to]
        plane = self._running.plane
        match act.do:
            case "kill":
                await asyncio.gather(*(item.kill() for item in to))
            case "hang":
                for this in to:
                    this.hang()
            case "cut":
                for this in to:
                    this.cut()
            case "heal":
                for this in to:
                    this.heal()
            case "restart":
                await asyncio.gather(*(each.restart() for each in to))
            case "poison":
                self._poison = asyncio.create_task(self._send_poison())
            case "trickle":
                self._uploads = [
                    asyncio.create_task(self._trickle(number)) for number in range(UPLOADS)
                ]
            case "kill plane":
                if plane is not None:
                    await plane.kill()
            case "start plane":
                if plane is not None:
                    await plane.start()
            case mode:
                await asyncio.gather(*(entry.behave(mode) for entry in to))

    async def _send_poison(self) -> None:
        size = BYTES_OF_REQUEST + BYTES_OF_TEXT + BYTES_PER_TOKEN * POISON
        data = body(Arrival(0, "", (POISON,), POISON, size))
        url = f"http://127.0.0.1:{self._running.ports[0]}{PATH}"
        async with aiohttp.ClientSession(trust_env=False) as session:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(url, data=data) as response:
                    await response.read()

    async def _trickle(self, number: int) -> None:
        """Send a byte now and then until the connection ends."""
        ports = self._running.ports
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[number % len(ports)])
        top = request("POST", PATH, "pool", b"").replace(
            b"content-length: 0", f"content-length: {_PROMISED}".encode()
        )
        writer.write(top if number % 2 else top[: -len(b"\r\n\r\n")])
        ended = asyncio.create_task(reader.read())
        try:
            while not ended.done():
                writer.write(b"x")
                await asyncio.wait([ended], timeout=EVERY)
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)
            writer.close()
