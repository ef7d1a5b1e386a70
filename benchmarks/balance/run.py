"""One run: start replicas and a contender, send the load, end everything, summarize."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Contender, Running, loopback
from benchmarks.balance.generator import BEGIN, OUTCOME, READY
from benchmarks.balance.machine import seconds_of_process
from benchmarks.balance.measures import Run, Work, most_in_flight, summarize, work
from benchmarks.balance.outcome import Outcome, decode
from benchmarks.balance.ports import free_ports
from benchmarks.balance.replicas import State
from benchmarks.balance.wire import STATE
from benchmarks.worlds.scenarios import Timing
from controlplane.settings import Address
from tests.processes import process, until

LEAD: Final = 0.3
"""Seconds until the load begins, for the generator to see that it does."""


async def run(
    contender: Contender,
    cell: Cell,
    seed: int,
    folder: Path,
    agreed: Callable[[], Awaitable[object]],
) -> Run:
    """Run a contender once.

    Args:
        contender: Whom.
        cell: With which replicas and load.
        seed: Of the load.
        folder: For config files and logs; must exist.
        agreed: Is awaited when all is ready, before the load begins.
    """
    async with (
        _replicas(cell, folder) as (pid, addresses),
        contender.start(folder, cell, addresses) as running,
        _generator(running.ports, cell, seed, folder) as generator,
    ):
        await agreed()
        begin = generator.begin()
        watching = asyncio.create_task(_watched(running, addresses, cell.scenario.timing, begin))
        pids = {"replicas": [pid], **running.pids}
        before, begun = _used(pids), time.monotonic()
        try:
            outcome = await generator.outcome()
            after, seconds = _used(pids), time.monotonic() - begun
            changes, did = await watching if outcome.cut_at is None else (None, None)
        finally:
            watching.cancel()
        told = await running.told()
        # Whoever else then answered the request.
        out_of_memory = sum(state.out_of_memory for state in await _states(addresses))
    used = {
        name: [
            (end - start) / seconds for start, end in zip(before[name], after[name], strict=True)
        ]
        for name in pids
    }
    return Run(
        summarize(outcome, cell),
        {"generator": outcome.cpu, **{name: sum(shares) for name, shares in used.items()}},
        max(outcome.cpu, *(max(shares) for shares in used.values())),
        changes,
        did,
        out_of_memory,
        told,
    )


def _used(pids: Mapping[str, Sequence[int]]) -> dict[str, list[float]]:
    """Seconds of CPU of each process so far."""
    return {name: [seconds_of_process(pid) for pid in numbers] for name, numbers in pids.items()}


async def _watched(
    running: Running, replicas: Sequence[Address], timing: Timing, begin: float
) -> tuple[int, Work]:
    """How often a proxy was told of something in the time that counts, and what replicas did."""
    await asyncio.sleep(begin + timing.warm_up - time.monotonic())
    changes, before = await running.changes(), await _states(replicas)
    await asyncio.sleep(begin + timing.total - time.monotonic())
    after = await _states(replicas)
    return await running.changes() - changes, work(before, after, timing.measured)


async def _states(replicas: Sequence[Address]) -> list[State]:
    """What all replicas say of themselves."""
    async with aiohttp.ClientSession(trust_env=False) as session:

        async def state(address: Address) -> State:
            async with session.get(f"http://{address}{STATE}") as response:
                return State(**json.loads(await response.text()))

        return await asyncio.gather(*map(state, replicas))


@asynccontextmanager
async def _replicas(cell: Cell, folder: Path) -> AsyncIterator[tuple[int, list[Address]]]:
    """Run the replicas' process; opens, with its pid, when all of them answer."""
    addresses = [loopback(port) for port in free_ports(len(cell.scenario.speeds))]
    arguments = (
        *("--ports", ",".join(str(address.port) for address in addresses)),
        *("--scenario", cell.scenario.name),
        *("--slowness", f"{cell.slowness:g}"),
    )
    command = (sys.executable, "-m", "benchmarks.balance.replicas", *arguments)
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        process(*command, log=folder / "replicas.log") as started,
    ):

        async def answer() -> bool:
            try:
                async with session.get(f"http://{addresses[-1]}{STATE}") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(f"the replicas answer; see {folder}", answer)
        yield started.pid, addresses


@dataclass(frozen=True, slots=True)
class _Generator:
    """A generator that waits to be told when to begin."""

    started: asyncio.subprocess.Process
    folder: Path

    def begin(self) -> float:
        """Let it begin; returns when it will, on the monotonic clock."""
        at = time.monotonic() + LEAD
        unseen = self.folder / "begin.part"
        unseen.write_text(repr(at))
        unseen.rename(self.folder / BEGIN)
        return at

    async def outcome(self) -> Outcome:
        """What came of it, once it has ended."""
        if await self.started.wait() != 0:
            raise RuntimeError(f"the generator failed; see {self.folder / 'generator.log'}")
        return decode((self.folder / OUTCOME).read_text())


@asynccontextmanager
async def _generator(
    ports: Sequence[int], cell: Cell, seed: int, folder: Path
) -> AsyncIterator[_Generator]:
    """Start a generator; opens when it is ready to begin."""
    arguments = (
        *("--ports", ",".join(map(str, ports))),
        *("--scenario", cell.scenario.name),
        *("--seed", str(seed)),
        *("--rate", f"{cell.rate:g}"),
        *("--seconds", f"{cell.scenario.timing.total:g}"),
        *("--most", str(most_in_flight(cell))),
        *("--folder", folder),
    )
    command = (sys.executable, "-m", "benchmarks.balance.generator", *arguments)

    async def is_ready() -> bool:
        return started.returncode is not None or (folder / READY).exists()

    async with process(*command, log=folder / "generator.log") as started:
        await until(f"the generator is ready; see {folder}", is_ready)
        yield _Generator(started, folder)
