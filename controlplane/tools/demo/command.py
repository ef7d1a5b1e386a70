"""``plimsoll demo``: run everything on this machine and watch the weights move."""

import asyncio
import json

import click
from rich.console import Console

from controlplane.cli.terminal import USAGE, fail
from controlplane.tools.demo.layout import installed
from controlplane.tools.demo.processes import DemoError
from controlplane.tools.demo.run import demonstrate
from controlplane.tools.demo.screen import Screen
from controlplane.tools.demo.traffic import SHORTEST
from controlplane.tools.interrupt import Stopped


@click.command
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=86_400),
    default=60.0,
    show_default=True,
    help="Time for which requests are sent; 0: until Ctrl-C.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=1, max=1000),
    default=20.0,
    show_default=True,
    help="Requests per second, through both Envoys together.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and no table.")
def command(seconds: float, rate: float, as_json: bool) -> None:
    """Run a control plane, four replicas and two Envoys here, and slow one replica down."""
    if 0 < seconds < SHORTEST:
        fail(f"--seconds: weights need {SHORTEST:g} s to move; give that or more, or 0", USAGE)
    console = Console(stderr=as_json)
    try:
        found = installed()
        with Screen(console, live=console.is_terminal and not as_json) as screen:
            result = asyncio.run(demonstrate(found, seconds, rate, screen))
    except DemoError as error:
        fail(str(error))
    except Stopped as stopped:
        raise SystemExit(stopped.code) from None
    if as_json:
        click.echo(json.dumps(result.as_json()))
    else:
        for sentence in result.sentences():
            click.echo(sentence)
    if result.outcome.failed:
        raise SystemExit(1)
