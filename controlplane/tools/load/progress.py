"""How far a load is, on a terminal; nothing anywhere else."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from controlplane.tools.load.diagnosis import ms
from controlplane.tools.load.run import Moment
from controlplane.tools.load.workload import Workload


class Progress:
    """Shows a bar on standard error; the terminal is as it was once the context closes."""

    def __init__(self, workload: Workload) -> None:
        """Show nothing yet."""
        self._bar = Bar(
            BarColumn(bar_width=24),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._live = self._bar.console.is_terminal
        self._task = self._bar.add_task("", total=workload.seconds)

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._bar.stop()

    def show(self, now: Moment) -> None:
        """Show how far it is."""
        if self._live:
            self._bar.update(self._task, completed=now.elapsed, description=line(now), refresh=True)


def line(now: Moment) -> str:
    """What stands beside the bar."""
    p99 = "" if now.p99 is None else f", p99 {ms(now.p99)}"
    failed = f", {now.failed} failed" if now.failed else ""
    return f"{now.rate:.4g}/s, {now.sent} sent, {now.in_flight} in flight{p99}{failed}"
