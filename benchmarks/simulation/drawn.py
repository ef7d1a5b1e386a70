"""Worlds that nobody chose: server, fleet, traffic, load and what happens are drawn by a number.

A mechanism that was tuned to the rows of the table gains nothing here. Out comes a line for each
world, the worst class last, and how often a class is worse than with the better peer.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from random import Random
from statistics import median
from typing import Final

import click

from benchmarks.simulation.contenders import PLIMSOLL, play
from benchmarks.simulation.measures import ALL, Run
from benchmarks.worlds import tei, traffic, triton, vllm
from benchmarks.worlds.scenarios import Change, Scenario, Timing
from benchmarks.worlds.server import Curve
from benchmarks.worlds.traffic import BULK, SEARCH, Job, Phase, Same, Spread, Stream, Traffic
from benchmarks.worlds.worlds import (
    InfinityWorld,
    SlotsWorld,
    TeiWorld,
    TritonWorld,
    VllmWorld,
    World,
)

PEERS: Final = ("FULL_SCAN", "leastconn, true weights")

TIMING: Final = Timing(40, 40)

MOST: Final = 250.0
"""Requests a second; servers of a world with more are slower, so that a run takes seconds."""

BYTES_PER_TOKEN: Final = (2.0, 3.0, 4.0, 4.0, 5.0, 8.0)
"""Of Chinese, of code, of English prose, and of markup that is mostly white space."""

WITH_JOB: Final = 0.5
"""Part of the worlds with bulk in which workers of a job send it."""
WORKERS: Final = (4, 16, 64, 256)

WORSE: Final = 1.1
"""A class with a p99 of more than so many times the better peer's counts as worse off."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A world, and how many Envoys dispatch in it."""

    scenario: Scenario
    dispatchers: int


def drawn(number: int) -> Drawn:
    """Draw the world of a number; always the same."""
    random = Random(number)
    speeds = _speeds(random)
    coming = _traffic(random)
    if (per_token := Random(f"bytes {number}").choice(BYTES_PER_TOKEN)) != traffic.BYTES_PER_TOKEN:
        coming = coming.with_bytes(per_token)
    load = random.uniform(0.35, 0.9)
    # Drawn apart, so that worlds stay as they were before there were jobs.
    chance = Random(f"job {number}")
    if len(coming.streams) == 2 and chance.random() < WITH_JOB:
        load *= coming.part(SEARCH)
        coming = _with_job(coming, chance.choice(WORKERS))
    fixed, budget = random.choice((0.005, 0.01, 0.03)), random.choice((2_048, 4_096, 16_384))
    world = _world(random, Curve(fixed, math.exp(random.uniform(-9.2, -7.9))), budget)
    changes, coming = _events(random, coming, len(speeds))
    scenario = Scenario(f"drawn-{number}", world, speeds, coming, load, TIMING, changes)
    if scenario.rate > MOST:
        slower = scenario.rate / MOST
        speeds = tuple(speed / slower for speed in speeds)
        scenario = Scenario(f"drawn-{number}", world, speeds, coming, load, TIMING, changes)
    return Drawn(scenario, random.choice((1, 2, 4, 8, 12, 24)))


def _speeds(random: Random) -> tuple[float, ...]:
    count = random.choice((2, 3, 4, 5, 6, 8, 10, 12, 16))
    kind = random.choice(("equal", "two kinds", "all unlike"))
    if kind == "equal":
        return (1.0,) * count
    if kind == "two kinds":
        fast, times = random.randint(1, count - 1), random.uniform(1.5, 8.0)
        return (times,) * fast + (1.0,) * (count - fast)
    return tuple(math.exp(random.uniform(0.0, math.log(6.0))) for _ in range(count))


def _traffic(random: Random) -> Traffic:
    kind = random.choice(("classes", "classes", "lognormal", "alike", "documents"))
    if kind == "lognormal":
        return traffic.single_texts(random.choice((0.5, 1.0, 1.5, 2.0)), 2_048)
    if kind == "alike":
        return traffic.alike(random.choice((16, 100, 400)))
    bulk = math.exp(random.uniform(math.log(0.005), math.log(0.5)))
    if kind == "documents":
        streams = (
            Stream(SEARCH, 1 - bulk, 1, Same(random.randint(8, 40))),
            Stream(BULK, bulk, random.randint(4, 64), Spread(0.7, 512)),
        )
        return Traffic(f"{1 - bulk:.0%} searches, documents", streams)
    streams = (
        Stream(SEARCH, 1 - bulk, 1, Same(random.randint(8, 64))),
        Stream(BULK, bulk, random.randint(5, 100), Same(random.randint(50, 250))),
    )
    return Traffic(f"{1 - bulk:.0%} searches", streams)


