"""The command line: repetitions one after the other, then the figures and files."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from benchmarks import machine
from benchmarks.figures import Progress
from benchmarks.scrape import parse, report
from benchmarks.scrape.fleet import Fleet, fleet
from benchmarks.scrape.report import Round
from benchmarks.scrape.served import served
from benchmarks.xds.orders import process
from benchmarks.xds.requests import TYPE_URLS

RESULTS: Final = Path(__file__).parent / "results"

SETTLE: Final = 3.0
"""Seconds after streams were opened, or the scraper was started, before anything is measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run.

    Attributes:
        replicas: Simulated.
        pools: That they are in.
        streams: Of clients that are pushed to.
        repetitions: Of everything.
        warm_up: Seconds; after a minute the control plane remembers as much as it ever will.
        measured: Seconds without streams, and again with them.
        alone: Seconds of the scraper without a control plane.
    """

    replicas: int
    pools: int
    streams: int
    repetitions: int
    warm_up: float
    measured: float
    alone: float


USUAL: Final = Plan(1000, 10, 12, 3, 75, 60, 20)
QUICK: Final = Plan(1000, 10, 12, 1, 10, 12, 6)


@click.command
@click.option("--repetitions", type=click.IntRange(1, 20), help="Of everything; 3, quick 1.")
@click.option("--quick", is_flag=True, help="Under a minute, to try it out; memory still grows.")
def main(repetitions: int | None, *, quick: bool) -> None:
    """Measure what scraping and weighing a thousand replicas once a second costs."""
    plan = QUICK if quick else USUAL
    with tempfile.TemporaryDirectory(prefix="bench-scrape-") as folder:
        try:
            asyncio.run(_main(plan, repetitions or plan.repetitions, Path(folder), quick=quick))
        except asyncio.CancelledError:
            click.echo("\nterminated; nothing is written", err=True)
            sys.exit(128 + signal.SIGTERM)


async def _main(plan: Plan, repetitions: int, folder: Path, *, quick: bool) -> None:
    this = asyncio.current_task()
    assert this is not None
    # As Ctrl-C does by itself: contexts close, so everything that was started ends.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    described = machine.describe()
    head = " · ".join(f"{name} {value}" for name, value in described.items())
    click.echo(head)
    progress = Progress()
    rounds = []
    async with fleet(plan.pools, plan.replicas) as replicas:
        for number in range(1, repetitions + 1):
            where = folder / str(number)
            where.mkdir()
            told = _Told(progress, f"repetition {number} of {repetitions}")
            rounds.append(await _round(plan, replicas, where, told))
    text = report.table(rounds, plan.replicas, plan.streams)
    click.echo(f"\n{text}\n")
    data = {
        "machine": {**described, "load_average_after": round(os.getloadavg()[0], 2)},
        "settings": {**asdict(plan), "repetitions": repetitions},
        "rounds": [asdict(each) for each in rounds],
    }
    # Results that are kept are named by when they began; a trial replaces the last one.
    kept = "quick" if quick else str(described["when"])[:16].replace(":", "")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{kept}.md").write_text(f"{head}\n\n{text}\n")
    (RESULTS / f"{kept}.json").write_text(json.dumps(data, indent=1) + "\n")
    click.echo(f"written: {RESULTS / kept}.md and .json")


@dataclass(frozen=True, slots=True)
class _Told:
    progress: Progress
    where: str

    def __call__(self, what: str) -> None:
        self.progress(f"{self.where}: {what}")


async def _round(plan: Plan, replicas: Fleet, folder: Path, told: _Told) -> Round:
    """Everything once; nothing else runs while something is measured."""
    told("parsing")
    found = await parse.texts(replicas)
    theirs, ours = parse.by_prometheus_client(found), parse.by_us(found)
    told(f"plimsoll serve, warming up for {plan.warm_up:g} s")
    async with served(replicas, folder) as plane:
        await asyncio.sleep(plan.warm_up)
        told(f"no Envoy, {plan.measured:g} s")
        idle = await plane.watch(replicas, plan.measured)
        told(f"{plan.streams} streams, {plan.measured:g} s")
        async with process(sys.executable, "-m", "benchmarks.xds.client") as clients:
            await clients.answer()
            asked = {
                "address": plane.xds,
                "pools": plan.pools,
                "all_pools": True,
                "type_urls": list(TYPE_URLS),
                "streams_of_channel": 1,
            }
            await clients.ask("open", numbers=list(range(plan.streams)), **asked)
            await asyncio.sleep(SETTLE)
            pushing = await plane.watch(replicas, plan.measured)
            left = await clients.ask("close", address=plane.xds)
            assert not left["lost"], "the control plane ended a stream"
    told(f"the scraper alone, {plan.alone:g} s")
    async with process(
        sys.executable, "-m", "benchmarks.scrape.alone", folder / "plimsoll.yaml"
    ) as alone:
        await alone.answer()
        await asyncio.sleep(SETTLE)
        scraped = await alone.ask("measure", seconds=plan.alone)
    return Round(idle, pushing, scraped, theirs, ours)


if __name__ == "__main__":
    main()
