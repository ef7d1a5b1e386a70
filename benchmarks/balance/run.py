"""One run: start replicas and a contender, send the load, end everything, summarize."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp

from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Contender, Running, loopback
from benchmarks.balance.measures import Run, Work, most_in_flight, summarize, work
from benchmarks.balance.replicas import State
from benchmarks.balance.wire import STATE
from benchmarks.generator import Generating, generating
from benchmarks.machine import free_ports, seconds_of_process
from benchmarks.worlds.scenarios import Timing
from benchmarks.worlds.traffic import arrivals
from controlplane.config import Address
from tests.processes import process, until


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


def _generator(
    ports: Sequence[int], cell: Cell, seed: int, folder: Path
) -> AbstractAsyncContextManager[Generating]:
    """Start a generator."""
    seconds = cell.scenario.timing.total
    schedule = list(arrivals(cell.scenario.traffic, seed, cell.rate, seconds))
    return generating(ports, schedule, seconds, most_in_flight(cell), folder)
