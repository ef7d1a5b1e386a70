"""`plimsoll replicas`: list, add, drain and remove replicas through the API."""

from collections.abc import Sequence
from typing import Any, Final

import click

from controlplane.cli.admin import Api, api_options, pool_names, replica_ids
from controlplane.cli.group import Listing
from controlplane.cli.tables import UNKNOWN, Column, print_table, rows_of
from controlplane.cli.terminal import (
    USAGE,
    confirm,
    fail,
    json_option,
    print_answer,
    print_json,
    yes_option,
)
from controlplane.cli.text import percent, shown, state
from controlplane.client import Client, Replica

_COLUMNS: Final = (
    Column("pool", is_name=True, cell=lambda replica: replica.pool),
    Column("id", is_name=True, cell=lambda replica: replica.id),
    Column("address", 2, cell=lambda replica: replica.address),
    Column("state", cell=state),
    Column("tier", 6, cell=lambda replica: replica.tier or UNKNOWN),
    Column("weight", 5, is_number=True, cell=lambda replica: shown(replica.weight)),
    Column("share", is_number=True, cell=lambda replica: percent(replica.share)),
    Column("classes", 8, cell=lambda replica: ", ".join(replica.classes) or UNKNOWN),
    Column("capacity", 3, is_number=True, cell=lambda replica: shown(replica.capacity, "/s")),
    Column("tokens", 7, is_number=True, cell=lambda replica: shown(replica.capacity_tokens, "/s")),
    Column(
        "rate", 1, is_number=True, cell=lambda replica: shown(replica.reading("rate_rps"), "/s")
    ),
    Column("p99", 4, is_number=True, cell=lambda replica: shown(replica.reading("p99_ms"), " ms")),
    Column("scraped", 9, is_number=True, cell=lambda replica: _scraped(replica.scrape.age_s)),
)

_pool = click.argument("pool", shell_complete=pool_names)
_id = click.argument("id_", metavar="ID", shell_complete=replica_ids)


@click.group(cls=Listing)
def command() -> None:
    """List, add, drain and remove replicas; without a command: list."""


@command.command("list")
@click.argument("pool", required=False, shell_complete=pool_names)
@click.option(
    "--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="Only replicas with this label."
)
@api_options
@json_option
def list_(pool: str | None, labels: tuple[str, ...], api: Api, as_json: bool) -> None:
    """List the replicas of POOL, or of all pools."""

    async def found(client: Client) -> list[Replica]:
        pools = [pool] if pool else [each.name async for each in client.each_pool()]
        return [each for name in pools async for each in client.each_replica(name, labels=labels)]

    replicas = api.ask(found)
    if as_json:
        print_json({"replicas": [replica.document() for replica in replicas]})
    elif not replicas:
        click.echo("no replicas")
    else:
        print_replicas(replicas)


def print_replicas(replicas: Sequence[Replica]) -> None:
    print_table(_COLUMNS, rows_of(_COLUMNS, replicas))


@command.command
@_pool
@click.argument("id_", metavar="ID")
@click.argument("address")
@click.option(
    "--ingress", metavar="IP:PORT", help="Address at which an Envoy beside it takes its requests."
)
@click.option("--slots", type=int, help="Requests that the replica computes at the same time.")
@click.option("--region", help="Region of the replica.")
@click.option("--zone", help="Zone of the replica.")
@click.option("--gpu", metavar="UUID", help="GPU of the replica.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Repeat for more.")
@click.option(
    "--ttl", metavar="DURATION", help="Lease: removed after this time without a heartbeat."
)
@api_options
@json_option
def add(
    pool: str,
    id_: str,
    region: str | None,
    zone: str | None,
    gpu: str | None,
    labels: tuple[str, ...],
    api: Api,
    as_json: bool,
    **given: Any,
) -> None:
    """Add replica ID at IP:PORT to POOL, or replace it."""
    given |= {
        "locality": {"region": region, "zone": zone} if region or zone else None,
        "gpu": {"uuid": gpu} if gpu else None,
        "labels": dict(_label(text) for text in labels) or None,
    }
    body = {key: value for key, value in given.items() if value is not None}
    replica = api.ask(lambda client: client.put_replica(pool, id_, body))
    sentence = f"{pool}/{id_}: at {replica.address}, {replica.state}"
    print_answer(as_json, replica.document(), sentence)


@command.command
@_pool
@_id
@yes_option
@api_options
@json_option
def drain(pool: str, id_: str, yes: bool, api: Api, as_json: bool) -> None:
    """Stop new requests to replica ID; `undrain` takes that back."""
    confirm(f"drain {pool}/{id_}", yes=yes, can_be_undone=True)
    replica = api.ask(lambda client: client.drain(pool, id_))
    print_answer(as_json, replica.document(), f"{pool}/{id_}: draining")


@command.command
@_pool
@_id
@api_options
@json_option
def undrain(pool: str, id_: str, api: Api, as_json: bool) -> None:
    """Send requests to replica ID again."""
    replica = api.ask(lambda client: client.undrain(pool, id_))
    print_answer(as_json, replica.document(), f"{pool}/{id_}: no longer draining")


@command.command
@_pool
@_id
@yes_option
@click.option(
    "--force", is_flag=True, help="Remove it even if more than half of the pool was just removed."
)
@api_options
@json_option
def remove(pool: str, id_: str, yes: bool, force: bool, api: Api, as_json: bool) -> None:
    """Remove replica ID; requests in flight finish."""
    confirm(f"remove {pool}/{id_}", yes=yes)
    api.ask(lambda client: client.delete_replica(pool, id_, force=force))
    print_answer(as_json, {"pool": pool, "id": id_, "removed": True}, f"{pool}/{id_}: removed")


def _scraped(age: float | None) -> str:
    return "never" if age is None else f"{shown(age, ' s')} ago"


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        fail(f'--label: {text!r} is not KEY=VALUE, as in "rack=7"', USAGE)
    return key, value
