"""`plimsoll top`: the replicas of each pool, live on a terminal, once anywhere else."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from controlplane.cli.admin import Api, api_options, pool_names
from controlplane.cli.tables import WHOLE, console, room
from controlplane.cli.terminal import USAGE, fail, parsed, print_json, printable
from controlplane.cli.top_state import Poller, PoolRows
from controlplane.cli.top_table import tables
from controlplane.client import ClientError
from controlplane.config import parse_duration

_SHORTEST: Final = 0.1
"""Seconds between two polls."""

_EXITS: Final = {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Signals, and the exit codes after them. Ctrl-C is the usual way out, so it is no failure."""

_KEY: Final = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|.", re.DOTALL)

_KEY_NAMES: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
}


@click.command
@click.argument("pools", nargs=-1, metavar="[POOL]...", shell_complete=pool_names)
@click.option("--once", is_flag=True, help="Print one table and exit.")
@click.option(
    "--interval", default="1s", show_default=True, metavar="DURATION", help="Time between polls."
)
@api_options
@click.option("--json", "as_json", is_flag=True, help="Print what a table shows once, as JSON.")
def command(pools: tuple[str, ...], once: bool, interval: str, api: Api, as_json: bool) -> None:
    """Watch what each replica of each POOL gets and does, and why its share moved last.

    Quit with q or Ctrl-C. Without a terminal, one table is printed.
    """
    every = parsed("--interval", parse_duration, interval)
    if every < _SHORTEST:
        fail("--interval: at least 100ms, to leave the control plane time for others", USAGE)
    if not (once or as_json) and sys.stdout.isatty():
        try:
            code = asyncio.run(_live(api, pools, every))
        except ClientError as error:
            api.fail(error)
        raise SystemExit(code)
    found = api.ask(lambda client: Poller(client, pools).poll())
    if as_json:
        print_json({"pools": [_document(each) for each in found]})
        return
    out = console()
    width = room(out)
    out.width = width or WHOLE
    out.print(tables(found, width))


def _document(shown: PoolRows) -> dict[str, object]:
    return {
        "name": shown.pool.name,
        "parting": shown.pool.document().get("parting"),
        "replicas": [row.document() for row in shown.rows],
    }


async def _live(api: Api, pools: tuple[str, ...], every: float) -> int:
    async with api.client() as client:
        return await Screen(Poller(client, pools), console(), every).run()


class Screen:
    """Shows what a poller finds on a whole terminal, which is as before once `run` returns."""

    def __init__(self, poller: Poller, console: Console, every: float) -> None:
        """Show nothing yet; `every`: seconds between two polls."""
        self._poller, self._console, self._every = poller, console, every
        self._found: Sequence[PoolRows] = ()
        self._polled_at: datetime | None = None
        self._trouble = ""
        self._live: Live | None = None
        self._again = asyncio.Event()

    async def run(self) -> int:
        """Show until q, Ctrl-C or another signal; returns the exit code.

        Raises:
            ClientError: The first poll fails. Later failures are shown.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()

        def end(code: int) -> None:
            if not ended.done():
                ended.set_result(code)

        def pressed(key: str) -> None:
            if key in ("q", "Q") and not self._poller.view.is_typing:
                end(0)
                return
            view = self._poller.view.pressed(key, max(1, self._rows() - 1))
            if view != self._poller.view:
                self._poller.view = view
                self._again.set()

        for number, code in _EXITS.items():
            loop.add_signal_handler(number, end, code)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        polling = asyncio.create_task(self._poll())
        try:
            with keys(pressed):
                await asyncio.wait((ended, polling), return_when=asyncio.FIRST_COMPLETED)
        finally:
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling
            if self._live is not None:
                self._live.stop()
            for number in (*_EXITS, signal.SIGWINCH):
                loop.remove_signal_handler(number)
        return ended.result()

    async def _poll(self) -> None:
        while True:
            self._again.clear()
            try:
                self._found = await self._poller.poll(self._console.height)
                self._polled_at, self._trouble = datetime.now().astimezone(), ""
            except ClientError as error:
                if self._polled_at is None:
                    raise
                self._trouble = str(error)
            if self._live is None:
                self._live = Live(console=self._console, screen=True, auto_refresh=False)
                self._live.start()
            self._draw()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._again.wait()

    def _rows(self) -> int:
        return sum(len(each.rows) for each in self._found)

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._view(), refresh=True)

    def _view(self) -> RenderableType:
        clock = "" if self._polled_at is None else f"{self._polled_at:%H:%M:%S}"
        view, rows, total = self._poller.view, self._rows(), self._poller.total
        where = f"{view.first + 1}-{view.first + rows} of {total}" if rows else "none"
        words, style = f"plimsoll top  {clock}  {where}  {view.title}", "dim"
        if self._trouble:
            words, style = f"as of {clock}: {self._trouble}", "bold red"
        top = Text(printable(words), style, no_wrap=True, overflow="ellipsis")
        return Group(top, Text(), tables(self._found, self._console.width))


@contextlib.contextmanager
def keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Call for each key, without an Enter and without echo; the terminal is then as before.

    Does nothing where standard input is no terminal. Ctrl-C still sends its signal.

    Args:
        pressed: Called in the running event loop with a character, or the name of a key such as
            ``up``, ``page down``, ``escape`` or ``enter``.
    """
    if not sys.stdin.isatty():
        yield
        return
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def read() -> None:
        data = os.read(descriptor, 64)
        if not data:
            loop.remove_reader(descriptor)
        for key in keys_in(data.decode("utf-8", "replace")):
            pressed(key)

    tty.setcbreak(descriptor, termios.TCSADRAIN)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def keys_in(text: str) -> list[str]:
    """The keys in what a terminal sends; both forms of an arrow are the same arrow."""
    found = [each.replace("\x1bO", "\x1b[") for each in _KEY.findall(text)]
    return [_KEY_NAMES.get(each, each) for each in found]
