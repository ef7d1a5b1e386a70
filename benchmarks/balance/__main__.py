"""The command line: all contenders in all scenarios, again and again, then the table and files."""

import asyncio
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from benchmarks.balance import machine, report
from benchmarks.balance.contenders import CONTENDERS
from benchmarks.balance.report import Row
from benchmarks.balance.run import Run, run
from benchmarks.balance.scenario import Scenario, Timing, scenarios

RESULTS: Final = Path(__file__).parent / "results"

USUAL: Final = Timing(warm_up=10, measured=16)
QUICK: Final = Timing(warm_up=6, measured=5)
COST: Final = Timing(warm_up=1, measured=4)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        scenarios: In each.
        repetitions: So often.
        timing: So long.
    """

    scenarios: tuple[Scenario, ...]
    repetitions: int
    timing: Timing

    @property
    def runs(self) -> int:
        """How many runs that is."""
        return len(self.scenarios) * self.repetitions * len(CONTENDERS)


@click.command
@click.option("--repetitions", type=click.IntRange(1), help="Of everything. [default: 3]")
@click.option(
    "--sidecars", type=click.IntRange(2, 64), default=12, show_default=True, help="Where many."
)
@click.option(
    "--quick", is_flag=True, help="About two minutes, to try it out; figures mean little."
)
def main(repetitions: int | None, sidecars: int, *, quick: bool) -> None:
    """Compare how contenders balance the same load over replicas of different speed."""
    timing = QUICK if quick else USUAL
    plan = Plan(scenarios(sidecars), repetitions or (1 if quick else 3), timing)
    with tempfile.TemporaryDirectory(prefix="bench-balance-") as folder:
        try:
            asyncio.run(_main(plan, Path(folder), quick=quick))
        except asyncio.CancelledError:
            click.echo("\nterminated; nothing is written", err=True)
            sys.exit(128 + signal.SIGTERM)


async def _main(plan: Plan, folder: Path, *, quick: bool) -> None:
    this = asyncio.current_task()
    assert this is not None
    # As Ctrl-C does by itself: contexts close, so everything that was started ends.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    described = machine.describe()
    click.echo(" · ".join(f"{name} {value}" for name, value in described.items()))
    costs = await _costs(plan, folder)
    rows = await _runs(plan, folder)
    for scenario in plan.scenarios:
        click.echo("\n" + report.table(scenario, rows))
    settings = {
        "timing": asdict(plan.timing),
        "repetitions": plan.repetitions,
        "scenarios": [asdict(scenario) for scenario in plan.scenarios],
    }
    # Results that are kept are named by when they began; a trial replaces the last one.
    name = "quick" if quick else str(described["when"])[:16].replace(":", "")
    RESULTS.mkdir(exist_ok=True)
    for suffix, text in (
        ("csv", report.as_csv(rows)),
        ("json", report.as_json(described, settings, costs, rows)),
    ):
        path = RESULTS / f"{name}.{suffix}"
        path.write_text(text)
        click.echo(f"\nwritten: {path}" if suffix == "csv" else f"written: {path}")


async def _costs(plan: Plan, folder: Path) -> dict[str, Run]:
    """What proxies, generator and this machine add to a latency, before anything queues."""
    costs = {}
    for scenario in plan.scenarios:
        where = folder / f"cost-{scenario.sidecars}"
        where.mkdir()
        done = await run(CONTENDERS[0], scenario, COST, 0, where, instant=True)
        click.echo(report.cost(scenario, done))
        costs[scenario.name] = done
    return costs


async def _runs(plan: Plan, folder: Path) -> list[Row]:
    """Everything, interleaved, so that a noisy minute does not hit one contender alone."""
    rows: list[Row] = []
    begun = time.monotonic()
    for repetition in range(1, plan.repetitions + 1):
        for scenario in plan.scenarios:
            for contender in CONTENDERS:
                number = len(rows) + 1
                elapsed = time.monotonic() - begun
                click.echo(
                    f"[{number:2}/{plan.runs}, {elapsed:3.0f} s] {scenario.name}, {contender.name},"
                    f" repetition {repetition}: ",
                    nl=False,
                )
                where = folder / str(number)
                where.mkdir()
                done = await run(contender, scenario, plan.timing, repetition, where)
                rows.append(Row(scenario.name, contender.name, repetition, done))
                click.echo(report.line(done))
    return rows


if __name__ == "__main__":
    main()
