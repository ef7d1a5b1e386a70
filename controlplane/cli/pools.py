"""``plimsoll pools``: list, show, add and remove pools through the API."""

from typing import Any, get_args

import click

from controlplane.cli.admin import Api, api_options, json_option, print_json
from controlplane.cli.asking import confirm, yes_option
from controlplane.cli.completion import pool_names
from controlplane.cli.listing import Listing
from controlplane.cli.pool_table import described, print_pools
from controlplane.client import Client, Pool
from controlplane.config import Policy, ProfileName

_name = click.argument("pool", shell_complete=pool_names)


@click.group(cls=Listing)
def command() -> None:
    """List, show, add and remove pools; without a command: list."""


@command.command("list")
@api_options
@json_option
def list_(api: Api, as_json: bool) -> None:
    """List the pools."""

    async def found(client: Client) -> list[Pool]:
        return [pool async for pool in client.each_pool()]

    pools = api.ask(found)
    if as_json:
        print_json({"pools": [pool.document() for pool in pools]})
    elif not pools:
        click.echo("no pools")
    else:
        print_pools(pools)


@command.command
@_name
@api_options
@json_option
def show(pool: str, api: Api, as_json: bool) -> None:
    """Show the settings of POOL, the origin of each value, and the state of its replicas."""
    shown = api.ask(lambda client: client.pool(pool))
    if as_json:
        print_json(shown.document())
        return
    for line in described(shown):
        click.echo(line)


@command.command
@_name
@click.option(
    "--model", required=True, help="Model that the replicas serve, as applications name it."
)
@click.option(
    "--listener", required=True, metavar="IP:PORT", help="Address that sidecars open for the pool."
)
@click.option("--objective", metavar="DURATION", help="Wanted p99, as in 250ms.")
@click.option("--policy", type=click.Choice(get_args(Policy)), help="How the pool is balanced.")
@click.option(
    "--profile", type=click.Choice(get_args(ProfileName)), help="Metric profile of its servers."
)
@api_options
@json_option
def add(
    pool: str,
    model: str,
    listener: str,
    objective: str | None,
    policy: str | None,
    profile: str | None,
    api: Api,
    as_json: bool,
) -> None:
    """Add POOL or replace its settings; its replicas stay."""
    given: dict[str, Any] = {"model": model, "listener": {"address": listener}}
    given |= {"objective": {"p99": objective}} if objective else {}
    given |= {"balancing": {"policy": policy}} if policy else {}
    given |= {"metrics": {"profile": profile}} if profile else {}
    put = api.ask(lambda client: client.put_pool(pool, given))
    if as_json:
        print_json(put.document())
    else:
        click.echo(f"{pool}: model {put.model}, listener {put.listener.address}")


@command.command
@_name
@yes_option
@api_options
@json_option
def remove(pool: str, yes: bool, api: Api, as_json: bool) -> None:
    """Remove POOL with its replicas; Envoys drop it at once."""
    confirm(f"remove pool {pool} with its replicas", yes=yes)
    api.ask(lambda client: client.delete_pool(pool))
    if as_json:
        print_json({"pool": pool, "removed": True})
    else:
        click.echo(f"{pool}: removed")
