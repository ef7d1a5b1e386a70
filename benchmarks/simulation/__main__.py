"""The command line: contenders in scenarios with the same seeds, then a table."""

from collections.abc import Mapping, Sequence
from statistics import median

import click

from benchmarks.simulation.contenders import CONTENDERS, Contender, Job, play_all
from benchmarks.simulation.measures import ALL, Run, ratios
from benchmarks.worlds.scenarios import SCENARIOS, Scenario


@click.command
@click.option("--seeds", type=click.IntRange(1), default=10, show_default=True)
@click.option("--first-seed", type=int, default=1, show_default=True)
@click.option("--sidecars", multiple=True, type=click.IntRange(1), default=(1, 12))
@click.option("--scenario", "names", multiple=True, help="A name, or how some names begin.")
@click.option("--contender", "wanted", multiple=True, help="Only those whose name has this in it.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True)
@click.option("--list", "only_list", is_flag=True, help="Name scenarios and contenders.")
def main(
    seeds: int,
    first_seed: int,
    sidecars: tuple[int, ...],
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    processes: int,
    *,
    only_list: bool,
) -> None:
    """Compare how contenders balance, in simulated time."""
    if only_list:
        click.echo("\n".join(_described(scenario) for scenario in SCENARIOS.values()))
        click.echo("\n" + "\n".join(contender.name for contender in CONTENDERS))
        return
    unknown = [name for name in names if not any(known.startswith(name) for known in SCENARIOS)]
    if unknown:
        raise click.BadParameter(f"no scenario begins with {unknown[0]!r}; see --list")
    contenders = [
        each
        for each in CONTENDERS
        if each.peer or not wanted or any(part in each.name for part in wanted)
    ]
    every = range(first_seed, first_seed + seeds)
    for scenario in SCENARIOS.values():
        if names and not any(_is_meant(name, scenario) for name in names):
            continue
        for count in sidecars:
            jobs = [Job(scenario.name, count, c.name, seed) for c in contenders for seed in every]
            runs = dict(zip(jobs, play_all(jobs, processes), strict=True))
            by_name = {
                c.name: [runs[Job(scenario.name, count, c.name, seed)] for seed in every]
                for c in contenders
            }
            click.echo(table(scenario, count, contenders, by_name))


def _is_meant(name: str, scenario: Scenario) -> bool:
    return scenario.name == name or (name not in SCENARIOS and scenario.name.startswith(name))


def _described(scenario: Scenario) -> str:
    speeds = ", ".join(f"{speed:.3g}" for speed in scenario.speeds[:8])
    more = ", …" if len(scenario.speeds) > 8 else ""
    return (
        f"{scenario.name:24}{scenario.traffic.name:18}{scenario.load:4.0%}"
        f" {scenario.rate:7.1f}/s  {len(scenario.speeds)} replicas: {speeds}{more}"
    )


def table(
    scenario: Scenario,
    sidecars: int,
    contenders: Sequence[Contender],
    runs: Mapping[str, Sequence[Run]],
) -> str:
    """Medians over seeds, and ratios to the peer with the lowest median."""
    kinds = list(next(iter(runs.values()))[0].percentiles)
    kinds = [*(kind for kind in kinds if kind != ALL), ALL]
    peers = [each.name for each in contenders if each.peer]
    lines = [
        f"\n{scenario.name}; {sidecars} sidecar{'s' * (sidecars > 1)}",
        " " * 34
        + "".join(f"{f'{kind} p50':>11}{'p99':>7}  {'p50 ×':18}{'p99 ×':18}" for kind in kinds)
        + f"{'busy':>5}{'tokens/s':>9}{'failed':>7}{'pushes':>7}{'moves':>6}",
    ]
    for name, found in runs.items():
        line = f"{name:34}"
        for kind in kinds:
            for which in (0, 1):
                line += f"{_median(found, kind, which):{11 if which == 0 else 7}.0f}"
            line += "  "
            for which in (0, 1):
                best = min(peers, key=lambda peer: _median(runs[peer], kind, which))
                middle, low, high = ratios(
                    *([run.percentiles[kind][which] for run in runs[each]] for each in (name, best))
                )
                line += f"{f'{middle:.2f} ({low:.2f}–{high:.2f})':18}"
        line += (
            f"{median(run.busy for run in found):5.2f}{median(run.tokens for run in found):9.0f}"
        )
        line += f"{max(run.failed for run in found):7.1%}"
        still = [run.stillness for run in found if run.stillness]
        if still:
            line += f"{median(each.pushes for each in still):7.1f}"
            line += f"{median(each.moves for each in still):6.1f}"
        if any(run.collapsed for run in found):
            line += "  collapsed"
        lines.append(line)
    return "\n".join(lines)


def _median(runs: Sequence[Run], kind: str, which: int) -> float:
    return median(run.percentiles[kind][which] for run in runs)


if __name__ == "__main__":
    main()
