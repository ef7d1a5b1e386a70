"""``plimsoll scaling``: how many replicas each pool should have, and why."""

from collections.abc import Iterator, Sequence

import click

from controlplane.cli.admin import Api, api_options, json_option, print_json
from controlplane.cli.completion import pool_names
from controlplane.cli.printable import printable
from controlplane.client import Client, Scaling


@click.command
@click.argument("pool", required=False, shell_complete=pool_names)
@api_options
@json_option
def command(pool: str | None, api: Api, as_json: bool) -> None:
    """Say how many replicas POOL should have, or each pool, and why."""
    found = api.ask(lambda client: _found(client, pool))
    if as_json:
        print_json({"pools": [each.document() for each in found]})
        return
    for line in _lines(found):
        click.echo(line)
    if not found:
        click.echo("no pools")


async def _found(client: Client, pool: str | None) -> list[Scaling]:
    names = [pool] if pool is not None else [each.name for each in await client.pools()]
    return [await client.scaling(name) for name in names]


def _lines(found: Sequence[Scaling]) -> Iterator[str]:
    for each in found:
        first, *rest = each.reasons
        yield printable(f"{each.pool}: {first}")
        yield from (f"  {printable(sentence)}" for sentence in rest)
