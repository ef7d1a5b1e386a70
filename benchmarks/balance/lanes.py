"""Running jobs: a slot of them side by side, one slot after the other."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import click

from benchmarks.balance import overhead
from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Contender
from benchmarks.balance.measures import Run
from benchmarks.balance.plan import Job, Pace, slots
from benchmarks.balance.run import run
from benchmarks.machine import until_quiet


async def side_by_side(jobs: Sequence[Job]) -> list[Run]:
    """Run jobs at the same time: their loads begin together, once all are ready.

    Args:
        jobs: At least one.
    """
    ready = asyncio.Barrier(len(jobs))
    # Stays where it is when something fails: what it has of logs says why.
    base = Path(tempfile.mkdtemp(prefix="bench-balance-"))
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number, job in enumerate(jobs):
            folder = base / str(number)
            folder.mkdir()
            playing = run(job.contender, job.cell, job.repetition, folder, ready.wait)
            tasks.append(group.create_task(playing))
    shutil.rmtree(base)
    return [task.result() for task in tasks]


async def costs(
    cells: Sequence[Cell], contenders: Sequence[Contender], lanes: int
) -> tuple[float, list[str]]:
    """What measuring costs at the highest rate, for each kind of proxy and number of sidecars.

    All lanes are busy meanwhile, as they will be later.

    Returns:
        By how much service times are stretched, and sentences.
    """
    kinds = list({each.proxy: each for each in contenders}.values())
    everything: list[Run] = []
    sentences = []
    for sidecars in sorted({cell.sidecars for cell in cells}):
        busiest = max(
            (cell for cell in cells if cell.sidecars == sidecars), key=lambda item: item.rate
        )
        plain = busiest.at_no_cost()
        wanted = islice(cycle(kinds), max(len(kinds), lanes))
        seen = await _lowest([Job(plain, each, 1) for each in wanted], lanes)
        for kind in kinds:
            runs = [done for job, done in seen if job.contender == kind]
            sentences.append(overhead.sentence(kind.proxy, sidecars, plain.rate, runs))
        everything += [done for _, done in seen]
    factor = overhead.stretch(everything)
    return factor, [*sentences, overhead.verdict(factor)]


async def _lowest(jobs: Sequence[Job], lanes: int) -> list[tuple[Job, Run]]:
    """What jobs cost: again while one is over a limit, and of each the least."""
    least: dict[int, tuple[Job, Run]] = {}
    for _ in range(overhead.ATTEMPTS):
        seen: list[tuple[Job, Run]] = []
        for slot in slots(jobs, lanes):
            seen += zip(slot, await side_by_side(slot), strict=True)
        for number, (job, done) in enumerate(seen):
            if number not in least or overhead.excess([done]) < overhead.excess([least[number][1]]):
                least[number] = (job, done)
        if overhead.excess([done for _, done in least.values()]) <= 1:
            break
    return list(least.values())


async def play(
    jobs: Sequence[Job],
    lanes: int,
    pace: Pace,
    finished: Callable[[Job, Run], None],
    *,
    patient: bool,
) -> None:
    """Run jobs of a unit, slot after slot.

    Args:
        jobs: What is left of it.
        lanes: At most so many side by side.
        pace: Learns how long it takes.
        finished: Is told of each run, once its slot is over.
        patient: Whether slots wait for a machine that others use.
    """
    for slot in slots(jobs, lanes):
        if patient:
            await until_quiet(click.echo)
        begun = time.monotonic()
        done = await _patiently(slot)
        load = max(job.cell.scenario.timing.total for job in slot)
        pace.learn(load, time.monotonic() - begun)
        for job, its in zip(slot, done, strict=True):
            finished(job, its)


async def _patiently(slot: Sequence[Job]) -> list[Run]:
    """Run a slot, once more if it fails: a busy machine can keep a proxy from starting in time."""
    try:
        return await side_by_side(slot)
    except ExceptionGroup as failures:
        click.echo(f"  failed, and is tried once more: {failures.exceptions[0]}", err=True)
    return await side_by_side(slot)
