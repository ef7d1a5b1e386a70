"""Ask before what cannot be undone; without a terminal, refuse."""

import sys
from typing import Final

import click

from controlplane.cli.failure import USAGE, fail

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
