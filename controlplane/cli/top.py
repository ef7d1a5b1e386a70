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
from controlplane.cli.tables import UNKNOWN, WHOLE, Column, console, layout, room, rows_of, table
from controlplane.cli.terminal import USAGE, fail, parsed, print_json, printable
from controlplane.cli.text import class_summary, health, lasted, percent, shown, state
from controlplane.cli.top_state import Poller, PoolRows, Row
from controlplane.client import ClientError
from controlplane.config import parse_duration

_BAR: Final = 10

_COLUMNS: Final = (
    Column("replica", is_name=True, cell=lambda row: row.replica.id),
    Column("state", cell=lambda row: state(row.replica)),
    Column("tier", 4, cell=lambda row: row.replica.tier or UNKNOWN),
    Column("weight", 5, is_number=True, cell=lambda row: shown(row.replica.weight)),
    Column("share", is_number=True, cell=lambda row: percent(row.replica.share)),
    Column("bar", 9, has_head=False, cell=lambda row: "█" * round((row.replica.share or 0) * _BAR)),
    Column("classes", 7, cell=lambda row: ", ".join(row.replica.classes) or UNKNOWN),
    Column("capacity", 6, is_number=True, cell=lambda row: shown(row.replica.capacity, "/s")),
    Column("tokens", 8, is_number=True, cell=lambda row: shown(row.replica.capacity_tokens, "/s")),
    Column("rate", 1, is_number=True, cell=lambda row: shown(row.rate_rps, "/s")),
    Column("p99", 1, is_number=True, cell=lambda row: shown(row.p99_ms, " ms")),
    Column("in flight", 2, is_number=True, cell=lambda row: shown(row.in_flight)),
    Column("memory", 3, is_number=True, cell=lambda row: _memory(row.memory)),
    Column("why", prose=0.2, cell=lambda row: " ".join(_why(row))),
)


def tables(pools: Sequence[PoolRows], width: int | None = None) -> RenderableType:
    """Make a table for each pool, all with the same columns; without a width there is no limit."""
    if not pools:
        return Text("no pools")
    cells = [rows_of(_COLUMNS, each.rows) for each in pools]
    laid_out = layout(_COLUMNS, [row for rows in cells for row in rows], width)
    parts: list[RenderableType] = []
    for each, rows in zip(pools, cells, strict=True):
        parts.append(Text(printable(_headline(each)), "bold", no_wrap=True, overflow="ellipsis"))
        if classes := class_summary(each.pool):
            parts.append(Text(classes, no_wrap=True, overflow="ellipsis"))
        if rows:
            parts.append(table(laid_out, rows, [_style(row) for row in each.rows]))
        if (more := each.found - len(rows)) > 0:
            parts.append(Text(f"… and {more} more", "dim"))
        parts.append(Text())
    if laid_out.note:
        parts.append(Text(laid_out.note, "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)
    return Group(*parts[:-1])


def _headline(each: PoolRows) -> str:
    pool = each.pool
    policy = pool.policy_in_force or pool.balancing.policy
    parts = [f"{pool.name}: {policy}", health(pool)]
    if len(each.rows) == pool.counts.total:
        rates = [row.rate_rps for row in each.rows if row.rate_rps is not None]
        if rates:
            parts.append(f"{shown(sum(rates))} req/s")
    slowest = [row.p99_ms for row in each.rows if row.p99_ms is not None]
    if slowest:
        wanted = f" of {pool.objective.p99}" if pool.objective else ""
        parts.append(f"p99 up to {shown(max(slowest), ' ms')}{wanted}")
    return ", ".join(parts)


def _style(row: Row) -> str:
    replica = row.replica
    if replica.state in ("unhealthy", "gone") or replica.drained:
        return "red"
    return "yellow" if replica.state != "ready" or replica.draining or replica.stale else ""


def _memory(part: float | None) -> str:
    return UNKNOWN if part is None else f"{part * 100:.0f} %"


def _why(row: Row) -> Iterator[str]:
    if (why := row.why) is None:
        yield UNKNOWN
        return
    if why == row.moved:
        yield f"{lasted(row.moved_ago)} ago:"
    yield why


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
        """Show until q or a signal; returns the exit code. Only the first poll may raise."""
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
        words, style = f"{clock}  {where}  {view.title}", "dim"
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
