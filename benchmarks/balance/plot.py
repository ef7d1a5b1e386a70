"""The p99 of all contenders in all cells as a picture."""

from collections.abc import Sequence
from math import ceil, inf
from pathlib import Path
from typing import Final

from benchmarks.balance.cell import Cell
from benchmarks.balance.contenders import TITLES
from benchmarks.balance.journal import Entry
from benchmarks.balance.measures import ALL
from benchmarks.balance.report import by_contender
from benchmarks.figures import spread

WIDTH: Final = 5.0
HEIGHT: Final = 2.2
"""Inches of the panel of one cell."""

OURS_COLOR: Final = "#c0392b"
PEER_COLOR: Final = "#34495e"


def draw(cells: Sequence[Cell], entries: Sequence[Entry], path: Path) -> None:
    """Draw a panel for each cell: medians, ranges, and who collapsed.

    Args:
        cells: Those that were run.
        entries: One for each run.
        path: Of the PNG.
    """
    from matplotlib.figure import Figure

    columns = min(len(cells), 2)
    rows = ceil(len(cells) / columns)
    figure = Figure(figsize=(2.2 + WIDTH * columns, HEIGHT * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, cell in zip(panels, cells, strict=False):
        runs = by_contender(cell.scenario.name, cell.sidecars, entries)
        axes.set_title(cell.name, fontsize=9)
        axes.set_xscale("log")
        axes.set_yticks(range(len(runs)), [TITLES[name] for name in runs], fontsize=7)
        axes.set_ylim(len(runs) - 0.5, -0.5)
        axes.grid(axis="x", which="both", alpha=0.25)
        for number, (name, found) in enumerate(runs.items()):
            color = OURS_COLOR if name.startswith("plimsoll") else PEER_COLOR
            for kind, marker in zip(cell.kinds or (ALL,), "os", strict=False):
                values = [run.summary.latency[kind].p99 for run in found]
                if max(values) == inf:
                    axes.text(
                        0.02, number, "collapsed", va="center", fontsize=7, color=color,
                        transform=axes.get_yaxis_transform(),
                    )  # fmt: skip
                    continue
                seen = spread(values)
                axes.plot([seen.low, seen.high], [number, number], color=color, linewidth=1.5)
                fill = color if marker == "o" else "white"
                axes.plot([seen.middle], [number], marker, color=color, mfc=fill, markersize=5)
        axes.tick_params(axis="x", labelsize=7)
        kinds = f": {cell.kinds[0]} (dot), {cell.kinds[1]} (square)" if cell.kinds else ""
        axes.set_xlabel(f"p99 in ms, median and range{kinds}", fontsize=8)
    figure.savefig(path, dpi=110)
