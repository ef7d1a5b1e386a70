"""Names of pools and replicas for the shell's completion; none where nobody can be asked."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import click

from controlplane.cli.admin import DEFAULT_URL
from controlplane.client import Client, ClientError

_PATIENCE: Final = 5.0
"""Seconds; somebody waits with a finger on the key."""

_MOST: Final = 200
"""Names; nobody reads more."""


def pool_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The names of pools that begin with what was typed."""

    async def names(client: Client) -> list[str]:
        return [pool.name for pool in await client.pools()]

    return _beginning(context, names, begun)


def replica_ids(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The ids of replicas of the pool that was named before."""
    # Behind an option that waits for its value click has not yet told the arguments apart.
    pool = context.params.get("pool") or next(iter(context.args), None)
    if not isinstance(pool, str):
        return []

    async def ids(client: Client) -> list[str]:
        return [replica.id for replica in (await client.pool(pool)).replicas]

    return _beginning(context, ids, begun)


def _beginning(
    context: click.Context, question: Callable[[Client], Awaitable[list[str]]], begun: str
) -> list[str]:
    async def asked() -> list[str]:
        given = {name: context.params.get(name) for name in ("token", "ca", "certificate", "key")}
        url = context.params.get("url") or DEFAULT_URL
        async with Client(url, timeout=_PATIENCE, **given) as client:
            return await question(client)

    try:
        names = asyncio.run(asked())
    except (ClientError, ValueError):
        return []  # A shell has no place for what went wrong.
    return [name for name in names if name.startswith(begun)][:_MOST]
