"""The figures of all repetitions as people read them, and as a sheet. Pure."""

import csv
import io
from collections.abc import Sequence
from statistics import median

from benchmarks.figures import range_of
from benchmarks.registry.play import Figures

Round = dict[str, Figures]
"""Of one repetition: figures by what they are of."""

RATIOS = (
    ("one change: CPU, ms", "CPU of one change"),
    ("one change: an Envoy has it, ms", "latency of one change"),
    ("one joins: CPU, ms", "CPU of one that joins"),
)


def table(rounds: Sequence[Round]) -> str:
    """A table for what was registered one by one and in bare sqlite3, one for the fleets."""
    alone = [name for name in rounds[0] if name in ("one by one", "bare sqlite3")]
    fleets = [name for name in rounds[0] if name not in alone]
    lines = []
    for name in alone:
        lines += [f"### {name}", "", "| | |", "|---|---:|"]
        lines += [
            f"| {entry} | {range_of(_values(rounds, name, entry))} |" for entry in rounds[0][name]
        ]
        lines.append("")
    rows = list(dict.fromkeys(each for name in fleets for each in rounds[0][name]))
    lines += [f"| | {' | '.join(fleets)} |", f"|---|{'---:|' * len(fleets)}"]
    for row in rows:
        found = [_values(rounds, name, row) for name in fleets]
        lines.append(f"| {row} | {' | '.join(range_of(item) if item else '' for item in found)} |")
    return "\n".join([*lines, "", *_ratios(rounds, fleets)])


def _ratios(rounds: Sequence[Round], fleets: Sequence[str]) -> list[str]:
    """What a change costs in the large fleets, compared with the small one."""
    small, *large = [name for name in fleets if "one change: CPU, ms" in rounds[0][name]]
    lines = []
    for row, words in RATIOS:
        few = median(_values(rounds, small, row))
        found = ", ".join(
            f"{median(_values(rounds, item, row)) / few:.2f} × {item}" for item in large
        )
        lines.append(f"{words}, to that of {small}: {found}.")
    return lines


def sheet(rounds: Sequence[Round]) -> str:
    """A line for each value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("repetition", "of", "figure", "value"))
    for number, each in enumerate(rounds, 1):
        for name, figures in each.items():
            writer.writerows((number, name, figure, value) for figure, value in figures.items())
    return text.getvalue()


def _values(rounds: Sequence[Round], name: str, figure: str) -> list[float]:
    return [each[name][figure] for each in rounds if figure in each[name]]
