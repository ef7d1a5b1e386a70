"""`plimsoll pools` and `plimsoll scaling`: pools, and how many replicas each should have."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

import click

from controlplane.cli.admin import Api, api_options, pool_names
from controlplane.cli.group import Listing
from controlplane.cli.tables import UNKNOWN, Column, print_table, rows_of
from controlplane.cli.terminal import (
    confirm,
    json_option,
    print_answer,
    print_json,
    printable,
    yes_option,
)
from controlplane.cli.text import class_lines, health, notes
from controlplane.client import Client, Pool, Scaling
from controlplane.config import Policy, ProfileName

_COLUMNS: Final = (
    Column("pool", is_name=True, cell=lambda pool: pool.name),
    Column("model", 2, is_name=True, cell=lambda pool: pool.model),
    Column("listener", 1, cell=lambda pool: pool.listener.address),
    Column("policy", 3, cell=lambda pool: pool.balancing.policy),
    Column("p99 wanted", 4, cell=lambda pool: pool.objective.p99 if pool.objective else UNKNOWN),
    Column("replicas", is_number=True, cell=lambda pool: str(pool.counts.total)),
    Column("ready", is_number=True, cell=lambda pool: str(pool.counts.ready)),
    Column("notes", prose=0.2, cell=lambda pool: ", ".join(notes(pool)) or UNKNOWN),
)

_UNSET: Final[tuple[Any, ...]] = (None, "", {}, [])

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


def print_pools(pools: Sequence[Pool]) -> None:
    print_table(_COLUMNS, rows_of(_COLUMNS, pools))


@command.command
@_name
@api_options
@json_option
def show(pool: str, api: Api, as_json: bool) -> None:
    """Show the settings of POOL and the state of its replicas.

    Beside each value is its origin.
    """
    shown = api.ask(lambda client: client.pool(pool))
    print_answer(as_json, shown.document(), described(shown))


def described(pool: Pool) -> Iterator[str]:
    """Everything about one pool, line by line."""
    yield printable(f"{pool.name}: {health(pool)}, declared by {pool.source}")
    for key, value in pool.settings.items():
        yield printable(f"  {key}: {_short(value)}  ({pool.sources[key]})")
    if pool.policy_in_force not in (None, pool.balancing.policy):
        yield printable(f"  policy {pool.policy_in_force} is still in force")
    yield from (f"  {line}" for line in class_lines(pool))
    for source in pool.discovery.sources:
        found = "not answered yet" if source.replicas is None else f"{source.replicas} replicas"
        failing = f"; fails: {source.problem}" if source.failing else ""
        yield printable(f"  found by {source.name}: {found}{failing}")
    if pool.discovery.withheld:
        ids = ", ".join(pool.discovery.withheld)
        yield printable(f"  kept without a source, because too few would be left: {ids}")
    yield from (printable(f"  not used: {clash}") for clash in pool.discovery.clashes)


def _short(value: Any) -> str:
    """A setting on one line, without what is not set."""
    if isinstance(value, Mapping):
        parts = (f"{key} {_short(part)}" for key, part in value.items() if part not in _UNSET)
        return ", ".join(parts) or UNKNOWN
    if isinstance(value, list):
        return " ".join(_short(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()  # As in a config file.
    return UNKNOWN if value is None else str(value)


@command.command
@_name
@click.option(
    "--model", required=True, help="Model that the replicas serve, as applications name it."
)
@click.option(
    "--listener", required=True, metavar="IP:PORT", help="Address that sidecars open for the pool."
)
@click.option("--objective", metavar="DURATION", help="Wanted p99, as in 250ms.")
@click.option("--policy", type=click.Choice(get_args(Policy)), help="Balancing policy of the pool.")
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
    sentence = f"{pool}: model {put.model}, listener {put.listener.address}"
    print_answer(as_json, put.document(), sentence)


@command.command
@_name
@yes_option
@api_options
@json_option
def remove(pool: str, yes: bool, api: Api, as_json: bool) -> None:
    """Remove POOL with its replicas; Envoys drop it at once."""
    confirm(f"remove pool {pool} with its replicas", yes=yes)
    api.ask(lambda client: client.delete_pool(pool))
    print_answer(as_json, {"pool": pool, "removed": True}, f"{pool}: removed")


@click.command("scaling")
@click.argument("pool", required=False, shell_complete=pool_names)
@api_options
@json_option
def scaling(pool: str | None, api: Api, as_json: bool) -> None:
    """Say how many replicas POOL should have, or each pool, and why."""
    found = api.ask(lambda client: _recommendations(client, pool))
    document = {"pools": [each.document() for each in found]}
    print_answer(as_json, document, _scaled(found) if found else "no pools")


def _scaled(found: Sequence[Scaling]) -> Iterator[str]:
    for each in found:
        first, *rest = each.reasons
        yield printable(f"{each.pool}: {first}")
        yield from (printable(f"  {sentence}") for sentence in rest)


async def _recommendations(client: Client, pool: str | None) -> list[Scaling]:
    names = [pool] if pool is not None else [each.name for each in await client.pools()]
    return [await client.scaling(name) for name in names]
