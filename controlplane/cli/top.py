"""``plimsoll top``: the replicas of each pool, live on a terminal, once anywhere else."""

import asyncio
import sys
from typing import Final

import click

from controlplane.cli.admin import Api, api_options, print_json
from controlplane.cli.completion import pool_names
from controlplane.cli.failure import USAGE, fail
from controlplane.cli.tables import WHOLE, console, room
from controlplane.cli.top_screen import Screen
from controlplane.cli.top_sight import Looker
from controlplane.cli.top_table import tables
from controlplane.client import ClientError
from controlplane.config import parse_duration

_SHORTEST: Final = 0.1
"""Seconds between two looks."""


@click.command
@click.argument("pools", nargs=-1, metavar="[POOL]...", shell_complete=pool_names)
@click.option("--once", is_flag=True, help="Print one table and end.")
@click.option(
    "--interval", default="1s", show_default=True, metavar="DURATION", help="Between two looks."
)
@api_options
@click.option("--json", "as_json", is_flag=True, help="Print what is seen once, as JSON.")
def command(pools: tuple[str, ...], once: bool, interval: str, api: Api, as_json: bool) -> None:
    """Watch what each replica of each POOL gets and does, and why its share moved last.

    Ends with q or Ctrl-C. Where there is no terminal it prints one table.
    """
    every = _seconds(interval)
    if not (once or as_json) and sys.stdout.isatty():
        try:
            code = asyncio.run(_live(api, pools, every))
        except ClientError as error:
            api.fail(error)
        raise SystemExit(code)
    sight = api.ask(lambda client: Looker(client, pools).look())
    if as_json:
        print_json(
            {
                "pools": [
                    {
                        "name": seen.pool.name,
                        "parting": seen.pool.document().get("parting"),
                        "replicas": [row.document() for row in seen.rows],
                    }
                    for seen in sight
                ]
            }
        )
        return
    out = console()
    width = room(out)
    out.width = width or WHOLE
    out.print(tables(sight, width))


async def _live(api: Api, pools: tuple[str, ...], every: float) -> int:
    async with api.client() as client:
        return await Screen(Looker(client, pools), console(), every).run()


def _seconds(interval: str) -> float:
    try:
        seconds = parse_duration(interval)
    except ValueError as error:
        fail(f"--interval: {error}", USAGE)
    if seconds < _SHORTEST:
        fail("--interval: at least 100ms, to leave the control plane time for others", USAGE)
    return seconds
