"""``plimsoll events``: follow what changes, until it is ended."""

import asyncio
from contextlib import aclosing
from datetime import datetime

import click

from controlplane.cli.admin import Api, api_options
from controlplane.cli.event_lines import json_line, line
from controlplane.cli.printable import printable
from controlplane.client import ClientError


@click.command
@click.option("--since", metavar="ID", help="Go on after this event; --json shows the ids.")
@api_options
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
def command(since: str | None, api: Api, as_json: bool) -> None:
    """Follow what changes: pools, replicas, their readiness and tiers. Ctrl-C ends it.

    First comes the state of all pools. When the connection is cut it goes on where it was.
    """
    try:
        asyncio.run(_follow(api, since, as_json))
    except ClientError as error:
        api.fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


async def _follow(api: Api, since: str | None, as_json: bool) -> None:
    is_cut = False

    def on_cut(error: ClientError) -> None:
        nonlocal is_cut
        if not is_cut:
            click.echo(f"plimsoll: {printable(str(error))}; trying again", err=True)
        is_cut = True

    async with api.client() as client, aclosing(client.events(after=since, on_cut=on_cut)) as told:
        async for event in told:
            is_cut = False
            clock = datetime.now().astimezone()
            # A pipe is to have each at once.
            click.echo(json_line(event) if as_json else f"{clock:%H:%M:%S}  {line(event)}")
