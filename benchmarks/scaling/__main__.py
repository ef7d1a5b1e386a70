"""The command line: every autoscaler on every load, then a table."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Final

import click

from benchmarks.scaling.curves import lines
from benchmarks.scaling.draws import KINDS, draw
from benchmarks.scaling.loads import SHAPES
from benchmarks.scaling.play import Result, Run, play
from benchmarks.scaling.scalers import OBJECTIVE, SCALERS

DRAWN: Final = "{} loads of each kind, 0.4 to 2.5 times as much, cold start 20 to 180 s"


@click.command
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--cold-start", type=float, default=60.0, show_default=True, help="Seconds.")
@click.option("--drawn", type=int, default=0, help="So many loads of each kind, drawn at random.")
@click.option("--curves", is_flag=True, help="Vary each target; compare at equal replica-hours.")
@click.option("--shape", "names", multiple=True, help="Only these.")
def main(
    seeds: int, cold_start: float, drawn: int, names: tuple[str, ...], *, curves: bool
) -> None:
    """Compare autoscalers on loads that change, in simulated time."""
    named = {
        shape.name: [Run(shape, seed, 1.0, cold_start) for seed in range(1, seeds + 1)]
        for shape in SHAPES
        if not names or shape.name in names
    }
    loads = {
        name: [draw(kind, seed) for seed in range(drawn)]
        for name, kind in KINDS.items()
        if not names or name in names
    }
    click.echo(f"p99 objective {OBJECTIVE:g} s; means over runs")
    if drawn:
        click.echo(DRAWN.format(drawn))
    if curves:
        _curves(loads if drawn else named)
        return
    columns = ("late", 8), ("minutes over", 14), ("replica-hours", 15), ("most", 6)
    head = "".join(f"{name:>{width}}" for name, width in columns)
    click.echo(f"{'load':12}{'autoscaler':20}{head}")
    for name, runs in (loads if drawn else named).items():
        for line in _lines(name, runs, compared=drawn > 0):
            click.echo(line)


def _curves(loads: Mapping[str, Sequence[Run]]) -> None:
    click.echo(
        "Last: how much more is late than with Plimsoll at as many replica-hours, in points of"
        " percent [least … most]"
    )
    click.echo(f"{'load':12}{'autoscaler':20}{'late':>8}{'±':>8}{'hours':>9}{'more late':>10}")
    for name, runs in loads.items():
        for line in lines(name, runs):
            click.echo(line)


def _lines(load: str, runs: Sequence[Run], *, compared: bool) -> Iterator[str]:
    found = {each.name: [play(each, *run) for run in runs] for each in SCALERS}
    for name, results in found.items():
        yield (
            f"{load:12}{name:20}{100 * fmean(result.late for result in results):7.2f}%"
            f"{fmean(result.minutes for result in results):14.1f}"
            f"{fmean(result.hours for result in results):15.1f}"
            f"{max(result.most for result in results):6}"
        )
    if compared:
        ours = found[SCALERS[-1].name]
        for name in [item.name for item in SCALERS[:-1]]:
            better = [_better(*pair) for pair in zip(ours, found[name], strict=True)]
            words = f"no more late and no more replica-hours than {name}"
            yield f"{'':12}{words}: {sum(better)} of {len(better)}"


def _better(ours: Result, other: Result) -> bool:
    return ours.late <= other.late and ours.hours <= other.hours


if __name__ == "__main__":
    main()
