"""Runs of contenders in scenarios, in several processes at a time if wanted."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from benchmarks.simulation.contenders import named
from benchmarks.simulation.envoys import Envoys
from benchmarks.simulation.fleet import Dispatching, Fleet
from benchmarks.simulation.measures import Run, run_of, stillness_of
from benchmarks.worlds.scenarios import SCENARIOS, Scenario


@dataclass(frozen=True, slots=True)
class Job:
    """A run: names, and what decides about chance."""

    scenario: str
    dispatchers: int
    contender: str
    seed: int


def play(scenario: Scenario, dispatchers: int, contender: str, seed: int) -> Run:
    """Run one contender once."""
    made: list[Dispatching] = []

    def make(fleet: Fleet) -> Dispatching:
        made.append(named(contender).make(fleet))
        return made[0]

    record = Fleet(scenario, dispatchers, seed, make).play()
    timing, stillness = scenario.timing, None
    if isinstance(made[0], Envoys):
        stillness = stillness_of(made[0].history, timing.warm_up, timing.total)
    return run_of(record, stillness)


def play_job(job: Job) -> Run:
    """Run what a job says."""
    return play(SCENARIOS[job.scenario], job.dispatchers, job.contender, job.seed)


def play_all(jobs: Iterable[Job], processes: int) -> Iterator[Run]:
    """Run all, in the order in which they are given."""
    if processes == 1:
        yield from map(play_job, jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(play_job, jobs)
