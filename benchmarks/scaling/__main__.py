"""The command line: every autoscaler on every load, then a table."""

from collections.abc import Iterator, Sequence
from random import Random
from statistics import fmean
from typing import Final

import click

from benchmarks.scaling.curves import Run, lines
from benchmarks.scaling.loads import SHAPES, Shape
from benchmarks.scaling.play import Result, play
from benchmarks.scaling.scalers import OBJECTIVE, SCALERS

DRAWN: Final = "{} loads of each shape, 0.4 to 2.5 times as much, cold start 20 to 180 s"


@click.command
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--cold-start", type=float, default=60.0, show_default=True, help="Seconds.")
@click.option("--drawn", type=int, default=0, help="So many loads of each shape drawn at random.")
@click.option("--curves", is_flag=True, help="Vary each target; compare at equal replica-hours.")
@click.option("--shape", "names", multiple=True, help="Only these.")
def main(
    seeds: int, cold_start: float, drawn: int, names: tuple[str, ...], *, curves: bool
) -> None:
    """Compare autoscalers on loads that change, in simulated time."""
    shapes = [item for item in SHAPES if not names or item.name in names]
    click.echo(f"p99 objective {OBJECTIVE:g} s; means over runs")
    if curves:
        _curves(shapes, seeds, cold_start, drawn)
        return
    columns = ("late", 8), ("minutes over", 14), ("replica-hours", 15), ("most", 6)
    head = "".join(f"{name:>{width}}" for name, width in columns)
    click.echo(f"{'load':12}{'autoscaler':20}{head}")
    for shape in shapes:
        for line in _lines(shape, _alike(seeds, cold_start)):
            click.echo(line)
    if not drawn:
        return
    click.echo(f"\n{DRAWN.format(drawn)}")
    for shape in shapes:
        for line in _lines(shape, _drawn(shape, drawn), compared=True):
            click.echo(line)


def _curves(shapes: Sequence[Shape], seeds: int, cold_start: float, drawn: int) -> None:
    click.echo(
        "Last: how much more is late than with Plimsoll at as many replica-hours, in points of"
        " percent [least … most]"
    )
    if drawn:
        click.echo(DRAWN.format(drawn))
    click.echo(f"{'load':12}{'autoscaler':20}{'late':>8}{'±':>8}{'hours':>9}{'more late':>10}")
    for shape in shapes:
        for line in lines(shape, _drawn(shape, drawn) if drawn else _alike(seeds, cold_start)):
            click.echo(line)


def _alike(seeds: int, cold_start: float) -> list[Run]:
    return [(seed, 1.0, cold_start) for seed in range(1, seeds + 1)]


def _drawn(shape: Shape, count: int) -> list[Run]:
    random = Random(shape.name)
    return [
        (100 + n, 0.4 * 6.25 ** random.random(), 20 * 9 ** random.random()) for n in range(count)
    ]


def _lines(shape: Shape, runs: Sequence[Run], *, compared: bool = False) -> Iterator[str]:
    found = {each.name: [play(each, shape, *run) for run in runs] for each in SCALERS}
    for name, results in found.items():
        yield (
            f"{shape.name:12}{name:20}{100 * fmean(result.late for result in results):7.2f}%"
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
