"""The command line: repetitions one after the other, then the figures and files."""

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from benchmarks import machine
from benchmarks.figures import Progress
from benchmarks.registry import report
from benchmarks.registry.play import Plan, Stage
from benchmarks.registry.report import Round
from benchmarks.xds.orders import process

RESULTS: Final = Path(__file__).parent / "results"

USUAL: Final = Plan(10_000, 100, 100, 6, 13, 6, 1_000, 3)
QUICK: Final = Plan(2_000, 20, 100, 2, 13, 2, 200, 1)


@click.command
@click.option("--repetitions", type=click.IntRange(1, 20), help="Of everything; 3, quick 1.")
@click.option("--quick", is_flag=True, help="2,000 replicas, about a minute, to try it out.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="On which disk.")
def main(repetitions: int | None, folder: Path | None, *, quick: bool) -> None:
    """Measure what it costs to register, change, keep alive and restart ten thousand replicas."""
    plan = QUICK if quick else USUAL
    with tempfile.TemporaryDirectory(prefix="bench-registry-", dir=folder) as made:
        try:
            asyncio.run(_main(plan, repetitions or plan.repetitions, Path(made), quick=quick))
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
    rounds: list[Round] = []
    for number in range(1, repetitions + 1):
        where = folder / str(number)
        where.mkdir()
        async with process(sys.executable, "-m", "benchmarks.registry.replicas") as replicas:
            port = (await replicas.answer())["port"]

            def told(what: str, number: int = number) -> None:
                progress(f"repetition {number} of {repetitions}: {what}")

            stage = Stage(plan, port, where, told, random.Random(number))
            rounds.append(await _round(stage))
    text = report.table(rounds)
    click.echo(f"\n{text}\n")
    data = {
        "machine": {**described, "load_average_after": round(os.getloadavg()[0], 2)},
        "settings": {**asdict(plan), "repetitions": repetitions},
        "rounds": rounds,
    }
    # Results that are kept are named by when they began; a trial replaces the last one.
    kept = "quick" if quick else str(described["when"])[:16].replace(":", "")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{kept}.md").write_text(f"{head}\n\n{text}\n")
    (RESULTS / f"{kept}.csv").write_text(report.sheet(rounds))
    (RESULTS / f"{kept}.json").write_text(json.dumps(data, indent=1) + "\n")
    click.echo(f"written: {RESULTS / kept}.md, .csv and .json")


async def _round(stage: Stage) -> Round:
    """Everything once, one after the other."""
    found: Round = {"bare sqlite3": stage.bare(), "one by one": await stage.one_by_one()}
    found |= {"no replicas": await stage.empty()}
    for layout in stage.plan.layouts:
        found |= {str(layout): await stage.fleet(layout)}
    return found


if __name__ == "__main__":
    main()
