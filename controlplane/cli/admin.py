"""How commands speak with the control plane: options, a client, and one sentence if it fails."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, NoReturn, TypeVar

import click

from controlplane.cli.failure import USAGE, fail
from controlplane.cli.printable import printable
from controlplane.client import Client, ClientError, NotListeningError, UnauthorizedError

DEFAULT_URL: Final = "http://127.0.0.1:8080"

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's answer.")


@dataclass(frozen=True, slots=True)
class Api:
    """Where the control plane is.

    Attributes:
        url: Of the API.
        token: Sent with every request; None: there is none.
        option: That the URL was given with.
    """

    url: str
    token: str | None
    option: str = "--url"

    def client(self) -> Client:
        """A client; ends the process with a sentence when it cannot be had."""
        try:
            Client(self.url)
        except ValueError as error:
            fail(f"{self.option}: {error}", USAGE)
        try:
            return Client(self.url, token=self.token)
        except ValueError as error:
            fail(f"--token: {error}", USAGE)

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


def api_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--url`` and ``--token`` to a command, which gets an `Api` as ``api``."""

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
    @wraps(command)
    def with_api(*arguments: Any, url: str, token: str | None, **options: Any) -> None:
        command(*arguments, api=Api(url, token), **options)

    return with_api


def print_json(document: Any) -> None:
    """Print plain data for a program."""
    click.echo(json.dumps(document, indent=2))
