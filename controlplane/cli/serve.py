"""`plimsoll serve`: run the control plane until SIGTERM or Ctrl-C.

Python looks for garbage among few objects at a time. A collection stops every thread, also the one
that answers probes, for about 2 µs an object: by default for seconds where there are ten thousand
replicas. Reference counting frees almost everything here; what is left are small circles, such as a
closed connection.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, get_args

import click

from controlplane.app import running
from controlplane.cli.log import LogFormat, LogWriter
from controlplane.cli.terminal import USAGE, counted, fail
from controlplane.config import Config, SettingsError
from controlplane.config_file import read_config
from controlplane.fleet import Refused

YOUNG: Final = 2_000
"""New objects after which Python looks among them."""
MIDDLE: Final = 10
"""Of these looks the last is at all objects that came since the one before."""
OLD: Final = 10_000
"""Objects older than that among which is looked at once. Where there are more the process grows:
they are taken to stay."""
GROWN: Final = 250_000
"""Objects left out since the last look at all, from which on another one is worth it, unless more
were left out then: some of them have become garbage, such as closed connections."""
_NEVER: Final = 1_000_000_000
_INTERVAL: Final = 1.0


def collect_little() -> None:
    """Leave out all that there is, and have `collect_old` look at what grows old."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, _NEVER)


async def collect_old() -> None:
    """Look among old objects while they are few, and rarely among all, until cancelled."""
    frozen = gc.get_freeze_count()
    while True:
        await asyncio.sleep(_INTERVAL)
        look()
        frozen = look_at_all_after(frozen)


def look_at_all_after(frozen: int) -> int:
    """Look among all objects where many more are left out than were; returns how many are now.

    It takes a third of a second with 10,000 replicas. Without it memory would grow for ever.
    """
    if gc.get_freeze_count() - frozen < max(frozen, GROWN):
        return frozen
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()


def look() -> None:
    """Free old objects that are garbage; leave out what there are many of."""
    if (old := _old()) < OLD // 2:
        return
    if old <= OLD:
        gc.collect()
    if _old() >= OLD // 2:
        gc.freeze()


def _old() -> int:
    return len(gc.get_objects(generation=2))


STOPPED: Final = 20.0
"""Seconds after SIGTERM until the process ends even if a disk or a reader does not answer. All that
was answered is on disk by then."""

FLUSHED: Final = 1.0
"""Seconds for the log to be written at the end."""


@click.command
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(path_type=Path),
    help="The config file. Changes apply within a second; an invalid file is ignored.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.option(
    "--log-format",
    type=click.Choice(get_args(LogFormat)),
    default="text",
    show_default=True,
    help="Lines of text, or a JSON object for each.",
)
def command(path: Path, log_level: str, log_format: LogFormat) -> None:
    """Run the control plane until SIGTERM or Ctrl-C; Envoys keep what they have after that.

    SIGHUP reads the config, the token file and certificates at once.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log = LogWriter.to_stderr(log_format)
    logging.basicConfig(level=log_level.upper(), handlers=[log], force=True)
    _open_many_files()
    try:
        config = read_config(path)
        collect_little()
        with log.taking_stderr():
            asyncio.run(_serve(config, path, log))
    except (SettingsError, Refused, OSError) as error:
        log.finish(FLUSHED)
        place = f"{path}: " if isinstance(error, Refused) else ""
        fail(f"{place}{error}", 1 if isinstance(error, OSError) else USAGE)
    if not log.finish(FLUSHED):
        # Nobody reads the log; the thread that waits for its reader must not be waited for.
        os._exit(0)


async def _serve(config: Config, path: Path, log: LogWriter) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with running(config, path) as addresses:
        loop.add_signal_handler(signal.SIGHUP, addresses.reread)
        xds = f"{addresses.xds}{' with TLS' if config.xds.tls else ''}"
        rest = f"http{'s' if config.admin.tls else ''}://{addresses.admin}"
        pools = counted(len(config.pools), "pool")
        log.write(f"plimsoll: xDS on {xds}, REST on {rest}, {pools} from {path}")
        collecting = asyncio.create_task(collect_old(), name="garbage")
        await stopped.wait()
        collecting.cancel()
        _end_within(STOPPED)
        log.write("plimsoll: stopping; Envoys keep serving with what they have")
    # All is on disk. A thread that still computes, for nobody, would be waited for.
    _end_within(2 * FLUSHED)


def _open_many_files() -> None:
    """Allow as many open files as an administrator lets the process: each Envoy is one or two."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems allow fewer than they say.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _end_within(seconds: float) -> None:
    deadline = threading.Timer(seconds, os._exit, (0,))
    deadline.daemon = True
    deadline.start()
