"""The command line: all contenders in all scenarios, again and again, then the table and files."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from benchmarks.balance import haproxy, journal, nginx
from benchmarks.balance.contenders import BY_NAME
from benchmarks.balance.journal import JournalError
from benchmarks.balance.overhead import TooCostlyError
from benchmarks.balance.results import write
from benchmarks.balance.scenario import Scenario, Timing
from benchmarks.balance.session import Plan, Result, Session
from benchmarks.balance.table import SCENARIOS

PROGRAMS: Final = {"HAProxy": haproxy.path, "nginx": nginx.path}

RESULTS: Final = Path(__file__).parent / "results"

QUICK: Final = Timing(warm_up=6, measured=5)
QUICK_SCENARIOS: Final = ("mixed-80",)


@click.command
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)))
@click.option("--contender", "wanted", multiple=True, type=click.Choice(list(BY_NAME)))
@click.option(
    "--sidecars", multiple=True, type=click.IntRange(1, 64), default=(1, 12), show_default=True
)
@click.option("--repetitions", type=click.IntRange(1), help="Of everything. [default: 5]")
@click.option(
    "--lanes", type=click.IntRange(1, 16), default=1, show_default=True,
    help="Runs of one repetition of one scenario that go side by side.",
)  # fmt: skip
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True),
    help="Stop by then, with whole repetitions.",
)  # fmt: skip
@click.option(
    "--resume", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Go on with a journal (results/*.jsonl).",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="A few minutes, to try it out; figures mean little.")
def main(
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    sidecars: tuple[int, ...],
    repetitions: int | None,
    lanes: int,
    minutes: float | None,
    resume: Path | None,
    *,
    quick: bool,
) -> None:
    """Compare how contenders balance the same load over the same replicas."""
    contenders = tuple(BY_NAME[name] for name in wanted or BY_NAME)
    for each in contenders:
        # Better now than in the middle of an hour.
        if each.proxy in PROGRAMS:
            PROGRAMS[each.proxy]()
    chosen = names or (QUICK_SCENARIOS if quick else tuple(SCENARIOS))
    scenarios = [SCENARIOS[name].behind(count) for name in chosen for count in sorted({*sidecars})]
    if quick:
        scenarios = [replace(it, timing=QUICK) for it in scenarios]
    try:
        plan = Plan(
            scenarios=tuple(scenarios),
            also=_had(resume, scenarios),
            contenders=contenders,
            repetitions=repetitions or (1 if quick else 5),
            lanes=lanes,
            minutes=minutes,
            resume=resume,
            folder=RESULTS,
            # Results that are kept are named by when they began; a trial replaces the last one.
            name="quick" if quick else None,
        )
        write(asyncio.run(_main(plan)), plan.repetitions)
    except (JournalError, TooCostlyError) as error:
        raise click.ClickException(str(error)) from error
    except asyncio.CancelledError:
        click.echo("\nterminated; --resume goes on with the journal, if one was begun", err=True)
        sys.exit(128 + signal.SIGTERM)


def _had(resume: Path | None, scenarios: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """What a journal has runs of beside these: a report is written anew, and is to keep them."""
    entries = journal.read(resume)[1] if resume is not None else []
    cells = dict.fromkeys((entry.key.scenario, entry.key.sidecars) for entry in entries)
    had = [SCENARIOS[name].behind(count) for name, count in cells if name in SCENARIOS]
    return tuple(it for it in had if it not in scenarios)


async def _main(plan: Plan) -> Result:
    this = asyncio.current_task()
    assert this is not None
    # As Ctrl-C does by itself: contexts close, so everything that was started ends.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    return await Session(plan).run()


if __name__ == "__main__":
    main()
