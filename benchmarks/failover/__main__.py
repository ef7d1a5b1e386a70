"""The command line: all contenders in all scenarios, again and again, then the table and files."""

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from benchmarks import machine, proxies
from benchmarks.balance.contender import Contender
from benchmarks.failover import plot, report
from benchmarks.failover.contenders import BY_NAME
from benchmarks.failover.measures import Cost
from benchmarks.failover.report import Entry
from benchmarks.failover.run import run
from benchmarks.failover.scenarios import SCENARIOS, Scenario
from benchmarks.machine import until_quiet
from benchmarks.proxies import NotInstalledError

RESULTS: Final = Path(__file__).parent / "results"
PROGRAMS: Final = {"haproxy": proxies.haproxy_path, "nginx": proxies.nginx_path}


@click.command
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)))
@click.option("--contender", "wanted", multiple=True, type=click.Choice(list(BY_NAME)))
@click.option("--repetitions", type=click.IntRange(1), help="Of everything. [default: 3, quick: 1]")
@click.option(
    "--lanes", type=click.IntRange(1, 16),
    help="Contenders in one scenario that run side by side. [default: 1, quick: 3]",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Once, side by side, in less than ten minutes.")
def main(
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    repetitions: int | None,
    lanes: int | None,
    *,
    quick: bool,
) -> None:
    """Compare what faults cost behind contenders."""
    contenders = _installed(wanted or tuple(BY_NAME))
    asked = names or tuple(name for name, item in SCENARIOS.items() if item.quick or not quick)
    jobs = units(
        [SCENARIOS[each] for each in asked], contenders, repetitions or (1 if quick else 3)
    )
    try:
        asyncio.run(_main(list(jobs), lanes or (3 if quick else 1), quick=quick))
    except asyncio.CancelledError:
        click.echo("\nterminated; the journal has the runs that were over", err=True)
        sys.exit(128 + signal.SIGTERM)


def _installed(names: Sequence[str]) -> tuple[Contender, ...]:
    """Those that can be started; the others are named."""
    found = []
    for name in names:
        try:
            PROGRAMS.get(name, str)()
        except NotInstalledError as error:
            click.echo(f"left out: {error}", err=True)
        else:
            found.append(BY_NAME[name])
    return tuple(found)


Unit = tuple[Scenario, tuple[Contender, ...], int]
"""All contenders in one scenario, once, and which repetition that is."""


def units(
    scenarios: Sequence[Scenario], contenders: Sequence[Contender], repetitions: int
) -> Iterator[Unit]:
    """Everything, interleaved, so that a noisy minute does not hit one contender alone."""
    for repetition in range(1, repetitions + 1):
        for scenario in scenarios:
            there = [
                contender for contender in contenders if scenario.only in {None, contender.name}
            ]
            if not there:
                continue
            first = (repetition - 1) % len(there)
            yield scenario, (*there[first:], *there[:first]), repetition


async def _main(jobs: Sequence[Unit], lanes: int, *, quick: bool) -> None:
    this = asyncio.current_task()
    assert this is not None
    # As Ctrl-C does by itself: contexts close, so everything that was started ends.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    described = machine.describe()
    opening = {"machine": described, "lanes": lanes}
    opening["scenarios"] = {item.name: asdict(item) for item, _, _ in jobs}
    click.echo(" · ".join(f"{name} {value}" for name, value in described.items()))
    RESULTS.mkdir(exist_ok=True)
    # Results that are kept are named by when they began; a trial replaces the last one.
    path = RESULTS / ("quick" if quick else str(described["when"])[:16].replace(":", ""))
    journal = path.with_suffix(".jsonl")
    # What has no limit is null there: infinity is no JSON.
    text = json.dumps(json.loads(json.dumps(opening), parse_constant=lambda _: None))
    journal.write_text(text + "\n")
    entries: list[Entry] = []
    begun = time.monotonic()
    for number, (scenario, contenders, repetition) in enumerate(jobs):
        spent = time.monotonic() - begun
        click.echo(f"[{number + 1}/{len(jobs)}, {spent:.0f} s] {scenario.title}, {repetition}")
        for slot in slots_of(contenders, lanes):
            if not quick:
                await until_quiet(click.echo)
            costs = await _patiently(scenario, slot, repetition)
            for contender, cost in zip(slot, costs, strict=True):
                entry = Entry(scenario.name, contender.name, repetition, cost)
                entries.append(entry)
                with journal.open("a") as file:
                    file.write(json.dumps(asdict(entry)) + "\n")
                click.echo(f"  {contender.title}: {report.line(cost)}")
    _write(path, described, entries)


def slots_of(contenders: Sequence[Contender], lanes: int) -> list[Sequence[Contender]]:
    """Contenders that run side by side: at most so many."""
    return [contenders[begin : begin + lanes] for begin in range(0, len(contenders), lanes)]


async def _patiently(
    scenario: Scenario, contenders: Sequence[Contender], repetition: int
) -> list[Cost]:
    """Run a slot, once more if it fails: a busy machine can keep a proxy from starting in time."""
    try:
        return await side_by_side(scenario, contenders, repetition)
    except ExceptionGroup as failures:
        click.echo(f"  failed, and is tried once more: {failures.exceptions[0]}", err=True)
    return await side_by_side(scenario, contenders, repetition)


async def side_by_side(
    scenario: Scenario, contenders: Sequence[Contender], repetition: int
) -> list[Cost]:
    """Run contenders at the same time: their loads begin together, once all are ready."""
    ready = asyncio.Barrier(len(contenders))
    # Stays where it is when something fails: what it has of logs says why.
    base = Path(tempfile.mkdtemp(prefix="bench-failover-"))
    async with asyncio.TaskGroup() as group:
        tasks = []
        for contender in contenders:
            folder = base / contender.name
            folder.mkdir()
            playing = run(contender, scenario, repetition, folder, ready.wait)
            tasks.append(group.create_task(playing))
    shutil.rmtree(base)
    return [task.result() for task in tasks]


def _write(path: Path, described: dict[str, object], entries: Sequence[Entry]) -> None:
    names = dict.fromkeys(entry.contender for entry in entries)
    parts = (
        f"# Failover, {described['when']}",
        " · ".join(f"{name} {value}" for name, value in described.items()),
        "\n".join(f"- {BY_NAME[name].title}: {BY_NAME[name].settings}" for name in names),
        report.table(entries),
    )
    said = "\n\n".join(parts) + "\n"
    click.echo("\n" + said)
    path.with_suffix(".md").write_text(said)
    path.with_suffix(".csv").write_text(report.sheet(entries))
    plot.draw(entries, path.with_suffix(".png"))
    click.echo(f"written: {path}.jsonl, .md, .csv and .png")


if __name__ == "__main__":
    main()
