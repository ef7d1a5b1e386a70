"""How a command speaks to the person at the terminal: one sentence if it fails, and questions."""

import sys
from contextlib import suppress
from typing import Final, NoReturn

import click

USAGE = 2
"""Bad usage or bad config."""


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Print a sentence to standard error and end the process with an exit code."""
    # Whoever reads it may have gone; the exit code is for others.
    with suppress(OSError):
        click.echo(f"plimsoll: {sentence}", err=True)
    raise SystemExit(code)


def printable(text: str) -> str:
    """A text without what a terminal would take for a command."""
    return "".join(character if character.isprintable() else "�" for character in text)


yes_option: Final = click.option("--yes", is_flag=True, help="Do not ask.")


def confirm(what: str, *, yes: bool) -> None:
    """Ask on a terminal; without one end the process, unless it was said before.

    Args:
        what: Is to be done, as in "remove m/a".
        yes: What ``--yes`` says.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{what}? there is no terminal to ask on: add --yes", USAGE)
    click.confirm(f"{what[:1].upper()}{what[1:]}?", abort=True, err=True)


def confirm_if_asked(what: str, *, yes: bool) -> None:
    """The same of what can be taken back: without a terminal it is done."""
    if sys.stdin.isatty():
        confirm(what, yes=yes)
