"""The p99 of all contenders in all scenarios as a picture."""

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Final

from benchmarks.balance.contenders import TITLES
from benchmarks.balance.journal import Entry
from benchmarks.balance.measures import spread
from benchmarks.balance.report import by_contender
from benchmarks.balance.scenario import Scenario

WIDTH: Final = 5.0
HEIGHT: Final = 2.2
"""Inches of the panel of one scenario."""

OURS_COLOR: Final = "#c0392b"
PEER_COLOR: Final = "#34495e"


def draw(scenarios: Sequence[Scenario], entries: Sequence[Entry], path: Path) -> None:
    """Draw a panel for each scenario: medians, ranges, and who collapsed.

    Args:
        scenarios: Those that were run.
        entries: One for each run.
        path: Of the PNG.
    """
    from matplotlib.figure import Figure

    columns = len({it.sidecars for it in scenarios})
    names = list(dict.fromkeys(it.name for it in scenarios))
    figure = Figure(figsize=(2.2 + WIDTH * columns, HEIGHT * len(names)), layout="constrained")
    panels = figure.subplots(len(names), columns, squeeze=False)
    for position, scenario in enumerate(scenarios):
        axes = panels[names.index(scenario.name)][position % columns]
        runs = by_contender(scenario.name, scenario.sidecars, entries)
        axes.set_title(scenario.cell, fontsize=9)
        axes.set_xscale("log")
        axes.set_yticks(range(len(runs)), [TITLES[name] for name in runs], fontsize=7)
        axes.set_ylim(len(runs) - 0.5, -0.5)
        axes.grid(axis="x", which="both", alpha=0.25)
        for number, (name, found) in enumerate(runs.items()):
            values = [run.summary.p99 for run in found]
            color = OURS_COLOR if name.startswith("plimsoll") else PEER_COLOR
            if max(values) == inf:
                axes.text(
                    0.02, number, "collapsed", va="center", fontsize=7, color=color,
                    transform=axes.get_yaxis_transform(),
                )  # fmt: skip
                continue
            seen = spread(values)
            axes.plot([seen.low, seen.high], [number, number], color=color, linewidth=1.5)
            axes.plot([seen.middle], [number], "o", color=color, markersize=5)
        axes.tick_params(axis="x", labelsize=7)
    for axes in panels[-1]:
        axes.set_xlabel("p99 in ms: median and range", fontsize=8)
    figure.savefig(path, dpi=110)
