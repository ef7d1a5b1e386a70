"""The replicas of a run as processes, each with a relay before it where its network is cut."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from benchmarks.balance.contender import loopback
from benchmarks.balance.wire import STATE
from benchmarks.failover.scenarios import Scenario
from benchmarks.machine import free_ports
from controlplane.config import Address
from tests.processes import process, until


class Replica:
    """One of them."""

    def __init__(
        self,
        number: int,
        scenario: Scenario,
        folder: Path,
        stack: AsyncExitStack,
        session: aiohttp.ClientSession,
    ) -> None:
        """Start nothing yet."""
        self.number = number
        self._scenario, self._folder = scenario, folder
        self._stack, self._session = stack, session
        self._own, self._front = free_ports(2)
        self._is_relayed = number in scenario.stalled
        self._process: asyncio.subprocess.Process | None = None
        self._relay: asyncio.subprocess.Process | None = None
        self._starts = 0

    @property
    def address(self) -> Address:
        """Where proxies find it."""
        return loopback(self._front if self._is_relayed else self._own)

    @property
    def is_alive(self) -> bool:
        """Whether its process has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, and its relay if it has one; returns when it answers."""
        cell = self._scenario.cell
        token_seconds = self._scenario.service / self._scenario.tokens * cell.slowness
        self._process = await self._begin(
            f"replica-{self.number}",
            "benchmarks.failover.replica",
            *("--port", str(self._own)),
            *("--number", str(self.number)),
            *("--slots", str(self._scenario.slots)),
            *("--token-seconds", repr(token_seconds)),
        )
        if self._is_relayed and self._relay is None:
            self._relay = await self._begin(
                f"relay-{self.number}",
                "benchmarks.failover.relay", str(self._front), str(self._own),
            )  # fmt: skip
        await until(f"replica {self.number} answers; see {self._folder}", self._answers)

    async def _begin(self, name: str, module: str, *options: str) -> asyncio.subprocess.Process:
        self._starts += 1
        log = self._folder / f"{name}-{self._starts}.log"
        command = (sys.executable, "-m", module, *options)
        started = await self._stack.enter_async_context(process(*command, log=log))
        # One that is stopped would not end when it is asked to.
        self._stack.push_async_callback(partial(_killed, started))
        return started

    async def _answers(self) -> bool:
        try:
            async with self._session.get(f"http://{self.address}/health") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        await _killed(self._process)

    def hang(self) -> None:
        """SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def cut(self) -> None:
        """Nothing passes its relay."""
        assert self._relay is not None
        self._relay.send_signal(signal.SIGSTOP)

    def heal(self) -> None:
        """The relay goes on."""
        assert self._relay is not None
        self._relay.send_signal(signal.SIGCONT)

    async def restart(self) -> None:
        """SIGTERM, and again once it has ended."""
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()
        await self.start()

    async def behave(self, mode: str) -> None:
        """Answer so from now on, and count from 0."""
        async with self._session.post(f"http://{loopback(self._own)}/mode/{mode}") as response:
            await response.read()

    async def reached(self) -> int:
        """Requests that have reached it since it was told how to behave."""
        async with self._session.get(f"http://{loopback(self._own)}{STATE}") as response:
            found = await response.json(content_type=None)
        return int(found["reached"])


class Fleet:
    """All of them."""

    def __init__(self, replicas: list[Replica]) -> None:
        """Keep them."""
        self.replicas = replicas

    @property
    def addresses(self) -> list[Address]:
        """Where proxies find them."""
        return [replica.address for replica in self.replicas]

    def died(self, by_deed: Collection[int]) -> int:
        """How many have ended by themselves.

        Args:
            by_deed: Numbers of those that were killed.
        """
        return sum(
            not replica.is_alive for replica in self.replicas if replica.number not in by_deed
        )

    async def reached(self) -> int:
        """Requests that have reached them since they were told how to behave."""
        return sum(await asyncio.gather(*(replica.reached() for replica in self.replicas)))


@asynccontextmanager
async def fleet(scenario: Scenario, folder: Path) -> AsyncIterator[Fleet]:
    """Run a scenario's replicas; opens when all of them answer."""
    async with (
        # A replica that is restarted closes its connections.
        aiohttp.ClientSession(
            trust_env=False, connector=aiohttp.TCPConnector(force_close=True)
        ) as session,
        AsyncExitStack() as stack,
    ):
        replicas = [
            Replica(number, scenario, folder, stack, session) for number in range(scenario.replicas)
        ]
        await asyncio.gather(*(replica.start() for replica in replicas))
        yield Fleet(replicas)


async def _killed(started: asyncio.subprocess.Process) -> None:
    if started.returncode is None:
        os.kill(started.pid, signal.SIGKILL)
        await started.wait()
