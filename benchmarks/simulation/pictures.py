"""Pictures for docs/balancing.md, from simulated runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import click

from benchmarks.simulation.balancing import Balanced
from benchmarks.simulation.contenders import PLIMSOLL, Job, named, play_all
from benchmarks.simulation.envoys import Envoys
from benchmarks.simulation.fleet import Fleet
from benchmarks.worlds.scenarios import SCENARIOS
from benchmarks.worlds.traffic import Arrival
from controlplane.tools.load.record import nearest_rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDECARS: Final = 12
LOADS: Final = ("classes-40", "classes-70", "classes-85", "classes-95")
JOB: Final = "bulk-job-70"
SHOWN: Final = {"FULL_SCAN": "C7", "leastconn, true weights": "C1", "Plimsoll": "C0"}
"""Contenders, and the color of each."""
STEP: Final = 2.0
"""Seconds of requests behind one point of a line."""


@dataclass(frozen=True, slots=True)
class _Play:
    """One run: when requests came, how long they took, and how many replicas searches had."""

    searches: Sequence[tuple[float, float]]
    bulk: Sequence[float]
    replicas: Sequence[tuple[float, int]]


class _Watched(Fleet):
    """A fleet that remembers when each request came."""

    def done(self, arrival: Arrival) -> None:
        """Take note of a request that is answered."""
        self.answered.append((arrival.at, self.clock.now - arrival.at, arrival.kind))
        super().done(arrival)

    answered: list[tuple[float, float, str]]


@click.command
@click.argument("folder", type=click.Path(path_type=Path), default=Path("docs/pictures"))
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True)
def main(folder: Path, seeds: int, processes: int) -> None:
    """Draw the pictures of docs/balancing.md."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    _loads(figure.subplots(1, 2), seeds, processes)
    figure.savefig(folder / "classes.png", dpi=110)
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    _bulk_job(*figure.subplots(2, 1, sharex=True, height_ratios=(3, 1)))
    figure.savefig(folder / "bulk-job.png", dpi=110)


def _loads(panels: "Sequence[Axes]", seeds: int, processes: int) -> None:
    every = range(1, seeds + 1)
    jobs = [Job(name, SIDECARS, who, seed) for name in LOADS for who in SHOWN for seed in every]
    runs = dict(zip(jobs, play_all(jobs, processes), strict=True))
    for axes, kind in zip(panels, ("search", "bulk"), strict=True):
        for place, (who, color) in enumerate(SHOWN.items()):
            heights = [
                median(runs[Job(name, SIDECARS, who, seed)].p99(kind) for seed in every) / 1e3
                for name in LOADS
            ]
            where = [at + (place - 1) * 0.27 for at in range(len(LOADS))]
            axes.bar(where, heights, 0.25, color=color, label=who)
        axes.set_xticks(range(len(LOADS)), [f"{SCENARIOS[name].load:.0%}" for name in LOADS])
        axes.set_xlabel("load")
        axes.set_ylabel(f"p99 of {kind}, s")
        axes.legend()


def _bulk_job(times: "Axes", sets: "Axes") -> None:
    for who, color in SHOWN.items():
        run = _play(who)
        points = sorted({STEP * (at // STEP) for at, _ in run.searches})
        tails = [
            nearest_rank([took for at, took in run.searches if start <= at < start + STEP], 0.99)
            for start in points
        ]
        times.plot(points, tails, color=color, label=who)
        if run.replicas:
            sets.step(*zip(*run.replicas, strict=True), where="post", color=color)
        if run.bulk:
            for axes in (times, sets):
                axes.axvspan(min(run.bulk), max(run.bulk), color="C8", alpha=0.08)
    times.set_yscale("log")
    times.set_ylabel("p99 of searches, s")
    times.legend()
    sets.set_ylabel("replicas\nfor searches")
    sets.set_xlabel("seconds; shaded: the bulk job")


def _play(who: str) -> _Play:
    scenario = SCENARIOS[JOB]
    steered: list[Balanced] = []

    def ours(fleet: Fleet) -> Envoys:
        steered.append(Balanced(fleet))
        return Envoys(fleet, steered[0])

    fleet = _Watched(scenario, SIDECARS, 1, ours if who == PLIMSOLL else named(who).make)
    fleet.answered = []
    fleet.play()
    decisions = steered[0].decisions if steered else []
    return _Play(
        [(at, took) for at, took, kind in fleet.answered if kind == "search"],
        [at for at, _, kind in fleet.answered if kind == "bulk"],
        [(each.at, len(each.division.sets.get("", ()))) for each in decisions],
    )


if __name__ == "__main__":
    main()
