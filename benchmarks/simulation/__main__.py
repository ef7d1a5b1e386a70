"""The command line: contenders in scenarios with the same seeds, then a table."""

from collections.abc import Mapping, Sequence
from random import Random
from statistics import median
from typing import Final

import click

from benchmarks.balance.scenario import Scenario
from benchmarks.balance.table import SCENARIOS
from benchmarks.simulation.contenders import CONTENDERS, Contender
from benchmarks.simulation.control import Measuring
from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.measures import Run, ratios, run_of, stillness_of

PLAYED: Final = {name: it for name, it in SCENARIOS.items() if it.filling is None}
"""The scenarios of the benchmark with real Envoys, but for memory."""


@click.command
@click.option("--seeds", type=click.IntRange(1), default=10, show_default=True)
@click.option("--first-seed", type=int, default=1, show_default=True)
@click.option("--sidecars", multiple=True, type=click.IntRange(1), default=(1, 12))
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(PLAYED)))
@click.option("--contender", "wanted", multiple=True, help="Only those whose name has this in it.")
def main(
    seeds: int,
    first_seed: int,
    sidecars: tuple[int, ...],
    names: tuple[str, ...],
    wanted: tuple[str, ...],
) -> None:
    """Compare how contenders balance, in simulated time."""
    contenders = [
        each
        for each in CONTENDERS
        if each.peer or not wanted or any(part in each.name for part in wanted)
    ]
    for name in names or PLAYED:
        for count in sidecars:
            scenario = PLAYED[name]
            runs = {
                each.name: [
                    play(each, scenario, count, seed)
                    for seed in range(first_seed, first_seed + seeds)
                ]
                for each in contenders
            }
            click.echo(table(scenario, count, runs, [it.name for it in contenders if it.peer]))


def play(contender: Contender, scenario: Scenario, sidecars: int, seed: int) -> Run:
    """Run one contender once."""
    random = Random(seed + 1000)
    proxies, long = (
        [contender.sidecar(scenario, random) for _ in range(sidecars)] for _ in range(2)
    )
    fleet = Fleet(scenario, proxies, seed, long)
    control = contender.control(scenario, sidecars)
    latencies = fleet.play(control)
    stillness = None
    if isinstance(control, Measuring):
        stillness = stillness_of(control.weighings, scenario.speeds, scenario.timing.warm_up)
    return run_of(latencies, stillness)


def table(
    scenario: Scenario, sidecars: int, runs: Mapping[str, Sequence[Run]], peers: Sequence[str]
) -> str:
    """Medians over seeds, and ratios to the peer with the lowest median."""
    best50 = min(peers, key=lambda name: median(run.p50 for run in runs[name]))
    best99 = min(peers, key=lambda name: median(run.p99 for run in runs[name]))
    lines = [
        f"\n{scenario.name}; {sidecars} sidecar{'s' * (sidecars > 1)}",
        f"{'':28}{'p50':>7}{'p99':>7}   {'p50 ×':20}{'p99 ×':20}"
        f"{'pushes':>7}{'moves':>6}{'split':>6}{'error':>6}",
    ]
    for name, found in runs.items():
        line = f"{name:28}{median(r.p50 for r in found):7.0f}{median(r.p99 for r in found):7.0f}   "
        for mine, theirs in (
            ([run.p50 for run in found], [run.p50 for run in runs[best50]]),
            ([run.p99 for run in found], [run.p99 for run in runs[best99]]),
        ):
            middle, low, high = ratios(mine, theirs)
            line += f"{f'{middle:.2f} ({low:.2f}–{high:.2f})':20}"
        still = [run.stillness for run in found if run.stillness]
        if still:
            line += (
                f"{median(it.pushes for it in still):7.0f}{median(it.moves for it in still):6.1f}"
            )
            line += (
                f"{median(it.split for it in still):6.2f}{median(it.error for it in still):6.2f}"
            )
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
