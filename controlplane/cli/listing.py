"""A group whose default command is ``list``: ``plimsoll pools --json``."""

import click

_HELP = ("-h", "--help")


class Listing(click.Group):
    """A group whose command ``list`` may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in the ``list`` that was left out."""
        if not args or (args[0].startswith("-") and args[0] not in _HELP):
            # Of a line that is still being typed, nothing is left out yet.
            args = args if ctx.resilient_parsing and not args else ["list", *args]
        return super().parse_args(ctx, args)
