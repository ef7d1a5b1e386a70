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
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from controlplane.cli.admin import Api, api_options, pool_names, print_json
from controlplane.cli.tables import WHOLE, console, room
from controlplane.cli.terminal import USAGE, fail, printable
from controlplane.cli.top_state import Looker, Shown
from controlplane.cli.top_table import tables
from controlplane.client import ClientError
from controlplane.config import parse_duration

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


@contextmanager
def keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Tell of each key, without an Enter and without showing it; the terminal is then as before.

    Does nothing where standard input is no terminal. Ctrl-C stays what it is.

    Args:
        pressed: Is told, in the running event loop: a character, or the name of a key such as
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
    """The keys in what a terminal has sent; an arrow as applications see it is the same arrow."""
    found = [each.replace("\x1bO", "\x1b[") for each in _KEY.findall(text)]
    return [_KEY_NAMES.get(each, each) for each in found]


_ENDS: Final = {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Signals, and the exit codes after them. Ctrl-C is how such a view is ended: no failure."""


class Screen:
    """Shows what a looker sees on a whole terminal, which is as before once `run` returns."""

    def __init__(self, looker: Looker, console: Console, every: float) -> None:
        """Show nothing yet.

        Args:
            looker: To look with.
            console: A terminal.
            every: Seconds between two looks.
        """
        self._looker, self._console, self._every = looker, console, every
        self._sight: Sequence[Shown] = ()
        self._seen_at: datetime | None = None
        self._trouble = ""
        self._live: Live | None = None
        self._again = asyncio.Event()

    async def run(self) -> int:
        """Show until q, Ctrl-C or another signal; returns the exit code.

        Raises:
            ClientError: The very first look fails. Later ones only are told of.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()

        def end(code: int) -> None:
            if not ended.done():
                ended.set_result(code)

        for number, code in _ENDS.items():
            loop.add_signal_handler(number, end, code)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        looking = asyncio.create_task(self._look_on())
        try:

            def pressed(key: str) -> None:
                if key in ("q", "Q") and not self._looker.view.is_typing:
                    end(0)
                    return
                rows = sum(len(each.rows) for each in self._sight)
                view = self._looker.view.pressed(key, max(1, rows - 1))
                if view != self._looker.view:
                    self._looker.view = view
                    self._again.set()

            with keys(pressed):
                await asyncio.wait((ended, looking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
            if self._live is not None:
                self._live.stop()
            for number in (*_ENDS, signal.SIGWINCH):
                loop.remove_signal_handler(number)
        return ended.result()

    async def _look_on(self) -> None:
        while True:
            self._again.clear()
            try:
                self._sight = await self._looker.look(self._console.height)
                self._seen_at, self._trouble = datetime.now().astimezone(), ""
            except ClientError as error:
                if self._seen_at is None:
                    raise
                self._trouble = str(error)
            if self._live is None:
                self._live = Live(console=self._console, screen=True, auto_refresh=False)
                self._live.start()
            self._draw()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._again.wait()

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._view(), refresh=True)

    def _view(self) -> RenderableType:
        seen = "" if self._seen_at is None else f"{self._seen_at:%H:%M:%S}"
        view, rows = self._looker.view, sum(len(each.rows) for each in self._sight)
        where = f"{view.first + 1}-{view.first + rows} of {self._looker.total}" if rows else "none"
        words = f"plimsoll top  {seen}  {where}  {view.title}"
        top = Text(printable(words), "dim", no_wrap=True, overflow="ellipsis")
        if self._trouble:
            words = f"as of {seen}: {printable(self._trouble)}"
            top = Text(words, "bold red", no_wrap=True, overflow="ellipsis")
        return Group(top, Text(), tables(self._sight, self._console.width))


_SHORTEST: Final = 0.1
"""Seconds between two looks."""


@click.command
@click.argument("pools", nargs=-1, metavar="[POOL]...", shell_complete=pool_names)
@click.option("--once", is_flag=True, help="Print one table and end.")
@click.option(
    "--interval", default="1s", show_default=True, metavar="DURATION", help="Between two looks."
)
@api_options
@click.option("--json", "as_json", is_flag=True, help="Print what is seen once, as JSON.")
def command(pools: tuple[str, ...], once: bool, interval: str, api: Api, as_json: bool) -> None:
    """Watch what each replica of each POOL gets and does, and why its share moved last.

    Ends with q or Ctrl-C. Where there is no terminal it prints one table.
    """
    every = _seconds(interval)
    if not (once or as_json) and sys.stdout.isatty():
        try:
            code = asyncio.run(_live(api, pools, every))
        except ClientError as error:
            api.fail(error)
        raise SystemExit(code)
    sight = api.ask(lambda client: Looker(client, pools).look())
    if as_json:
        print_json(
            {
                "pools": [
                    {
                        "name": seen.pool.name,
                        "parting": seen.pool.document().get("parting"),
                        "replicas": [row.document() for row in seen.rows],
                    }
                    for seen in sight
                ]
            }
        )
        return
    out = console()
    width = room(out)
    out.width = width or WHOLE
    out.print(tables(sight, width))


async def _live(api: Api, pools: tuple[str, ...], every: float) -> int:
    async with api.client() as client:
        return await Screen(Looker(client, pools), console(), every).run()


def _seconds(interval: str) -> float:
    try:
        seconds = parse_duration(interval)
    except ValueError as error:
        fail(f"--interval: {error}", USAGE)
    if seconds < _SHORTEST:
        fail("--interval: at least 100ms, to leave the control plane time for others", USAGE)
    return seconds
