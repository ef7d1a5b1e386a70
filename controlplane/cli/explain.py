"""``plimsoll explain``: why each replica of a pool gets what it gets, now and in the last hour."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from controlplane.cli.admin import Api, api_options, json_option, print_json
from controlplane.cli.class_lines import class_lines
from controlplane.cli.completion import pool_names, replica_ids
from controlplane.cli.failure import USAGE, fail
from controlplane.cli.printable import printable
from controlplane.cli.readings import readings
from controlplane.cli.replica_table import headline
from controlplane.cli.timeline import timeline
from controlplane.client import Client, History, Pool, Replica
from controlplane.config import parse_duration

_EVERYTHING: Final = "1h"


@click.command
@click.argument("pool", shell_complete=pool_names)
@click.option("--replica", metavar="ID", help="Only this replica.", shell_complete=replica_ids)
@click.option("--history", is_flag=True, help="What changed in the last hour, and why.")
@click.option(
    "--since", metavar="DURATION", help=f"Length of the history.  [default: {_EVERYTHING}]"
)
@api_options
@json_option
def command(
    pool: str, replica: str | None, history: bool, since: str | None, api: Api, as_json: bool
) -> None:
    """Say why each replica of POOL gets what it gets."""
    if since is not None and not history:
        fail("--since: goes with --history", USAGE)
    document: dict[str, Any]
    lines: Iterator[str]
    if history:
        _check(since or _EVERYTHING)
        histories = api.ask(lambda client: _histories(client, pool, replica, since or _EVERYTHING))
        document = {"histories": [each.document() for each in histories]}
        lines = (line for each in histories for line in timeline(each))
    else:
        shown, replicas = api.ask(lambda client: _now(client, pool, replica))
        document = {
            "replicas": [each.document() for each in replicas],
            "parting": shown.document().get("parting"),
            "parting_reasons": list(shown.parting_reasons),
            "zones": shown.document().get("zones"),
            "zone_reasons": list(shown.zone_reasons),
        }
        lines = _explained(shown, replicas)
    if as_json:
        print_json(document)
        return
    for line in lines:
        click.echo(line)
    if not (document.get("replicas") or document.get("histories")):
        click.echo(f"{pool}: no replicas")


def _check(since: str) -> None:
    try:
        parse_duration(since)
    except ValueError as error:
        fail(f"--since: {error}", USAGE)


async def _now(client: Client, pool: str, replica: str | None) -> tuple[Pool, list[Replica]]:
    return await client.pool(pool), await _replicas(client, pool, replica)


async def _replicas(client: Client, pool: str, replica: str | None) -> list[Replica]:
    if replica is not None:
        return [await client.replica(pool, replica)]
    return [each async for each in client.each_replica(pool)]


async def _histories(client: Client, pool: str, replica: str | None, since: str) -> list[History]:
    ids = [replica] if replica else [each.id for each in await _replicas(client, pool, None)]
    return [await client.history(pool, id_, since=since) for id_ in ids]


def _explained(pool: Pool, replicas: Sequence[Replica]) -> Iterator[str]:
    if replicas and (policy := replicas[0].policy_in_force):
        told = "is" if replicas[0].shares_told_to_envoy else "is not"
        yield printable(
            f"{pool.name}: policy {policy}; Envoy {told} told what each replica can carry"
        )
    yield from (f"  {printable(sentence)}" for sentence in pool.parting_reasons)
    yield from (f"  {line}" for line in class_lines(pool))
    yield from (f"  {printable(sentence)}" for sentence in pool.zone_reasons)
    for replica in replicas:
        yield headline(replica)
        yield f"  {readings(replica)}"
        yield from (f"  {printable(sentence)}" for sentence in replica.why)
