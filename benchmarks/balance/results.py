"""A session's end: tables on the screen; CSV, JSON, Markdown and a picture beside the journal."""

from collections import Counter

import click

from benchmarks.balance import files, plot, report
from benchmarks.balance.report import Judged
from benchmarks.balance.session import Result
from benchmarks.balance.table import ROWS


def judge(result: Result) -> list[Judged]:
    """All rows of the table that the session was to run, with its numbers of sidecars."""
    wanted = {job.key.contender for unit in result.units for job in unit.jobs}
    return [
        report.judged(row, scenario.sidecars, result.entries)
        for row in ROWS
        for scenario in result.scenarios
        if scenario.name == row.scenario and row.contender in wanted
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
        {scenario.cell: 0 for scenario in result.scenarios}
        | Counter(
            unit.jobs[0].scenario.cell
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
        "p99 and p50 are compared with the best peer's that did not collapse, with the same seeds:"
        " median of the ratios (lowest–highest).",
        report.overview(rows),
        report.missing(whole, wanted),
        *(
            report.table(scenario, result.entries)
            for scenario in result.scenarios
            if (scenario.name, scenario.sidecars) in there
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
        shown = [it for it in result.scenarios if (it.name, it.sidecars) in there]
        plot.draw(shown, result.entries, picture)
        click.echo(f"written: {picture}")
