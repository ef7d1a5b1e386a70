"""Autoscalers with their targets varied: late requests beside replica-hours, as curves.

One target of each compares two points at two prices. A curve says how many requests are late at
any price, so here each point of an autoscaler is held against Plimsoll at as many replica-hours.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean, pstdev
from typing import NamedTuple

from benchmarks.scaling.play import Run, play
from benchmarks.scaling.scalers import FAMILIES, Scaler


class Point(NamedTuple):
    """What one run came to with one target."""

    hours: float
    late: float


def late_at(curve: Sequence[Point], hours: float) -> float | None:
    """Read the part of late requests off a curve, between its points, for so many replica-hours.

    None where each point costs more. A point that costs more than another and has more late
    requests counts as the other: nobody would choose it.
    """
    best, envelope = 1.0, list[Point]()
    for point in sorted(curve):
        best = min(best, point.late)
        envelope.append(Point(point.hours, best))
    if hours < envelope[0].hours:
        return None
    for before, after in pairwise(envelope):
        if hours < after.hours:
            part = (hours - before.hours) / (after.hours - before.hours)
            return before.late + part * (after.late - before.late)
    return envelope[-1].late


def lines(load: str, runs: Sequence[Run]) -> Iterator[str]:
    """Play a load with each target of each autoscaler; the last of them is Plimsoll."""
    found = {
        (family.name, target): [_point(family.scaler(target), run) for run in runs]
        for family in FAMILIES
        for target in family.targets
    }
    ours = FAMILIES[-1]
    curves = [[found[ours.name, target][n] for target in ours.targets] for n in range(len(runs))]
    for (name, target), points in found.items():
        late = [100 * point.late for point in points]
        line = (
            f"{load:12}{f'{name} {target:g}':20}{fmean(late):7.2f}% ±{pstdev(late):6.2f}"
            f"{fmean(point.hours for point in points):9.1f}"
        )
        if name != ours.name:
            line += _beside(points, curves)
        yield line


def _beside(points: Sequence[Point], curves: Sequence[Sequence[Point]]) -> str:
    same = [late_at(curve, point.hours) for point, curve in zip(points, curves, strict=True)]
    more = [
        100 * (point.late - late)
        for point, late in zip(points, same, strict=True)
        if late is not None
    ]
    cheaper = len(points) - len(more)
    words = f"   {fmean(more):+7.2f} [{min(more):+.2f} … {max(more):+.2f}]" if more else ""
    return f"{words}   {cheaper} of {len(points)} cheaper than Plimsoll" if cheaper else words


def _point(scaler: Scaler, run: Run) -> Point:
    result = play(scaler, *run)
    return Point(result.hours, result.late)
