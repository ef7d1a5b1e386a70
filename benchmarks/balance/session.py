"""One start of the benchmark: costs first, then unit after unit into the journal, then repeats."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from benchmarks import machine
from benchmarks.balance import journal, report
from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Contender
from benchmarks.balance.journal import Entry, Opening
from benchmarks.balance.lanes import costs, play
from benchmarks.balance.measures import Run
from benchmarks.balance.plan import Job, Pace, Unit, units

REPEATS: Final = 2
"""So often a disturbed run is run again, at most."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        cells: Scenarios with numbers of sidecars.
        also: Those that are only reported, from what the journal has of them.
        contenders: Who is compared.
        repetitions: Of everything.
        lanes: Runs that go side by side.
        minutes: After which nothing is begun that would not be over by then; None: no end.
        resume: A journal to go on with.
        folder: Where a new one begins.
        name: What it is called there; None: by when it began.
        quick: Costs are not measured, and a machine that others use is not waited for.
    """

    cells: tuple[Cell, ...]
    also: tuple[Cell, ...]
    contenders: tuple[Contender, ...]
    repetitions: int
    lanes: int
    minutes: float | None
    resume: Path | None
    folder: Path
    name: str | None
    quick: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What there is in the end.

    Attributes:
        path: Of the journal.
        opening: Of the journal.
        cells: As they were run, the ones that were only reported included.
        units: All that were to be run, those included.
        entries: One for each run, of whole units only.
    """

    path: Path
    opening: Opening
    cells: tuple[Cell, ...]
    units: tuple[Unit, ...]
    entries: tuple[Entry, ...]


class Session:
    """Runs what a plan says and a journal does not have yet."""

    def __init__(self, plan: Plan) -> None:
        """Prepare to run.

        Args:
            plan: What.
        """
        self._plan = plan
        self._begun = time.monotonic()
        self._pace = Pace()
        self._entries: list[Entry] = []
        self._had = 0
        self._path = plan.resume or plan.folder

    async def run(self) -> Result:
        """Run everything, or as much as there is time for."""
        opening = await self._open()
        lanes = opening.lanes
        plan = self._plan
        cells, also = (
            tuple(replace(item, stretch=opening.stretch) for item in some)
            for some in (plan.cells, plan.also)
        )
        journal.check(opening, [this.scenario for this in (*cells, *also)])
        everything = tuple(units(cells, plan.contenders, plan.repetitions))
        if self._had:
            # A repetition that was whole but for a stalled machine is soon worth something.
            await self._repeat(everything, lanes)
        for number, unit in enumerate(everything):
            jobs = unit.left({entry.key for entry in self._entries})
            if not jobs:
                continue
            if not self._is_time_for(jobs, lanes):
                break
            left = sum(self._left(each, lanes) for each in everything[number:])
            self._say(f"[{number + 1}/{len(everything)}, {_minutes(left)} left] {unit.name}")
            await self._play(jobs, lanes)
        await self._repeat(everything, lanes)
        done = journal.settled(self._entries)
        keys = {entry.key for entry in done}
        told = (*everything, *units(also, plan.contenders, plan.repetitions))
        whole = {job.key for unit in told if not unit.left(keys) for job in unit.jobs}
        entries = tuple(entry for entry in done if entry.key in whole)
        return Result(self._path, opening, (*also, *cells), told, entries)

    async def _open(self) -> Opening:
        plan = self._plan
        if plan.resume is not None:
            opening, self._entries = journal.read(plan.resume)
            self._had = len(self._entries)
            self._say(f"going on with {plan.resume}, which has {len(self._entries)} runs")
            return opening
        described = machine.describe()
        self._say(" · ".join(f"{name} {value}" for name, value in described.items()))
        factor, sentences = 1.0, ["not measured"]
        if not plan.quick:
            factor, sentences = await costs(plan.cells, plan.contenders, plan.lanes)
        data = journal.as_data(cell.scenario for cell in plan.cells)
        opening = Opening(described, plan.lanes, factor, tuple(sentences), data)
        name = plan.name or str(described["when"])[:16].replace(":", "")
        self._path = plan.folder / f"{name}.jsonl"
        journal.begin(self._path, opening)
        self._say("\n".join(sentences))
        return opening

    async def _repeat(self, everything: Iterable[Unit], lanes: int) -> None:
        """Run again what was disturbed, as long as there is time."""
        jobs = {job.key: job for unit in everything for job in unit.jobs}
        for _ in range(REPEATS):
            keys = journal.to_repeat(self._entries, REPEATS, self._had)
            by_cell: dict[str, list[Job]] = {}
            for key in keys:
                if key in jobs:
                    by_cell.setdefault(jobs[key].cell.name, []).append(jobs[key])
            for cell, again in by_cell.items():
                if self._is_time_for(again, lanes):
                    self._say(f"[again, because disturbed] {cell}")
                    await self._play(again, lanes)

    async def _play(self, jobs: Sequence[Job], lanes: int) -> None:
        await play(jobs, lanes, self._pace, self._finished, patient=not self._plan.quick)

    def _finished(self, job: Job, run: Run) -> None:
        entry = Entry(job.key, run)
        journal.append(self._path, entry)
        self._entries.append(entry)
        self._say(f"  {job.contender.title}: {report.line(run)}")

    def _is_time_for(self, jobs: Sequence[Job], lanes: int) -> bool:
        if self._plan.minutes is None:
            return True
        spent = time.monotonic() - self._begun
        return spent + self._pace.seconds(jobs, lanes) <= 60 * self._plan.minutes

    def _left(self, unit: Unit, lanes: int) -> float:
        return self._pace.seconds(unit.left({entry.key for entry in self._entries}), lanes)

    def _say(self, text: str) -> None:
        click.echo(text)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
