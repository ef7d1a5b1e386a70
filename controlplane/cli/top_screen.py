"""The live view of ``plimsoll top``: looks again and again, until somebody has seen enough."""

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from controlplane.cli.keyboard import keys
from controlplane.cli.printable import printable
from controlplane.cli.top_sight import Looker, Shown
from controlplane.cli.top_table import tables
from controlplane.client import ClientError

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
