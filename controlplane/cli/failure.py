"""How a command ends when it cannot do what was asked: one sentence, and an exit code."""

from contextlib import suppress
from typing import NoReturn

import click

USAGE = 2
"""Bad usage or bad config."""


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Print a sentence to standard error and end the process with an exit code."""
    # Whoever reads it may have gone; the exit code is for others.
    with suppress(OSError):
        click.echo(f"plimsoll: {sentence}", err=True)
    raise SystemExit(code)
