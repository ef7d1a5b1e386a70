"""Where a demonstration is shown: a live table on a terminal, lines anywhere else."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from controlplane.tools.demo.table import Scene, render


class Screen:
    """Shows scenes; a terminal is as it was once the context closes."""

    def __init__(self, console: Console, *, live: bool) -> None:
        """Show nothing yet.

        Args:
            console: To write to.
            live: Whether a table may be drawn over and over.
        """
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if live else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Tell of something that has happened; above the table, if there is one."""
        self._console.print(escape(line), highlight=False, soft_wrap=True)

    def show(self, scene: Scene) -> None:
        """Show how things are."""
        if self._live is not None:
            self._live.start()
            self._live.update(render(scene), refresh=True)
