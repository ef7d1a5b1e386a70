"""``plimsoll replicas``: list, add, drain and remove replicas through the API."""

import click

from controlplane.cli.admin import (
    Api,
    api_options,
    json_option,
    pool_names,
    print_json,
    replica_ids,
)
from controlplane.cli.group import Listing
from controlplane.cli.terminal import USAGE, confirm, confirm_if_asked, fail, yes_option
from controlplane.cli.text import print_replicas
from controlplane.client import Client, Replica

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


@command.command
@_pool
@click.argument("id_", metavar="ID")
@click.argument("address")
@click.option("--ingress", metavar="IP:PORT", help="Where an Envoy beside it takes its requests.")
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
    address: str,
    ingress: str | None,
    slots: int | None,
    region: str | None,
    zone: str | None,
    gpu: str | None,
    labels: tuple[str, ...],
    ttl: str | None,
    api: Api,
    as_json: bool,
) -> None:
    """Add replica ID at ADDRESS (IP:PORT) to POOL, or replace its settings."""
    given = {
        "address": address,
        "ingress": ingress,
        "slots": slots,
        "locality": {"region": region, "zone": zone} if region or zone else None,
        "gpu": {"uuid": gpu} if gpu else None,
        "labels": dict(_label(text) for text in labels) or None,
        "ttl": ttl,
    }
    body = {key: value for key, value in given.items() if value is not None}
    replica = api.ask(lambda client: client.put_replica(pool, id_, body))
    _say(replica, as_json, f"{pool}/{id_}: at {replica.address}, {replica.state}")


@command.command
@_pool
@_id
@yes_option
@api_options
@json_option
def drain(pool: str, id_: str, yes: bool, api: Api, as_json: bool) -> None:
    """Stop new requests to replica ID; `undrain` takes that back."""
    confirm_if_asked(f"drain {pool}/{id_}", yes=yes)
    replica = api.ask(lambda client: client.drain(pool, id_))
    _say(replica, as_json, f"{pool}/{id_}: draining")


@command.command
@_pool
@_id
@api_options
@json_option
def undrain(pool: str, id_: str, api: Api, as_json: bool) -> None:
    """Send requests to replica ID again."""
    replica = api.ask(lambda client: client.undrain(pool, id_))
    _say(replica, as_json, f"{pool}/{id_}: no longer draining")


@command.command
@_pool
@_id
@yes_option
@click.option(
    "--force", is_flag=True, help="Also when more than half of the pool was just removed."
)
@api_options
@json_option
def remove(pool: str, id_: str, yes: bool, force: bool, api: Api, as_json: bool) -> None:
    """Remove replica ID; requests in flight finish."""
    confirm(f"remove {pool}/{id_}", yes=yes)
    api.ask(lambda client: client.delete_replica(pool, id_, force=force))
    if as_json:
        print_json({"pool": pool, "id": id_, "removed": True})
    else:
        click.echo(f"{pool}/{id_}: removed")


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        fail(f'--label: {text!r} is not KEY=VALUE, as in "rack=7"', USAGE)
    return key, value


def _say(replica: Replica, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(replica.document())
    else:
        click.echo(sentence)
