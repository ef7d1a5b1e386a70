"""``plimsoll load``: send open-loop load to your own fleet, and report what limits it."""

import asyncio
import json
from pathlib import Path
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from controlplane.cli.terminal import USAGE, fail
from controlplane.tools.load import plot
from controlplane.tools.load.diagnosis import ms
from controlplane.tools.load.options import Given, order
from controlplane.tools.load.outcome import Outcome
from controlplane.tools.load.report import print_outcome
from controlplane.tools.load.run import Moment, send
from controlplane.tools.load.workload import MOST, LoadError, Workload


@click.command
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--rate",
    default="10",
    show_default=True,
    metavar="R|LOW:HIGH",
    help="Requests per second, all targets together; from LOW to HIGH in --steps.",
)
@click.option("--steps", type=click.IntRange(2, 100), help="Rates from LOW to HIGH.  [default: 8]")
@click.option(
    "--duration", default="30s", show_default=True, help="Time for which each rate is measured."
)
@click.option(
    "--warmup",
    default="2s",
    show_default=True,
    help="Time for which each rate is sent before that.",
)
@click.option(
    "--tokens",
    metavar="N|lognormal:MEAN:SIGMA",
    help="Approximate length of a text of random words.  [default: lognormal:100:1]",
)
@click.option("--texts", type=click.Path(path_type=Path), help="A file of texts, one a line.")
@click.option("--model", help="Model that requests name. Default with --admin: the pool's.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["openai", "tei"]),
    help="Format of the body.  [default: tei where a target ends in /embed, else openai]",
)
@click.option(
    "--body-file",
    type=click.Path(path_type=Path),
    help='A JSON document instead, with "{{text}}" and "{{model}}" in it.',
)
@click.option("--timeout", default="30s", show_default=True, help="Timeout of a request.")
@click.option(
    "--concurrency-limit",
    type=click.IntRange(1, 100_000),
    default=MOST,
    show_default=True,
    help="Requests in flight at which further ones are held back.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of times and texts.")
@click.option("--objective", help="Wanted p99, as in 250ms. Default with --admin: the pool's.")
@click.option(
    "--admin", metavar="URL", help="API of the control plane, which is watched meanwhile."
)
@click.option("--pool", help="Pool that the targets lead to; not needed where there is one.")
@click.option(
    "--envoy-admin",
    multiple=True,
    metavar="URL",
    help="Admin interface of an Envoy; repeat for each Envoy on the way.",
)
@click.option("--replica-header", metavar="NAME", help="Header of answers that names the replica.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--png", type=click.Path(path_type=Path), help="Draw the result into this file.")
def command(as_json: bool, png: Path | None, **given: Any) -> None:
    """Send requests to each TARGET in turn: http://HOST:PORT/PATH, or 3@http://... for three turns.

    Requests leave at random times at the rate, whether or not earlier ones were answered.
    Latency counts from when a request was due.
    """
    if png is not None:
        _drawable(png)
    ordered = order(Given(**given))
    try:
        with Progress(ordered.workload) as progress:
            outcome = asyncio.run(send(ordered.workload, ordered.sources, progress.show))
    except LoadError as error:
        fail(str(error))
    if png is not None:
        _draw(outcome, ordered.objective, png)
    if as_json:
        click.echo(json.dumps(outcome.as_json(ordered.objective), indent=2, allow_nan=False))
    else:
        print_outcome(outcome, ordered.objective)
    if outcome.stopped is not None:
        raise SystemExit(outcome.stopped)


def _draw(outcome: Outcome, objective: float | None, png: Path) -> None:
    try:
        if not plot.draw(outcome, objective, png):
            click.echo("plimsoll: --png: nothing was answered, so nothing is drawn", err=True)
    except OSError as error:
        # The measurements are printed all the same.
        click.echo(f"plimsoll: --png: {png} cannot be written: {error.strerror}", err=True)


def _drawable(png: Path) -> None:
    """Check before the load whether a picture can be drawn after it."""
    if not plot.is_installed():
        fail("--png: matplotlib is not installed: pip install 'plimsoll[plot]'", USAGE)
    if png.is_dir() or not png.parent.is_dir():
        fail(f"--png: {png} cannot be written: give a file in an existing folder", USAGE)


class Progress:
    """A bar on standard error, where that is a terminal; it is gone once the context closes."""

    def __init__(self, workload: Workload) -> None:
        self._bar = Bar(
            BarColumn(bar_width=24),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._live = self._bar.console.is_terminal
        self._task = self._bar.add_task("", total=workload.seconds)

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()

    def show(self, now: Moment) -> None:
        """Show the progress."""
        if self._live:
            self._bar.update(self._task, completed=now.elapsed, description=line(now), refresh=True)


def line(now: Moment) -> str:
    """Return the text beside the bar."""
    p99 = "" if now.p99 is None else f", p99 {ms(now.p99)}"
    failed = f", {now.failed} failed" if now.failed else ""
    return f"{now.rate:.4g}/s, {now.sent} sent, {now.in_flight} in flight{p99}{failed}"
