"""The command `plimsoll`, how its subcommands are found, and groups whose default is `list`."""

from importlib import import_module
from typing import Final

import click
from click.shell_completion import CompletionItem

from controlplane import __version__

_HELP = ("-h", "--help")


class Listing(click.Group):
    """A group whose command ``list`` may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in _HELP):
            # Of a line that is still being typed, nothing is left out yet.
            args = args if ctx.resilient_parsing and not args else ["list", *args]
        return super().parse_args(ctx, args)


COMMANDS: Final = {
    "bootstrap": "print the bootstrap of an Envoy",
    "ca": "make a certificate authority, and certificates of nodes",
    "check": "check a config file and say what is wrong with it",
    "demo": "run everything on this machine and watch the weights move",
    "diagnose": "write one file for a bug report, without secrets",
    "explain": "explain why each replica gets its share",
    "events": "follow changes of pools, replicas and Envoys",
    "export": "write an Envoy's resources as files, for use without a control plane",
    "load": "send load to a fleet and name its bottleneck",
    "nodes": "list the connected Envoys, and what each rejected last",
    "openapi": "print the OpenAPI document of the API",
    "pools": "list, show, add and remove pools",
    "replicas": "list, add, drain and remove replicas",
    "scaling": "say how many replicas each pool should have, and why",
    "serve": "run the control plane",
    "token": "make a token for the API",
    "top": "watch the replicas of each pool, live",
}
"""Each is loaded when it is called. The help texts are here, so that ``plimsoll --help`` does not
load Envoy's message types."""

TOOLS: Final = ("demo", "load")
"""Commands of `controlplane.tools`, which nothing else imports; all others are in this package."""

_ELSEWHERE: Final = {
    "openapi": "controlplane.cli.admin:openapi",
    "scaling": "controlplane.cli.pools:scaling",
    "token": "controlplane.cli.admin:token",
    **{name: f"controlplane.tools.{name}.command:command" for name in TOOLS},
}
"""Module and attribute of the commands that are not `command` in a module of their own name."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        place = _ELSEWHERE.get(cmd_name, f"controlplane.cli.{cmd_name}:command")
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - narrows what import_module gives
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or name those that a misspelt one may have meant."""
        if not ctx.resilient_parsing and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands without loading them."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=text)
            for name, text in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="plimsoll")
def plimsoll() -> None:
    """Balance embedding-model replicas behind Envoy by what each of them can carry."""
