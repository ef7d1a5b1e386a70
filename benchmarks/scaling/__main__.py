"""The command line: every autoscaler on every load, then a table."""

from collections.abc import Iterator, Sequence
from random import Random
from statistics import fmean

import click

from benchmarks.scaling.loads import SHAPES, Shape
from benchmarks.scaling.play import Result, play
from benchmarks.scaling.scalers import OBJECTIVE, SCALERS


@click.command
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--cold-start", type=float, default=60.0, show_default=True, help="Seconds.")
@click.option("--drawn", type=int, default=0, help="So many loads of each shape drawn at random.")
@click.option("--shape", "names", multiple=True, help="Only these.")
def main(seeds: int, cold_start: float, drawn: int, names: tuple[str, ...]) -> None:
    """Compare autoscalers on loads that change, in simulated time."""
    shapes = [item for item in SHAPES if not names or item.name in names]
    click.echo(f"p99 objective {OBJECTIVE:g} s; means over runs")
    columns = ("late", 8), ("minutes over", 14), ("replica-hours", 15), ("most", 6)
    head = "".join(f"{name:>{width}}" for name, width in columns)
    click.echo(f"{'load':12}{'autoscaler':20}{head}")
    for shape in shapes:
        for line in _lines(shape, [(seed, 1.0, cold_start) for seed in range(1, seeds + 1)]):
            click.echo(line)
    if not drawn:
        return
    click.echo(f"\n{drawn} loads of each shape, 0.4 to 2.5 times as much, cold start 20 to 180 s")
    for shape in shapes:
        random = Random(shape.name)
        runs = [
            (100 + n, 0.4 * 6.25 ** random.random(), 20 * 9 ** random.random())
            for n in range(drawn)
        ]
        for line in _lines(shape, runs, compared=True):
            click.echo(line)


def _lines(
    shape: Shape, runs: Sequence[tuple[int, float, float]], *, compared: bool = False
) -> Iterator[str]:
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
