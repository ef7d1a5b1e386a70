from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from benchmarks.balance import journal
from benchmarks.balance.journal import JournalError, Key, Opening
from benchmarks.worlds.scenarios import SCENARIOS
from tests.benchmarks.balance_runs import entry, run_of

OPENING = Opening({"cores": 2}, 4, 1.5, ("cheap",), journal.as_data([SCENARIOS["cold-80"]]))
ENTRIES = [
    entry("plimsoll", 1, run_of(100, changes=3)),
    entry("round-robin", 1, run_of(inf, changes=None)),
]
LATE = 26.0


def test_a_journal_says_what_was_written_into_it(tmp_path: Path) -> None:
    path = tmp_path / "results" / "j.jsonl"
    journal.begin(path, OPENING)
    for item in ENTRIES:
        journal.append(path, item)
    assert journal.read(path) == (OPENING, ENTRIES)


def test_a_journal_is_json_that_anybody_reads(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    scenarios = journal.as_data(SCENARIOS.values())
    journal.begin(path, Opening({}, 1, 1.0, (), scenarios))
    assert "Infinity" not in path.read_text()
    assert journal.read(path)[0].scenarios == scenarios


def test_a_line_that_was_cut_short_is_as_if_never_begun(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal.begin(path, OPENING)
    for item in ENTRIES:
        journal.append(path, item)
    path.write_text(path.read_text()[:-20])
    assert journal.read(path)[1] == ENTRIES[:1]
    journal.append(path, ENTRIES[1])
    assert journal.read(path)[1] == ENTRIES


@pytest.mark.parametrize("text", ["", "no JSON\n", '{"lanes": 1}\n'])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(text)
    with pytest.raises(JournalError, match=r"j\.jsonl is"):
        journal.read(path)


def test_a_journal_of_other_scenarios_is_not_gone_on_with() -> None:
    now = SCENARIOS["cold-80"]
    journal.check(OPENING, [now, SCENARIOS["mixed-80"]])
    with pytest.raises(JournalError, match="cold-80 is another"):
        journal.check(OPENING, [replace(now, load=0.5)])


def test_a_disturbed_run_gives_way_to_one_that_was_not() -> None:
    first = entry("plimsoll", 1, run_of(100, late=LATE))
    second = entry("plimsoll", 1, run_of(200, late=5))
    third = entry("plimsoll", 1, run_of(300))
    assert journal.settled([first, second, third]) == [second]


def test_of_runs_that_were_all_disturbed_the_least_is_taken() -> None:
    runs = [entry("plimsoll", 1, run_of(100, late=late)) for late in (90, 30, 60)]
    assert journal.settled(runs) == [runs[1]]


def test_only_disturbed_runs_are_run_again_and_not_for_ever() -> None:
    fine = entry("plimsoll", 1, run_of(100))
    late = entry("nginx", 1, run_of(100, late=LATE))
    better = entry("nginx", 1, run_of(100))
    key = Key("mixed-80", 12, "nginx", 1)
    assert journal.to_repeat([fine, late], 2) == [key]
    assert journal.to_repeat([fine, late, late], 2) == [key]
    assert journal.to_repeat([fine, late, late, late], 2) == []
    assert journal.to_repeat([fine, late, better], 2) == []


def test_what_was_disturbed_in_an_earlier_start_is_run_again() -> None:
    late = entry("nginx", 1, run_of(100, late=LATE + 1))
    before = [late, late, late, entry("plimsoll", 1, run_of(100))]
    assert journal.to_repeat(before, 2, since=4) == [late.key]
    assert journal.to_repeat([*before, late, late], 2, since=4) == [late.key]
    assert journal.to_repeat([*before, late, late, late], 2, since=4) == []
    assert journal.to_repeat([*before, entry("nginx", 1, run_of(100))], 2, since=4) == []
