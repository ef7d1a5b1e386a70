"""``plimsoll serve``: run the control plane until it is told to stop."""

import asyncio
import gc
import logging
import signal
from pathlib import Path

import click

from controlplane.assembly import running
from controlplane.cli.failure import USAGE, fail
from controlplane.edges.config_file import read_config
from controlplane.fleet import Refused
from controlplane.settings import Config, SettingsError


@click.command
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(path_type=Path),
    help="The config file; a changed one is used at once, a wrong one is not.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def command(path: Path, log_level: str) -> None:
    """Run the control plane until SIGTERM or Ctrl-C; Envoys keep what they have after that."""
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    try:
        config = read_config(path)
        collect_rarely()
        asyncio.run(_serve(config, path))
    except SettingsError as error:
        fail(str(error), USAGE)
    except Refused as error:
        fail(f"{path}: {error}", USAGE)
    except OSError as error:
        fail(str(error))


def collect_rarely() -> None:
    """Have Python look for garbage rarely, and not in what was imported.

    Little here is garbage that counting references does not free. What is imported alone is 100,000
    objects, which take 0.05 s to look through. With a thousand streams one full collection took
    0.12 to 0.17 s, in which everything stands still; see docs/decisions/0008.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _serve(config: Config, path: Path) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with running(config, path) as addresses:
        click.echo(
            f"plimsoll: xDS on {addresses.xds}, REST on http://{addresses.admin}, "
            f"{len(config.pools)} pools from {path}",
            err=True,
        )
        await stopped.wait()
        click.echo("plimsoll: stopping; Envoys keep serving with what they have", err=True)
