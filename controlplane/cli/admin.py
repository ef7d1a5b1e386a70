"""How commands reach the control plane: options, a client, and names for the shell's completion."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, NoReturn, TypeVar

import click

from controlplane.cli.terminal import USAGE, fail, printable
from controlplane.client import Client, ClientError, NotListeningError, UnauthorizedError

DEFAULT_URL: Final = "http://127.0.0.1:8080"

_FILES: Final = ("ca", "certificate", "key")

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's answer.")


@dataclass(frozen=True, slots=True)
class Api:
    """Where the control plane is.

    Attributes:
        url: Of the API.
        token: Sent with every request; None: there is none.
        option: That the URL was given with.
        ca: File with the roots that are trusted; None: those of this machine.
        certificate: File with the client's certificate; None: it shows none.
        key: File with the certificate's key; None: it is in the same file.
    """

    url: str
    token: str | None
    option: str = "--url"
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def client(self) -> Client:
        """A client; ends the process with a sentence when it cannot be had."""
        try:
            Client(self.url)
        except ValueError as error:
            fail(f"{self.option}: {error}", USAGE)
        try:
            Client(self.url, token=self.token)
        except ValueError as error:
            fail(f"--token: {error}", USAGE)
        files = {name: getattr(self, name) for name in _FILES}
        try:
            return Client(self.url, token=self.token, **files)
        except ValueError as error:
            fail(str(error), USAGE)

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Ask the control plane; ends the process with a sentence if that fails.

        Args:
            question: What is done with the client.
        """
        client = self.client()

        async def asked() -> T:
            async with client:
                return await question(client)

        try:
            return asyncio.run(asked())
        except ClientError as error:
            self.fail(error)

    def fail(self, error: ClientError) -> NoReturn:
        """End the process with what an error says, and with what would help."""
        match error:
            case NotListeningError():
                hint = f": start it with `plimsoll serve --config FILE`, or set {self.option}"
            case UnauthorizedError():
                hint = "; set PLIMSOLL_TOKEN"
            case _:
                hint = ""
        fail(printable(str(error)) + hint)


def files_of_environment() -> dict[str, str | None]:
    """The files of certificates that the environment names, as a `Client` takes them."""
    return {name: os.environ.get(f"PLIMSOLL_{name.upper()}") or None for name in _FILES}


def api_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--url``, ``--token`` and files of certificates to a command: an `Api` as ``api``."""

    @click.option(
        "--url",
        envvar="PLIMSOLL_URL",
        default=DEFAULT_URL,
        show_default=True,
        help="URL of the API; also PLIMSOLL_URL.",
    )
    @click.option(
        "--token",
        envvar="PLIMSOLL_TOKEN",
        help="Token for the API. Better in PLIMSOLL_TOKEN: others see command lines.",
    )
    @click.option(
        "--ca",
        envvar="PLIMSOLL_CA",
        metavar="FILE",
        help="Roots to trust over https; also PLIMSOLL_CA. Default: those of this machine.",
    )
    @click.option(
        "--certificate",
        envvar="PLIMSOLL_CERTIFICATE",
        metavar="FILE",
        help="Certificate to show instead of a token; also PLIMSOLL_CERTIFICATE.",
    )
    @click.option(
        "--key",
        envvar="PLIMSOLL_KEY",
        metavar="FILE",
        help="Key of the certificate, where it has a file of its own; also PLIMSOLL_KEY.",
    )
    @wraps(command)
    def with_api(
        *arguments: Any,
        url: str,
        token: str | None,
        ca: str | None,
        certificate: str | None,
        key: str | None,
        **options: Any,
    ) -> None:
        api = Api(url, token, ca=ca, certificate=certificate, key=key)
        command(*arguments, api=api, **options)

    return with_api


def print_json(document: Any) -> None:
    """Print plain data for a program."""
    click.echo(json.dumps(document, indent=2))


_COMPLETION_SECONDS: Final = 5.0
"""Seconds; somebody waits with a finger on the key."""

_MOST_NAMES: Final = 200
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
        async with Client(url, timeout=_COMPLETION_SECONDS, **given) as client:
            return await question(client)

    try:
        names = asyncio.run(asked())
    except (ClientError, ValueError):
        return []  # A shell has no place for what went wrong.
    return [name for name in names if name.startswith(begun)][:_MOST_NAMES]
