"""`plimsoll events`: follow what changes, until Ctrl-C."""

import asyncio
import json
from contextlib import aclosing
from datetime import datetime

import click

from controlplane.api import schema
from controlplane.cli.admin import Api, api_options
from controlplane.cli.terminal import counted, printable
from controlplane.cli.text import health, percent, shown
from controlplane.client import ClientError, Event


@click.command
@click.option("--since", metavar="ID", help="Continue after this event; --json shows the ids.")
@api_options
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
def command(since: str | None, api: Api, as_json: bool) -> None:
    """Follow what changes: pools, replicas, their readiness and tiers. Ctrl-C ends it.

    The state of all pools comes first. After a lost connection the events continue where they were.
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

    async with api.client() as client, aclosing(client.events(after=since, on_cut=on_cut)) as found:
        async for event in found:
            is_cut = False
            clock = datetime.now().astimezone()
            data = {"id": event.id, "event": event.kind, "data": event.document}
            click.echo(json.dumps(data) if as_json else f"{clock:%H:%M:%S}  {line(event)}")


def line(event: Event) -> str:
    """What has happened, on one line."""
    return printable(_words(event))


def _words(event: Event) -> str:
    match event.what:
        case schema.PoolList(pools=pools):
            each = "; ".join(f"{pool.name}: {health(pool)}" for pool in pools)
            return f"state: {each or 'no pools'}"
        case schema.PoolEvent(pool=pool, change=change):
            return f"pool {pool} {change}"
        case schema.ReplicaEvent(pool=pool, id=id_, change=change) as replica:
            now = f": {_is(replica)}" if isinstance(replica, schema.ReplicaNow) else ""
            return f"replica {pool}/{id_} {change}{now}"
        case schema.PartingEvent(pool=pool, change=change, classes=classes):
            each = ", ".join(f"{name} on {counted(n, 'replica')}" for name, n in classes.items())
            return f"classes of pool {pool} {change}" + (f": {each}" if each else "")
        case schema.MissedEvent(detail=detail):
            return detail
        case _:
            return f"{event.kind}: {json.dumps(dict(event.document))}"


def _is(replica: schema.ReplicaNow) -> str:
    parts = [replica.state]
    if replica.draining:
        parts.append(f"draining ({replica.draining})")
    if replica.tier:
        parts.append(replica.tier)
    if replica.share is not None:
        parts.append(f"{percent(replica.share)} of the traffic")
    if replica.in_flight is not None:
        parts.append(f"{shown(replica.in_flight)} in flight")
    return ", ".join(parts)
