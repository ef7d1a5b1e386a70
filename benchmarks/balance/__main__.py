"""The command line: all contenders in all scenarios, again and again, then the table and files."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from benchmarks import proxies
from benchmarks.balance import journal, smg, traefik
from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Contender
from benchmarks.balance.contenders import BY_NAME
from benchmarks.balance.journal import JournalError
from benchmarks.balance.overhead import TooCostlyError
from benchmarks.balance.results import write
from benchmarks.balance.session import Plan, Result, Session
from benchmarks.balance.table import OURS, QUICK, ROWS
from benchmarks.proxies import NotInstalledError
from benchmarks.worlds.scenarios import SCENARIOS, Scenario, Timing
from benchmarks.worlds.traffic import BYTES_PER_TOKEN

PROGRAMS: Final[Mapping[str, Callable[[], str]]] = {
    "HAProxy": proxies.haproxy_path,
    "nginx": proxies.nginx_path,
    "Traefik": traefik.path,
    "smg": smg.path,
}  # fmt: skip

RESULTS: Final = Path(__file__).parent / "results"

SHORTER: Final = Timing(warm_up=30, measured=20)
MANY: Final = 12
"""Sidecars of scenarios that no row asks for."""
PLAYABLE: Final = [
    name
    for name, each in SCENARIOS.items()
    if each.traffic.job is None
    and all(stream.bytes_per_token >= BYTES_PER_TOKEN for stream in each.traffic.streams)
]
"""Scenarios that are not only simulated: the generator has no workers that wait for answers, and
pads texts of four bytes a token."""
QUICK_CONTENDERS: Final = ("full-scan", "haproxy", OURS)


@click.command
@click.option("--scenario", "names", multiple=True, type=click.Choice(PLAYABLE))
@click.option("--contender", "wanted", multiple=True, type=click.Choice(list(BY_NAME)))
@click.option(
    "--sidecars", multiple=True, type=click.IntRange(1, 64), help="[default: those of the rows]"
)
@click.option("--repetitions", type=click.IntRange(1), help="Of everything. [default: 5]")
@click.option(
    "--lanes", type=click.IntRange(1, 16),
    help="Runs of one repetition of one scenario that go side by side. [default: 1, quick: 3]",
)  # fmt: skip
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True),
    help="Stop by then, with whole repetitions.",
)  # fmt: skip
@click.option(
    "--resume", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Go on with a journal (results/*.jsonl).",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="The rows that matter most, once, in ten minutes.")
def main(
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    sidecars: tuple[int, ...],
    repetitions: int | None,
    lanes: int | None,
    minutes: float | None,
    resume: Path | None,
    *,
    quick: bool,
) -> None:
    """Compare how contenders balance the same load over the same replicas."""
    contenders = _installed(wanted or (QUICK_CONTENDERS if quick else tuple(BY_NAME)))
    asked = cells(names, sidecars, quick=quick)
    try:
        plan = Plan(
            cells=asked,
            also=_had(resume, asked),
            contenders=contenders,
            repetitions=repetitions or (1 if quick else 5),
            lanes=lanes or (3 if quick else 1),
            minutes=minutes or (10.0 if quick else None),
            resume=resume,
            folder=RESULTS,
            # Results that are kept are named by when they began; a trial replaces the last one.
            name="quick" if quick else None,
            quick=quick,
        )
        write(asyncio.run(_main(plan)), plan.repetitions)
    except (JournalError, TooCostlyError) as error:
        raise click.ClickException(str(error)) from error
    except asyncio.CancelledError:
        click.echo("\nterminated; --resume goes on with the journal, if one was begun", err=True)
        sys.exit(128 + signal.SIGTERM)


def _installed(names: Sequence[str]) -> tuple[Contender, ...]:
    """Those that can be started; who is left out is said."""
    found = []
    # Better now than in the middle of an hour.
    for name in names:
        try:
            PROGRAMS.get(BY_NAME[name].proxy, str)()
        except NotInstalledError as error:
            click.echo(f"left out: {error}", err=True)
        else:
            found.append(BY_NAME[name])
    return tuple(found)


def cells(names: Sequence[str], sidecars: Sequence[int], *, quick: bool) -> tuple[Cell, ...]:
    """What is to be run: what rows need, unless somebody asks for something else."""
    rows = tuple(dict.fromkeys((row.scenario, row.sidecars) for row in ROWS))
    wanted = QUICK if quick and not names else rows
    if names:
        others = tuple((name, MANY) for name in names if name not in dict(rows))
        wanted = (*(item for item in rows if item[0] in names), *others)
    if sidecars:
        chosen = dict.fromkeys(name for name, _ in wanted)
        wanted = tuple((name, count) for name in chosen for count in sorted({*sidecars}))
    found = [Cell(SCENARIOS[name], count) for name, count in wanted]
    if quick:
        found = [replace(each, scenario=_shorter(each.scenario)) for each in found]
    return tuple(found)


def _shorter(scenario: Scenario) -> Scenario:
    """The same in less time, unless something happens in it at its time."""
    events = (scenario.changes, scenario.filling, scenario.dies, scenario.traffic.phases)
    if any(events) or scenario.joins is not None or scenario.timing.total <= SHORTER.total:
        return scenario
    return replace(scenario, timing=SHORTER)


def _had(resume: Path | None, asked: Sequence[Cell]) -> tuple[Cell, ...]:
    """What a journal has runs of beside these: a report is written anew, and is to keep them."""
    entries = journal.read(resume)[1] if resume is not None else []
    keys = dict.fromkeys((entry.key.scenario, entry.key.sidecars) for entry in entries)
    had = [Cell(SCENARIOS[name], count) for name, count in keys if name in SCENARIOS]
    names = {each.name for each in asked}
    return tuple(item for item in had if item.name not in names)


async def _main(plan: Plan) -> Result:
    this = asyncio.current_task()
    assert this is not None
    # As Ctrl-C does by itself: contexts close, so everything that was started ends.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    return await Session(plan).run()


if __name__ == "__main__":
    main()
