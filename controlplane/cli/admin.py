"""How commands reach the API, with `plimsoll token` and `plimsoll openapi`."""

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, NoReturn, TypeVar

import click
from click.core import ParameterSource

from controlplane.cli.terminal import USAGE, fail, options, print_json, printable
from controlplane.client import (
    Client,
    ClientError,
    NotListeningError,
    UnauthorizedError,
    UntrustedError,
)
from controlplane.config import Role, SettingsError, Token, parse_tokens

DEFAULT_URL: Final = "http://127.0.0.1:8080"

_FILES: Final = ("ca", "certificate", "key")

_COMPLETION_SECONDS: Final = 5.0
"""The user waits with a finger on the key."""

_MOST_NAMES: Final = 200
"""Nobody reads more."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Api:
    """The control plane's API.

    Attributes:
        ca: File with the roots to trust; None: those of this machine.
        certificate: File with the client's certificate; None: none is shown.
        key: File with the certificate's key; None: the key is in the same file.
    """

    url: str
    token: str | None
    option: str = "--url"
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def client(self) -> Client:
        """Make a client; end the process with a sentence when an option is wrong."""
        files = {name: getattr(self, name) for name in _FILES}
        given: dict[str, Any] = {}
        # One after the other, so that the sentence names the option.
        for option, more in ((self.option, {}), ("--token", {"token": self.token}), ("", files)):
            given |= more
            try:
                client = Client(self.url, **given)
            except ValueError as error:
                fail(f"{option}: {error}" if option else str(error), USAGE)
        return client

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Use a client; end the process with a sentence if that fails."""
        client = self.client()

        async def asked() -> T:
            async with client:
                return await question(client)

        try:
            return asyncio.run(asked())
        except ClientError as error:
            self.fail(error)

    def fail(self, error: ClientError) -> NoReturn:
        """End the process with an error, and with what would help."""
        match error:
            case NotListeningError():
                hint = f": start it with `plimsoll serve --config FILE`, or set {self.option}"
            case UnauthorizedError():
                hint = "; set PLIMSOLL_TOKEN"
            case UntrustedError():
                hint = "; name its roots with --ca or PLIMSOLL_CA"
            case _:
                hint = ""
        fail(printable(str(error)) + hint)


def files_of_environment() -> dict[str, str | None]:
    """The files of certificates that the environment names, as a `Client` takes them."""
    return {name: os.environ.get(f"PLIMSOLL_{name.upper()}") or None for name in _FILES}


def api_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--url``, ``--token`` and files of certificates to a command: an `Api` as ``api``."""

    @wraps(command)
    def with_api(*arguments: Any, **given: Any) -> None:
        api = Api(**{name: given.pop(name) for name in _OPTIONS})
        command(*arguments, api=api, **given)

    named = (
        click.option(f"--{name}", envvar=f"PLIMSOLL_{name.upper()}", **settings)
        for name, settings in _OPTIONS.items()
    )
    return options(*named)(with_api)


_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "url": {
        "help": "URL of the API; also PLIMSOLL_URL.",
        "default": DEFAULT_URL,
        "show_default": True,
    },
    "token": {
        "help": "Token for the API. Better in PLIMSOLL_TOKEN: others see command lines.",
    },
    "ca": {
        "help": "Roots to trust over https; also PLIMSOLL_CA. Default: those of this machine.",
        "metavar": "FILE",
    },
    "certificate": {
        "help": "Certificate to show instead of a token; also PLIMSOLL_CERTIFICATE.",
        "metavar": "FILE",
    },
    "key": {
        "help": "Key of the certificate, if in a file of its own; also PLIMSOLL_KEY.",
        "metavar": "FILE",
    },
}


def pool_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete the name of a pool."""

    async def names(client: Client) -> list[str]:
        return [pool.name for pool in await client.pools()]

    return _completed(context, names, begun)


def replica_ids(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete the id of a replica of the pool that stands before."""
    # Behind an option that waits for its value click has not yet told the arguments apart.
    pool = context.params.get("pool") or next(iter(context.args), None)
    if not isinstance(pool, str):
        return []

    async def ids(client: Client) -> list[str]:
        return [replica.id for replica in (await client.pool(pool)).replicas]

    return _completed(context, ids, begun)


def _completed(
    context: click.Context, question: Callable[[Client], Awaitable[list[str]]], begun: str
) -> list[str]:
    async def asked() -> list[str]:
        given = {name: context.params.get(name) for name in ("token", *_FILES)}
        url = context.params.get("url") or DEFAULT_URL
        async with Client(url, timeout=_COMPLETION_SECONDS, **given) as client:
            return await question(client)

    try:
        names = asyncio.run(asked())
    except (ClientError, ValueError):
        return []  # A shell has no place for errors.
    return [name for name in names if name.startswith(begun)][:_MOST_NAMES]


@click.command("token")
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one object with both.")
def token(role: str, name: str, as_json: bool) -> None:
    """Make a token of ROLE for NAME.

    The token is for the user of the API (in PLIMSOLL_TOKEN, for example) and is shown once. The
    line belongs in the file that admin.token_file names, and does not reveal the token.
    """
    text = secrets.token_urlsafe(32)
    made = Token.of(text, Role(role), name)
    try:
        parse_tokens(made.line, "NAME")
    except SettingsError as error:
        fail(f"NAME {name!r}: {error.problem}", USAGE)
    if as_json:
        click.echo(json.dumps({"token": text, "line": made.line}))
    else:
        click.echo(f"token: {text}\nline:  {made.line}")


@click.command("openapi")
@api_options
@click.option("--json", is_flag=True, expose_value=False, help="The document is JSON anyway.")
@click.pass_context
def openapi(context: click.Context, api: Api) -> None:
    """Print the OpenAPI document of the control plane's API.

    With --url or PLIMSOLL_URL, the document of a running control plane; else of this version.
    """
    if context.get_parameter_source("url") is not ParameterSource.DEFAULT:
        print_json(api.ask(Client.openapi))
        return
    from controlplane.api.openapi import document  # This import builds all models.

    print_json(document())
