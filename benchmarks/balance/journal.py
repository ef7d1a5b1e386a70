"""The journal of a benchmark: a line for what was agreed on, and one for each run that is over.

Each is written at once, so that whatever ends the benchmark loses no finished run, and another
start can go on from there.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from benchmarks.balance.measures import Run
from benchmarks.worlds.scenarios import Scenario


class JournalError(ValueError):
    """A journal cannot be gone on with; the message says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a run was of.

    Attributes:
        scenario: Its name.
        sidecars: How many.
        contender: Its name.
        repetition: From 1 on; also the seed.
    """

    scenario: str
    sidecars: int
    contender: str
    repetition: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One run and what it was of; a disturbed one is run again and has several."""

    key: Key
    run: Run


@dataclass(frozen=True, slots=True)
class Opening:
    """What all runs of a journal have in common.

    Attributes:
        machine: What they ran on, and when that began.
        lanes: How many went side by side.
        stretch: How many times as long service times were.
        costs: What measuring cost, in sentences.
        scenarios: By name, as data.
    """

    machine: Mapping[str, Any]
    lanes: int
    stretch: float
    costs: tuple[str, ...]
    scenarios: Mapping[str, Any]


_OPENINGS = TypeAdapter(Opening)
_ENTRIES = TypeAdapter(Entry)


def as_data(scenarios: Iterable[Scenario]) -> dict[str, Any]:
    """Scenarios as a journal has them."""
    # What has no limit is null there: infinity is no JSON.
    texts = {scenario.name: json.dumps(asdict(scenario)) for scenario in scenarios}
    return {name: json.loads(text, parse_constant=lambda _: None) for name, text in texts.items()}


def begin(path: Path, opening: Opening) -> None:
    """Begin a journal."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(opening)) + "\n")


def append(path: Path, entry: Entry) -> None:
    """Write a run down."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(entry)) + "\n")


def read(path: Path) -> tuple[Opening, list[Entry]]:
    """Read a journal, without a last line that was cut short.

    Raises:
        JournalError: It is none.
    """
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if not whole:
        raise JournalError(f"{path} is empty: a journal begins with what its runs have in common")
    try:
        opening = _OPENINGS.validate_python(json.loads(whole[0]))
        entries = [_ENTRIES.validate_python(json.loads(line)) for line in whole[1:]]
    except (ValueError, ValidationError) as error:
        raise JournalError(f"{path} is no journal of this benchmark: {error}") from error
    if len(whole) < len(lines):
        # What follows must begin on a line of its own.
        path.write_text("".join(whole))
    return opening, entries


def check(opening: Opening, scenarios: Iterable[Scenario]) -> None:
    """See that scenarios are still what they were when a journal began.

    Raises:
        JournalError: One is another now.
    """
    for name, data in as_data(scenarios).items():
        if opening.scenarios.get(name, data) != data:
            raise JournalError(
                f"scenario {name} is another than when the journal began: start anew"
            )


def settled(entries: Iterable[Entry]) -> list[Entry]:
    """One run of each: the first that was not disturbed, else the least disturbed."""
    best: dict[Key, Entry] = {}
    for entry in entries:
        seen = best.get(entry.key)
        if seen is None or (seen.run.summary.is_disturbed and _late(entry) < _late(seen)):
            best[entry.key] = entry
    return list(best.values())


def to_repeat(entries: Sequence[Entry], most: int, since: int = 0) -> list[Key]:
    """What is to be run again.

    Args:
        entries: All there are.
        most: Times that a run is run again.
        since: Entries that an earlier start left behind: another hour may be a quieter one.

    Returns:
        What was disturbed each time it was run, and was not run again so often.
    """
    quiet = {entry.key for entry in entries if not entry.run.summary.is_disturbed}
    attempts = Counter(entry.key for entry in entries[since:])
    keys = dict.fromkeys(entry.key for entry in entries)
    return [key for key in keys if key not in quiet and attempts[key] <= most]


def _late(entry: Entry) -> float:
    return entry.run.summary.late
