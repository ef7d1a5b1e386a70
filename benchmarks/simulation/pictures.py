"""Pictures for docs/balancing.md, from simulated runs."""

from collections.abc import Callable, Sequence
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
from benchmarks.worlds.worlds import BATCHING
from controlplane.balancing import Decision
from controlplane.tools.load.record import nearest_rank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDECARS: Final = 12
LOADS: Final = ("classes-40", "classes-70", "classes-85", "classes-95")
JOB: Final = "bulk-job-70"
SHOWN: Final = {
    "FULL_SCAN": ("#9aa0a6", "Envoy, full scan"),
    "leastconn, true weights": ("#c26a00", "HAProxy, true weights"),
    "Plimsoll": ("#0b6fb8", "Plimsoll"),
}
"""Contenders, with the color and the label of each."""
STEP: Final = 2.0
"""Seconds of requests behind one point of a line."""
DPI: Final = 200
"""Seven inches are 1,400 pixels, which pages show at half of that."""


@dataclass(frozen=True, slots=True)
class _Play:
    """One run: when requests came and how long they took, by kind, and what was decided."""

    answered: Sequence[tuple[float, float, str]]
    decisions: Sequence[Decision]

    def tails(self, kind: str) -> tuple[list[float], list[float]]:
        """Times, and the p99 in seconds of the requests that came in the step after each."""
        steps: dict[float, list[float]] = {}
        for at, took, each in self.answered:
            if kind == each:
                steps.setdefault(STEP * (at // STEP), []).append(took)
        points = sorted(steps)
        return points, [nearest_rank(steps[at], 0.99) for at in points]


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
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    def save(name: str, height: float, draw: "Callable[[Figure], None]") -> None:
        figure = Figure(figsize=(7, height), layout="constrained")
        draw(figure)
        figure.savefig(folder / f"{name}.png", dpi=DPI)

    folder.mkdir(parents=True, exist_ok=True)
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        save("classes", 2.9, lambda figure: _loads(figure, seeds, processes))
        save("bulk-job", 3.4, _bulk_job)
        save("batches", 2.7, _batches)


def _loads(figure: "Figure", seeds: int, processes: int) -> None:
    every = range(1, seeds + 1)
    jobs = [Job(name, SIDECARS, who, seed) for name in LOADS for who in SHOWN for seed in every]
    runs = dict(zip(jobs, play_all(jobs, processes), strict=True))
    panels = figure.subplots(1, 2)
    for axes, kind, what in zip(panels, ("search", "bulk"), ("searches", "bulk"), strict=True):
        for place, (who, (color, label)) in enumerate(SHOWN.items()):
            heights = [
                median(runs[Job(name, SIDECARS, who, seed)].p99(kind) for seed in every) / 1e3
                for name in LOADS
            ]
            where = [at + (place - 1) * 0.27 for at in range(len(LOADS))]
            bars = axes.bar(where, heights, 0.25, color=color, label=label)
            axes.bar_label(bars, [_short(each) for each in heights], fontsize=6.5, padding=1)
        axes.set_xticks(range(len(LOADS)), [f"{SCENARIOS[name].load:.0%}" for name in LOADS])
        axes.set_xlabel("load, of the capacity of all replicas")
        axes.set_title(f"p99 of {what}, seconds", loc="left", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(SHOWN), frameon=False)


def _short(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 1 else f"{seconds:.1f}"


def _bulk_job(figure: "Figure") -> None:
    times, sets = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    for who, (color, label) in SHOWN.items():
        run = _play(JOB, who)
        times.plot(*run.tails("search"), color=color, label=label)
        if run.decisions:
            when = [each.at for each in run.decisions]
            searches = [len(each.division.sets.get("", ())) for each in run.decisions]
            sets.step(when, searches, where="post", color=color)
    bulk = [at for at, _, kind in run.answered if kind == "bulk"]
    for axes in (times, sets):
        axes.axvspan(min(bulk), max(bulk), color="#f2c14e", alpha=0.18, linewidth=0)
    middle = (min(bulk) + max(bulk)) / 2
    times.text(middle, 0.45, "a bulk job runs", ha="center")
    times.set_yscale("log")
    times.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    times.grid(axis="y", color="#dddddd", linewidth=0.6)
    times.set_title("p99 of searches, seconds", loc="left", fontsize=9)
    sets.set_title(
        f"Plimsoll: replicas for searches alone, of {len(run.decisions[-1].rows)}",
        loc="left",
        fontsize=9,
    )
    sets.set_ylim(0, 4)
    sets.set_xlim(30, SCENARIOS[JOB].timing.total)
    sets.set_xlabel("seconds")
    figure.legend(loc="outside upper center", ncols=len(SHOWN), frameon=False)


def _batches(figure: "Figure") -> None:
    seconds, rates = figure.subplots(1, 2)
    most = BATCHING.limits.tokens
    sizes = [most * 2 ** (step / 16 - 8) for step in range(129)]
    for speed, color in ((1.0, SHOWN["FULL_SCAN"][0]), (4.0, SHOWN[PLIMSOLL][0])):
        curve = BATCHING.curve.at(speed)
        label = "a replica" if speed == 1 else f"one that computes {speed:g} times as fast"
        seconds.plot(sizes, [curve.seconds(size) for size in sizes], color=color, label=label)
        rates.plot(sizes, [size / curve.seconds(size) for size in sizes], color=color)
        full = most / curve.seconds(most)
        rates.plot([most], [full], "o", color=color)
        rates.annotate(
            f"capacity {full:,.0f}",
            (most, full),
            xytext=(-8, 4),
            textcoords="offset points",
            ha="right",
        )
    rates.yaxis.set_major_formatter("{x:,.0f}")
    for axes, title in ((seconds, "seconds for a batch"), (rates, "tokens per second")):
        axes.set_xscale("log", base=2)
        axes.set_xticks([16, 64, 256, 2048], ["16", "64", "256", "2,048"])
        axes.set_xlabel("tokens in the batch")
        axes.set_title(title, loc="left", fontsize=9)
        axes.set_ylim(bottom=0)
    rates.set_ylim(top=11_500)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)


def _play(name: str, who: str) -> _Play:
    steered: list[Balanced] = []

    def ours(fleet: Fleet) -> Envoys:
        steered.append(Balanced(fleet))
        return Envoys(fleet, steered[0])

    fleet = _Watched(SCENARIOS[name], SIDECARS, 1, ours if who == PLIMSOLL else named(who).make)
    fleet.answered = []
    fleet.play()
    return _Play(fleet.answered, steered[0].decisions if steered else [])


if __name__ == "__main__":
    main()
