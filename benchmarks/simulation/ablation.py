"""What every step of the pipeline is worth: each one taken out, in worlds where it may matter.

A step is replaced by one that passes its input on. Out comes a table of p99 without it, relative to
p99 with everything, for the class that suffers most; a step that is worth less than 3 % everywhere
has not earned its place.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import median
from typing import Final

import click
import numpy as np

from benchmarks.simulation.balancing import Balanced
from benchmarks.simulation.envoys import Envoys
from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.measures import ALL, run_of
from benchmarks.worlds.scenarios import SCENARIOS
from controlplane.balancing import (
    STAGES,
    backlog,
    capacity,
    collapse,
    division,
    sets,
    shares,
    tiers,
)
from controlplane.balancing import fleet as fleets
from controlplane.balancing.frame import Frame
from controlplane.balancing.pipeline import Stage

WORLDS: Final = (
    "classes-70",
    "searches-70",
    "batching-80",
    "batching-slowed-55",
    "batching-cold-80",
    "mixed-80",
    "mixed-90",
    "slowed-55",
    "cold-80",
    "equal-80",
)
EVERYTHING: Final = "everything"


def _no_mixing(frame: Frame) -> None:
    capacity.mixed(frame)
    own = frame.measured
    frame.mixed = np.where(np.isnan(own), frame.mixed, own)


def _no_limit_on_equal(frame: Frame) -> None:
    shares.relative(frame)
    frame.target = np.clip(frame.to_median, 0.05, 10.0)


def _no_slow_start(frame: Frame) -> None:
    frame.starting = np.zeros(frame.size, np.bool_)
    frame.after_start = frame.target


def _no_overload(frame: Frame) -> None:
    frame.overloaded = np.zeros(frame.size, np.bool_)
    frame.after_overload = frame.after_start


def _no_damping(frame: Frame) -> None:
    shares.damping(frame)
    frame.relative = frame.after_overload


def _nothing(_: Frame) -> None:
    """Leave things as they are."""


def _together(frame: Frame) -> None:
    frame.pool = replace(frame.pool, division=division.Division())


def _one_tier(frame: Frame) -> None:
    tiers.placement(frame)
    frame.state.band[:] = 0


WITHOUT: Final[Mapping[str, Mapping[Stage, Stage]]] = {
    "the mix of few requests with the median": {capacity.mixed: _no_mixing},
    "equal shares for about equal replicas": {shares.relative: _no_limit_on_equal},
    "slow start": {shares.slow_start: _no_slow_start},
    "overload": {backlog.overload: _no_overload},
    "damping": {shares.damping: _no_damping},
    "headroom": {shares.utilisation: _nothing},
    "tiers": {tiers.placement: _one_tier},
    "parting": {sets.part: _together},
}
"""Stages to put in the place of others, by what is taken out."""

CONSTANTS: Final[Mapping[str, Sequence[tuple[object, str, float]]]] = {
    "backlogs of tiers": [(backlog, "MOST", 0.0)],
    "tiers of one": [(tiers, "MANY_ENVOYS", 1e9)],
    "the least number of Envoys for tiers of one": [(tiers, "MANY_ENVOYS", 0)],
    "collapse": [(collapse, "LATE", 0.0)],
    "long requests to fast replicas": [(fleets, "FASTER", 1e9)],
    "relief of searches": [(division, "CROWDED", 1e9)],
}
"""What is taken out by a number that makes it do nothing."""


def play(job: tuple[str, int, str, int]) -> dict[str, float]:
    """The p99 of each class in one run without something, in milliseconds."""
    name, dispatchers, without, seed = job
    swapped = WITHOUT.get(without, {})
    stages = tuple(swapped.get(stage, stage) for stage in STAGES)
    changed = CONSTANTS.get(without, [])
    before = [(module, key, getattr(module, key)) for module, key, _ in changed]
    for module, key, value in changed:
        setattr(module, key, value)
    try:
        make: Callable[[Fleet], Envoys] = lambda fleet: Envoys(fleet, Balanced(fleet, stages))  # noqa: E731
        run = run_of(Fleet(SCENARIOS[name], dispatchers, seed, make).play(), None)
    finally:
        for module, key, value in before:
            setattr(module, key, value)
    kinds = [kind for kind in run.percentiles if kind != ALL] or [ALL]
    return {kind: run.percentiles[kind][1] for kind in kinds}


@click.command
@click.option("--seeds", type=click.IntRange(1), default=16, show_default=True)
@click.option("--sidecars", type=click.IntRange(1), default=12, show_default=True)
@click.option("--world", "worlds", multiple=True, type=click.Choice(list(SCENARIOS)))
@click.option("--without", "only", multiple=True, help="Only steps that have this in their name.")
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True)
def main(
    seeds: int, sidecars: int, worlds: tuple[str, ...], only: tuple[str, ...], processes: int
) -> None:
    """Take each step out, in each world."""
    wanted = worlds or WORLDS
    steps = [*WITHOUT, *CONSTANTS]
    wanted_steps = [step for step in steps if not only or any(part in step for part in only)]
    variants = [EVERYTHING, *wanted_steps]
    click.echo("| without | " + " | ".join(wanted) + " |")
    click.echo("|---|" + "---:|" * len(wanted))
    with ProcessPoolExecutor(processes) as pool:
        found: dict[tuple[str, str], list[dict[str, float]]] = {}
        for variant in variants:
            jobs = [
                (name, sidecars, variant, seed) for name in wanted for seed in range(1, seeds + 1)
            ]
            for job, percentiles in zip(jobs, pool.map(play, jobs), strict=True):
                found.setdefault((variant, job[0]), []).append(percentiles)
            cells = [_cell(found, variant, name) for name in wanted]
            click.echo(f"| {variant} | " + " | ".join(cells) + " |")


def _cell(
    found: Mapping[tuple[str, str], Sequence[Mapping[str, float]]], variant: str, name: str
) -> str:
    """The largest ratio over classes of the median p99; in milliseconds with everything."""
    runs, usual = found[variant, name], found[EVERYTHING, name]
    kinds = list(usual[0])
    if variant == EVERYTHING:
        return " / ".join(f"{median(run[kind] for run in usual):.0f} ms" for kind in kinds)
    ratios = [
        median(run[kind] / other[kind] for run, other in zip(runs, usual, strict=True))
        for kind in kinds
    ]
    return " / ".join(f"{ratio:.2f}" for ratio in ratios)


if __name__ == "__main__":
    main()