def _with_job(traffic: Traffic, workers: int) -> Traffic:
    """All bulk is of an indexing job, which goes on as fast as answers come."""
    search, bulk = traffic.streams
    name = f"searches, {workers} workers"
    return Traffic(name, (replace(search, share=1.0),), job=Job(bulk, workers))


def _world(random: Random, curve: Curve, budget: int) -> World:
    kind = random.choice(("tei", "tei", "tei", "vllm", "triton", "infinity", "slots"))
    if kind == "tei":
        return TeiWorld(curve, tei.Limits(tokens=budget))
    if kind == "vllm":
        return VllmWorld(curve, vllm.Limits(tokens=budget, chunks=random.random() < 0.5))
    if kind == "triton":
        delay = random.choice((0.0, 0.005))
        return TritonWorld(curve, triton.Limits(rows=random.choice((16, 64)), delay=delay))
    if kind == "infinity":
        return InfinityWorld(curve)
    return SlotsWorld(random.choice((1, 2, 4)), 2 * curve.per_token)


def _events(random: Random, coming: Traffic, replicas: int) -> tuple[tuple[Change, ...], Traffic]:
    kind = random.choice(("nothing", "nothing", "slows", "comes more often"))
    if kind == "slows":
        factor = random.choice((2.0, 4.0, 10.0))
        return (Change(random.uniform(20, 60), random.randrange(replicas), factor),), coming
    if kind == "comes more often":
        begin = random.uniform(30, 55)
        one = random.choice((None, *coming.kinds))
        phase = Phase(begin, begin + random.uniform(5, 20), random.uniform(1.2, 2.0), one)
        return (), replace(coming, phases=(phase,))
    return (), coming


def _play(job: tuple[int, str, int]) -> Run:
    number, contender, seed = job
    world = drawn(number)
    return play(world.scenario, world.dispatchers, contender, seed)


def _described(world: Drawn) -> str:
    scenario = world.scenario
    speeds = ", ".join(f"{speed:.2g}" for speed in sorted(scenario.speeds, reverse=True)[:5])
    more = ", …" if len(scenario.speeds) > 5 else ""
    happens = "; slows" if scenario.changes else "; more" if scenario.traffic.phases else ""
    return (
        f"{scenario.name:11}{type(scenario.world).__name__[:-5]:9}{len(scenario.speeds):3}"
        f" ({speeds}{more}) {world.dispatchers} Envoys, {scenario.load:.0%},"
        f" {scenario.traffic.name}{happens}"
    )


@click.command
@click.option("--worlds", type=click.IntRange(1), default=40, show_default=True)
@click.option("--first", type=int, default=1, show_default=True, help="The first one's number.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True)
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True)
def main(worlds: int, first: int, seeds: int, processes: int) -> None:
    """Compare Plimsoll with the better of two peers in worlds that are drawn."""
    numbers, every = range(first, first + worlds), range(1, seeds + 1)
    jobs = [(n, who, seed) for n in numbers for who in (*PEERS, PLIMSOLL) for seed in every]
    worst: list[float] = []
    with ProcessPoolExecutor(processes) as pool:
        runs = pool.map(_play, jobs)
        for number in numbers:
            by_name = {who: [next(runs) for _ in every] for who in (*PEERS, PLIMSOLL)}
            line, ratios = _compared(by_name)
            worst.append(max(ratios))
            click.echo(f"{_described(drawn(number)):92}{line}")
    worse = sum(ratio > WORSE for ratio in worst)
    click.echo(
        f"\n{worse} of {worlds} worlds have a class that is worse off (over {WORSE} ×);"
        f" the worst class's p99: median {median(worst):.2f} ×,"
        f" highest {max(worst):.2f} × the better peer's"
    )


def _p99(run: Run, kind: str) -> float:
    """Milliseconds; infinite where nothing was answered."""
    return run.p99(kind) if kind in run.percentiles else math.inf


def _compared(runs: dict[str, list[Run]]) -> tuple[str, Sequence[float]]:
    found = {kind for some in runs.values() for run in some for kind in run.percentiles}
    kinds = sorted(found - {ALL}, reverse=True) or [ALL]
    ratios, parts = [], []
    for kind in kinds:
        p99 = {who: median(_p99(run, kind) for run in found) for who, found in runs.items()}
        best = min(p99[peer] for peer in PEERS)
        ratios.append(p99[PLIMSOLL] / best if math.isfinite(best) else 1.0)
        parts.append(f"{kind} {p99[PLIMSOLL]:6.0f} ms {ratios[-1]:5.2f} ×")
    failed = median(run.failed for run in runs[PLIMSOLL])
    return "  ".join(parts) + (f"  failed {failed:.1%}" if failed else ""), ratios


if __name__ == "__main__":
    main()
