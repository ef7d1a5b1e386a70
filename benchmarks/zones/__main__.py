"""The command line: every contender in every scenario, round by round."""

import asyncio
import csv
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, fields
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

import click

from benchmarks import machine
from benchmarks.balance.cell import body
from benchmarks.balance.wire import SERVED_BY
from benchmarks.figures import Progress, number
from benchmarks.simulation.zones import SCENARIOS
from benchmarks.worlds.traffic import arrivals
from benchmarks.zones.contenders import CONTENDERS, POOL
from controlplane.config import Address
from controlplane.tools.load.generator import Generator
from controlplane.tools.load.record import Answer
from controlplane.tools.load.schedule import Departure, Step
from tests.processes import process

RESULTS: Final = Path(__file__).parent / "results"
SHOWN: Final = ("one zone overloaded", "one zone lost", "few replicas, many Envoys")
RATE: Final = 120.0
"""Requests a second at most: what two cores carry beside everything else."""
SETTLE: Final = 15.0
"""Seconds of each run that do not count."""


@dataclass(frozen=True, slots=True)
class Run:
    """One contender once.

    Attributes:
        scenario: Its name.
        contender: Its name.
        round: In which every contender has a run.
        p50, p99: Milliseconds.
        crossed: Part of the answered requests that went to another zone.
        requests: That were answered.
        failed: That were not.
        load_average: Of the machine, after it.
    """

    scenario: str
    contender: str
    round: int
    p50: float
    p99: float
    crossed: float
    requests: int
    failed: int
    load_average: float


@click.command
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)))
@click.option("--contender", "only", multiple=True, type=click.Choice(list(CONTENDERS)))
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True)
@click.option("--seconds", type=click.FloatRange(5), default=25.0, show_default=True)
def main(names: Sequence[str], only: Sequence[str], rounds: int, seconds: float) -> None:
    """Compare what real Envoys do with zones; four minutes for each scenario and round."""
    head = " · ".join(f"{name} {value}" for name, value in machine.describe().items())
    click.echo(head)
    runs = asyncio.run(_main(names or SHOWN, only or [*CONTENDERS], rounds, seconds))
    text = f"{head}\n\n{table(runs)}\n"
    click.echo(f"\n{table(runs)}")
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / str(machine.describe()["when"])[:16].replace(":", "")
    kept.with_suffix(".md").write_text(text)
    with kept.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Run)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(run) for run in runs)
    click.echo(f"written: {kept}.md and .csv")


async def _main(
    names: Sequence[str], contenders: Sequence[str], rounds: int, seconds: float
) -> list[Run]:
    runs, progress = list[Run](), Progress()
    for name in names:
        for round_ in range(1, rounds + 1):
            order = [*contenders]
            Random(round_).shuffle(order)
            for contender in order:
                progress(f"{name}, round {round_} of {rounds}: {contender}")
                with tempfile.TemporaryDirectory(prefix="bench-zones-") as folder:
                    runs.append(await _run(name, contender, round_, seconds, Path(folder)))
    return runs


async def _run(name: str, contender: str, round_: int, seconds: float, folder: Path) -> Run:
    zoned = SCENARIOS[name]
    scenario = zoned.scenario(name)
    slowness = max(scenario.rate / RATE, 1.0)
    replicas, lost = list[Address](), AsyncExitStack()
    crossed = Counter[bool]()
    async with AsyncExitStack() as stack:
        for zone, speeds in enumerate(zoned.speeds):
            host, ports = f"127.0.0.{zone + 2}", machine.free_ports(len(speeds))
            replicas += [Address(host, port) for port in ports]
            options = {
                "scenario": name,
                "slowness": slowness,
                "zone": zone,
                "host": host,
                "ports": ",".join(map(str, ports)),
            }
            arguments = [f"--{key}={value}" for key, value in options.items()]
            running = process(
                *(sys.executable, "-m", "benchmarks.zones.replicas", *arguments),
                log=folder / f"zone-{zone}.log",
            )
            await (stack if zone else lost).enter_async_context(running)
        stack.push_async_exit(lost)
        envoys = await stack.enter_async_context(CONTENDERS[contender](folder, zoned, replicas))

        def count(answer: Answer) -> None:
            if step.counts(answer.departure.at) and answer.fault is None and answer.replica:
                here = zoned.zone_of_envoy[answer.departure.target]
                crossed[zoned.zone_of[int(answer.replica)] != here] += 1

        step = Step(0, scenario.rate / slowness, 0.0, SETTLE, SETTLE + seconds)
        generator = Generator(
            [f"http://127.0.0.1:{envoy.listeners[POOL]}/v1/embeddings" for envoy in envoys],
            [step],
            most=10_000,
            timeout=60.0,
            replica_header=SERVED_BY,
            answered=count,
        )
        coming = arrivals(scenario.traffic, round_, step.rate, step.end)
        departures = (
            Departure(arrival.at, step, envoy, body(arrival))
            for arrival, envoy in zip(coming, cycle(zoned.turns), strict=False)
        )
        load = asyncio.create_task(generator.run(departures, asyncio.get_running_loop().time()))
        try:
            if zoned.loses:
                await asyncio.sleep(SETTLE + seconds / 3)
                await lost.aclose()
            await load
        finally:
            load.cancel()
    whole = generator.record.steps[0].whole
    p50, p99 = (1000 * (whole.quantile(part) or 0.0) for part in (0.5, 0.99))
    part = crossed[True] / max(crossed.total(), 1)
    answered, average = whole.requests - whole.failed, round(os.getloadavg()[0], 1)
    return Run(name, contender, round_, p50, p99, part, answered, whole.failed, average)


def table(runs: Sequence[Run]) -> str:
    """Medians over rounds; ratios to the first contender, round by round."""
    contenders = [
        *dict.fromkeys(name for name in CONTENDERS for run in runs if run.contender == name)
    ]
    first = contenders[0]
    lines = [
        "| scenario | contender | p50 ms | p99 ms | p99 | crossed | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    for scenario in dict.fromkeys(run.scenario for run in runs):
        of = {(run.contender, run.round): run for run in runs if run.scenario == scenario}
        rounds = sorted({round_ for _, round_ in of})
        for contender in contenders:
            own = [of[contender, round_] for round_ in rounds]
            failed = sum(run.failed for run in own)
            sent = failed + sum(run.requests for run in own)
            ratio = median(of[contender, each].p99 / of[first, each].p99 for each in rounds)
            cells = [
                number(median(run.p50 for run in own)),
                number(median(run.p99 for run in own)),
                f"{ratio:.2f} ×",
                f"{median(run.crossed for run in own):.0%}",
                f"{failed} of {sent}",
            ]
            lines.append(f"| {scenario} | {contender} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
