"""Time to the last failed or slow request, and failed requests, of all contenders as a picture."""

from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.failover.contenders import BY_NAME
from benchmarks.failover.report import Entry, by_scenario
from benchmarks.failover.scenarios import SCENARIOS

COLORS: Final = ("#c0392b", "#34495e", "#95a5a6")
HEIGHT: Final = 0.45
"""Inches of a scenario."""


def draw(entries: Iterable[Entry], path: Path) -> None:
    """Draw a bar for each contender in each scenario; how many failed stands beside it.

    Args:
        entries: One for each run.
        path: Of the PNG.
    """
    from matplotlib.figure import Figure

    found = by_scenario(entries)
    figure = Figure(figsize=(9, 1.2 + HEIGHT * len(found)), layout="constrained")
    axes = figure.subplots()
    thick = 0.8 / len(BY_NAME)
    for number, (name, contender) in enumerate(BY_NAME.items()):
        rows = [(row, costs[name]) for row, costs in enumerate(found.values()) if name in costs]
        places = [row + (number - 1) * thick for row, _ in rows]
        lengths = [median(cost.seconds for cost in costs) for _, costs in rows]
        color = COLORS[number % len(COLORS)]
        axes.barh(places, lengths, thick, color=color, label=contender.title)
        for place, length, (_, costs) in zip(places, lengths, rows, strict=True):
            failed = sum(cost.failed for cost in costs)
            axes.text(length, place, f" {failed} failed", va="center", fontsize=6, color=color)
    axes.set_yticks(range(len(found)), [SCENARIOS[name].title for name in found], fontsize=7)
    axes.margins(x=0.1)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel("seconds from the fault to the last failed or slow request, median", fontsize=8)
    axes.legend(fontsize=7)
    axes.grid(axis="x", alpha=0.25)
    figure.savefig(path, dpi=110)
