"""One run: start replicas and a contender, send the load, end everything, summarize."""

import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.balance.contenders import Contender
from benchmarks.balance.machine import cpu_seconds
from benchmarks.balance.measures import Summary, most_in_flight, summarize
from benchmarks.balance.outcome import Outcome, decode
from benchmarks.balance.ports import free_ports
from benchmarks.balance.scenario import Scenario, Timing
from controlplane.settings import Address
from tests.processes import process, until


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over.

    Attributes:
        summary: What it came to.
        cpu: Seconds of CPU per second of load, by what took it.
        told: What the contender had learned at its end.
    """

    summary: Summary
    cpu: Mapping[str, float]
    told: Mapping[str, Any]


async def run(
    contender: Contender,
    scenario: Scenario,
    timing: Timing,
    seed: int,
    folder: Path,
    *,
    instant: bool = False,
) -> Run:
    """Run a contender once.

    Args:
        contender: Whom.
        scenario: With which replicas and load.
        timing: How long.
        seed: Of the load.
        folder: For config files and logs; must exist.
        instant: Replicas answer at once, so that what is left is the cost of measuring.
    """
    token_seconds = 0.0 if instant else scenario.token_seconds
    async with (
        _replicas(scenario, token_seconds, folder) as (pid, addresses),
        contender.start(folder, scenario, addresses) as running,
    ):
        pids = {"replicas": [pid], **running.pids}
        before, begun = cpu_seconds(pids), time.monotonic()
        outcome = await _generate(running.ports, scenario, timing, seed, folder)
        after, seconds = cpu_seconds(pids), time.monotonic() - begun
        told = await running.told()
    cpu = {name: (after[name] - before[name]) / seconds for name in pids}
    summary = summarize(outcome, scenario, timing)
    return Run(summary, {"generator": outcome.cpu, **cpu}, told)


@asynccontextmanager
async def _replicas(
    scenario: Scenario, token_seconds: float, folder: Path
) -> AsyncIterator[tuple[int, list[Address]]]:
    """Run the replicas' process; opens, with its pid, when all of them answer."""
    addresses = [Address("127.0.0.1", port) for port in free_ports(len(scenario.speeds))]
    arguments = (
        *("--ports", ",".join(str(address.port) for address in addresses)),
        *("--speeds", ",".join(f"{speed:g}" for speed in scenario.speeds)),
        *("--slots", str(scenario.slots)),
        *("--token-seconds", f"{token_seconds:g}"),
    )
    command = (sys.executable, "-m", "benchmarks.balance.replicas", *arguments)
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        process(*command, log=folder / "replicas.log") as started,
    ):

        async def answer() -> bool:
            try:
                async with session.get(f"http://{addresses[-1]}/health") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(f"the replicas answer; see {folder}", answer)
        yield started.pid, addresses


async def _generate(
    ports: Sequence[int], scenario: Scenario, timing: Timing, seed: int, folder: Path
) -> Outcome:
    """Run the generator to its end."""
    out = folder / "outcome.json"
    arguments = (
        *("--ports", ",".join(map(str, ports))),
        *("--seed", str(seed)),
        *("--rate", f"{scenario.rate:g}"),
        *("--seconds", f"{timing.total:g}"),
        *("--most", str(most_in_flight(scenario))),
        *("--out", str(out)),
    )
    command = (sys.executable, "-m", "benchmarks.balance.generator", *arguments)
    async with process(*command, log=folder / "generator.log") as started:
        if await started.wait() != 0:
            raise RuntimeError(f"the generator failed; see {folder / 'generator.log'}")
    return decode(out.read_text())
