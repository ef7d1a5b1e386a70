"""One run: start replicas and a contender, send the load, end everything, summarize."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import aiohttp
from pydantic import TypeAdapter

from benchmarks.balance.contender import Contender, Running, loopback
from benchmarks.balance.generator import BEGIN, OUTCOME, READY
from benchmarks.balance.machine import seconds_of_process
from benchmarks.balance.measures import Run, most_in_flight, summarize
from benchmarks.balance.outcome import Outcome, decode
from benchmarks.balance.ports import free_ports
from benchmarks.balance.scenario import Scenario, Timing
from benchmarks.balance.wire import OUT_OF_MEMORY
from controlplane.settings import Address
from tests.processes import process, until

LEAD: Final = 0.3
"""Seconds until the load begins, for the generator to see that it does."""


async def run(
    contender: Contender,
    scenario: Scenario,
    seed: int,
    folder: Path,
    agreed: Callable[[], Awaitable[object]],
    *,
    instant: bool = False,
) -> Run:
    """Run a contender once.

    Args:
        contender: Whom.
        scenario: With which replicas and load.
        seed: Of the load.
        folder: For config files and logs; must exist.
        agreed: Is awaited when all is ready, before the load begins.
        instant: Replicas answer at once, so that what is left is the cost of measuring.
    """
    played = replace(scenario, token_seconds=0.0) if instant else scenario
    async with (
        _replicas(played, folder) as (pid, addresses),
        contender.start(folder, scenario, addresses) as running,
        _generator(running.ports, scenario, seed, folder) as generator,
    ):
        await agreed()
        begin = generator.begin()
        counting = asyncio.create_task(_changes(running, scenario.timing, begin))
        pids = {"replicas": [pid], **running.pids}
        before, begun = _used(pids), time.monotonic()
        try:
            outcome = await generator.outcome()
            after, seconds = _used(pids), time.monotonic() - begun
            changes = await counting if outcome.cut_at is None else None
        finally:
            counting.cancel()
        told = await running.told()
        out_of_memory = await _out_of_memory(addresses)
    used = {
        name: [
            (end - start) / seconds for start, end in zip(before[name], after[name], strict=True)
        ]
        for name in pids
    }
    return Run(
        summarize(outcome, scenario),
        {"generator": outcome.cpu, **{name: sum(shares) for name, shares in used.items()}},
        max(outcome.cpu, *(max(shares) for shares in used.values())),
        changes,
        out_of_memory,
        told,
    )


def _used(pids: Mapping[str, Sequence[int]]) -> dict[str, list[float]]:
    """Seconds of CPU of each process so far."""
    return {name: [seconds_of_process(pid) for pid in numbers] for name, numbers in pids.items()}


async def _changes(running: Running, timing: Timing, begin: float) -> int:
    """How often a proxy was told of something in the time that counts."""
    await asyncio.sleep(begin + timing.warm_up - time.monotonic())
    before = await running.changes()
    await asyncio.sleep(begin + timing.total - time.monotonic())
    return await running.changes() - before


async def _out_of_memory(replicas: Sequence[Address]) -> int:
    """How often any of them ran out of memory, whoever else then answered the request."""
    async with aiohttp.ClientSession(trust_env=False) as session:
        total = 0
        for address in replicas:
            async with session.get(f"http://{address}{OUT_OF_MEMORY}") as response:
                total += int(await response.text())
        return total


@asynccontextmanager
async def _replicas(scenario: Scenario, folder: Path) -> AsyncIterator[tuple[int, list[Address]]]:
    """Run the replicas' process; opens, with its pid, when all of them answer."""
    addresses = [loopback(port) for port in free_ports(len(scenario.speeds))]
    file = folder / "scenario.json"
    file.write_bytes(TypeAdapter(Scenario).dump_json(scenario))
    arguments = (
        *("--ports", ",".join(str(address.port) for address in addresses)),
        *("--scenario", file),
    )
    command = (sys.executable, "-m", "benchmarks.balance.replicas", *arguments)
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        process(*command, log=folder / "replicas.log") as started,
    ):

        async def answer() -> bool:
            try:
                async with session.get(f"http://{addresses[-1]}{OUT_OF_MEMORY}") as response:
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
    ports: Sequence[int], scenario: Scenario, seed: int, folder: Path
) -> AsyncIterator[_Generator]:
    """Start a generator; opens when it is ready to begin."""
    arguments = (
        *("--ports", ",".join(map(str, ports))),
        *("--seed", str(seed)),
        *("--rate", f"{scenario.rate:g}"),
        *("--seconds", f"{scenario.timing.total:g}"),
        *("--most", str(most_in_flight(scenario))),
        *("--folder", folder),
    )
    command = (sys.executable, "-m", "benchmarks.balance.generator", *arguments)

    async def is_ready() -> bool:
        return started.returncode is not None or (folder / READY).exists()

    async with process(*command, log=folder / "generator.log") as started:
        await until(f"the generator is ready; see {folder}", is_ready)
        yield _Generator(started, folder)
