"""``plimsoll replicas``: list, add, drain and remove replicas through the API."""

import json
import sys
from typing import Any

import click

from controlplane.cli.admin import ask, path, url_option
from controlplane.cli.failure import USAGE, fail
from controlplane.cli.replica_table import print_table

json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's answer.")


@click.group
def command() -> None:
    """List, add, drain and remove replicas."""


@command.command("list")
@click.argument("pool", required=False)
@url_option
@json_option
def list_(pool: str | None, url: str, as_json: bool) -> None:
    """List the replicas of POOL, or of all pools."""
    pools = [pool] if pool else [known["name"] for known in ask(url, "GET", path("pools"))["pools"]]
    replicas = [
        replica
        for name in pools
        for replica in ask(url, "GET", path("pools", name, "replicas"))["replicas"]
    ]
    if as_json:
        click.echo(json.dumps({"replicas": replicas}, indent=2))
    elif not replicas:
        click.echo("no replicas")
    else:
        print_table(replicas)


@command.command
@click.argument("pool")
@click.argument("id_", metavar="ID")
@click.argument("address")
@click.option("--slots", type=int, help="Requests that it computes at the same time.")
@click.option("--region", help="That it runs in.")
@click.option("--zone", help="That it runs in.")
@click.option("--gpu", metavar="UUID", help="That it computes on.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Repeat for more.")
@click.option("--ttl", metavar="DURATION", help="Removed after so long without a heartbeat.")
@url_option
@json_option
def add(
    pool: str,
    id_: str,
    address: str,
    slots: int | None,
    region: str | None,
    zone: str | None,
    gpu: str | None,
    labels: tuple[str, ...],
    ttl: str | None,
    url: str,
    as_json: bool,
) -> None:
    """Add replica ID at ADDRESS (IP:PORT) to POOL, or change it."""
    given = {
        "address": address,
        "slots": slots,
        "locality": {"region": region, "zone": zone} if region or zone else None,
        "gpu": {"uuid": gpu} if gpu else None,
        "labels": dict(_label(text) for text in labels) or None,
        "ttl": ttl,
    }
    body = {key: value for key, value in given.items() if value is not None}
    replica = ask(url, "PUT", path("pools", pool, "replicas", id_), body)
    at = replica["address"]
    _say(replica, as_json, f"{pool}/{id_}: at {at}, {replica['state']}")


@command.command
@click.argument("pool")
@click.argument("id_", metavar="ID")
@url_option
@json_option
def drain(pool: str, id_: str, url: str, as_json: bool) -> None:
    """Send replica ID no new requests, but keep it."""
    replica = ask(url, "POST", path("pools", pool, "replicas", id_, "drain"))
    _say(replica, as_json, f"{pool}/{id_}: draining")


@command.command
@click.argument("pool")
@click.argument("id_", metavar="ID")
@url_option
@json_option
def undrain(pool: str, id_: str, url: str, as_json: bool) -> None:
    """Let the drained replica ID have requests again."""
    replica = ask(url, "POST", path("pools", pool, "replicas", id_, "undrain"))
    _say(replica, as_json, f"{pool}/{id_}: no longer draining")


@command.command
@click.argument("pool")
@click.argument("id_", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@url_option
def remove(pool: str, id_: str, yes: bool, url: str) -> None:
    """Remove replica ID: no new requests, those in flight finish."""
    if not yes:
        if not sys.stdin.isatty():
            fail(f"remove {pool}/{id_}? there is no terminal to ask on: add --yes", USAGE)
        click.confirm(f"Remove {pool}/{id_}?", abort=True)
    ask(url, "DELETE", path("pools", pool, "replicas", id_))
    click.echo(f"{pool}/{id_}: removed")


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        fail(f'--label: {text!r} is not KEY=VALUE, as in "rack=7"', USAGE)
    return key, value


def _say(replica: dict[str, Any], as_json: bool, sentence: str) -> None:
    click.echo(json.dumps(replica, indent=2) if as_json else sentence)
