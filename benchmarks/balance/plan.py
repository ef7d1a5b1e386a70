"""What is run, in which order, and how long that will take. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Contender
from benchmarks.balance.journal import Key


@dataclass(frozen=True, slots=True)
class Job:
    """One run that is to be."""

    cell: Cell
    contender: Contender
    repetition: int

    @property
    def key(self) -> Key:
        """What a journal calls it."""
        cell = self.cell
        return Key(cell.scenario.name, cell.sidecars, self.contender.name, self.repetition)


@dataclass(frozen=True, slots=True)
class Unit:
    """All contenders in one cell, once: it counts when it is whole.

    Attributes:
        jobs: One of each contender.
    """

    jobs: tuple[Job, ...]

    @property
    def name(self) -> str:
        """As progress calls it."""
        return f"{self.jobs[0].cell.name}, repetition {self.jobs[0].repetition}"

    def left(self, done: Collection[Key]) -> list[Job]:
        """What of it is still to be run."""
        return [job for job in self.jobs if job.key not in done]


def units(
    cells: Sequence[Cell], contenders: Sequence[Contender], repetitions: int
) -> Iterator[Unit]:
    """Everything, interleaved, so that a noisy minute does not hit one contender alone.

    Each repetition begins with another contender, so that not always the same are side by side.
    """
    for repetition in range(1, repetitions + 1):
        for cell in cells:
            there = [each for each in contenders if each.is_in(cell)]
            if not there:
                continue
            first = (repetition - 1) % len(there)
            turned = (*there[first:], *there[:first])
            yield Unit(tuple(Job(cell, each, repetition) for each in turned))


def slots(jobs: Sequence[Job], lanes: int) -> list[list[Job]]:
    """Jobs that go side by side: at most so many, in as few slots as can be, evenly filled."""
    count = ceil(len(jobs) / lanes)
    return [list(jobs[number::count]) for number in range(count)]


@dataclass(slots=True)
class Pace:
    """How long slots take, learned on the way.

    Attributes:
        around: Seconds of a slot beside its load, for starting and ending.
    """

    around: float = 6.0

    def learn(self, load: float, took: float) -> None:
        """A slot with so many seconds of load took so many; a collapsed one is no example."""
        if took > load:
            self.around += 0.3 * (took - load - self.around)

    def seconds(self, jobs: Sequence[Job], lanes: int) -> float:
        """How long jobs of one unit will take."""
        return sum(
            max(job.cell.scenario.timing.total for job in slot) + self.around
            for slot in slots(jobs, lanes)
        )
