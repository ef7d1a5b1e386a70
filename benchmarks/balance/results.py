"""A session's end: tables on the screen; CSV, JSON, Markdown and a picture beside the journal."""

from collections import Counter

import click

from benchmarks.balance import files, plot, report
from benchmarks.balance.report import Judged
from benchmarks.balance.session import Result
from benchmarks.balance.table import ROWS


def judge(result: Result) -> list[Judged]:
    """All rows of the table that the session was to run."""
    wanted = {job.key.contender for unit in result.units for job in unit.jobs}
    names = {cell.name for cell in result.cells}
    return [
        report.judged(row, result.entries)
        for row in ROWS
        if row.cell.name in names and row.contender in wanted
    ]


def text(result: Result, rows: list[Judged], wanted: int) -> str:
    """Everything that is to be read, in Markdown.

    Args:
        result: Of the session.
        rows: Judged.
        wanted: Repetitions of each scenario.
    """
    names = list(dict.fromkeys(job.contender.name for unit in result.units for job in unit.jobs))
    there = {(entry.key.scenario, entry.key.sidecars) for entry in result.entries}
    whole = Counter(
        {cell.name: 0 for cell in result.cells}
        | Counter(
            unit.jobs[0].cell.name
            for unit in result.units
            if not unit.left({entry.key for entry in result.entries})
        )
    )
    parts = [
        f"# Balance, {result.opening.machine.get('when', '')}",
        " · ".join(f"{name} {value}" for name, value in result.opening.machine.items()),
        f"Lanes: {result.opening.lanes}. What measuring costs, replicas answering at once:",
        "\n".join(f"- {sentence}" for sentence in result.opening.costs),
        "Settings:",
        report.settings(names),
        "Latencies are in ms, by class. Each is compared with the best peer's that did not"
        " collapse, with the same seeds: median of the ratios (lowest–highest)."
        " CPU is in cores, of all.",
        report.overview(rows),
        report.missing(whole, wanted),
        *(
            report.table(cell, result.entries)
            for cell in result.cells
            if (cell.scenario.name, cell.sidecars) in there
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(result: Result, wanted: int) -> None:
    """Show and keep everything."""
    rows = judge(result)
    said = text(result, rows, wanted)
    click.echo("\n" + said)
    outputs = {
        "csv": files.as_csv(result.entries),
        "json": files.as_json(result.opening, rows, result.entries),
        "md": said,
    }
    for suffix, content in outputs.items():
        path = result.path.with_suffix(f".{suffix}")
        path.write_text(content)
        click.echo(f"written: {path}")
    if result.entries:
        picture = result.path.with_suffix(".png")
        there = {(entry.key.scenario, entry.key.sidecars) for entry in result.entries}
        shown = [cell for cell in result.cells if (cell.scenario.name, cell.sidecars) in there]
        plot.draw(shown, result.entries, picture)
        click.echo(f"written: {picture}")
