"""How a command speaks to its user: one sentence when it fails, JSON for programs, questions."""

import json
import math
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeVar

import click

USAGE: Final = 2
"""The exit code of bad usage or bad config."""

T = TypeVar("T")


class Number(click.FloatRange):
    """A number within bounds; NaN, which compares with nothing, is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number; a usage error if it is none."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


Command = TypeVar("Command", bound=Callable[..., Any])


def options(*each: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Give a command options, in this order."""

    def given(command: Command) -> Command:
        for option in reversed(each):
            command = option(command)
        return command

    return given


json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print the API's answer.")
yes_option: Final = click.option("--yes", is_flag=True, help="Do not ask.")


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Print a sentence to standard error and end the process with an exit code."""
    # The reader may have gone; the exit code still counts.
    with suppress(OSError):
        click.echo(f"plimsoll: {sentence}", err=True)
    raise SystemExit(code)


def parsed(option: str, parse: Callable[[str], T], text: str) -> T:
    """Parse the value of an option; end the process with a sentence if that fails."""
    try:
        return parse(text)
    except ValueError as error:
        fail(f"{option}: {error}", USAGE)


def printable(text: str) -> str:
    """A text without what a terminal would take for a command."""
    return "".join(character if character.isprintable() else "�" for character in text)


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2))


def print_answer(as_json: bool, document: Any, lines: str | Iterable[str]) -> None:
    """Print plain data for a program, or else lines for people."""
    if as_json:
        print_json(document)
        return
    for line in (lines,) if isinstance(lines, str) else lines:
        click.echo(line)


def confirm(what: str, *, yes: bool, can_be_undone: bool = False) -> None:
    """Ask before something such as "remove m/a", unless `yes`.

    Without a terminal end the process, unless the change can be undone.
    """
    if yes or (can_be_undone and not sys.stdin.isatty()):
        return
    if not sys.stdin.isatty():
        fail(f"{what}? there is no terminal to ask on: add --yes", USAGE)
    click.confirm(f"{what[:1].upper()}{what[1:]}?", abort=True, err=True)
