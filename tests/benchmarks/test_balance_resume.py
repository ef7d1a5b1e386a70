from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.balance import journal
from benchmarks.balance.__main__ import main
from benchmarks.balance.cell import Cell
from benchmarks.balance.journal import Opening
from benchmarks.worlds.scenarios import SCENARIOS
from tests.benchmarks.balance_runs import entry, run_of

CONTENDERS = ("plimsoll", "round-robin")
RUN, ASKED = "mixed-80", "cold-80"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of two scenarios in which nothing is left to be run."""
    path = tmp_path / "j.jsonl"
    scenarios = journal.as_data(SCENARIOS[name] for name in (RUN, ASKED))
    journal.begin(path, Opening({"cores": 2}, 1, 1.0, ("cheap",), scenarios))
    for name in (RUN, ASKED):
        for contender in CONTENDERS:
            journal.append(path, entry(contender, 1, run_of(100), name, 12))
    return path


def resumed(path: Path, *more: str) -> str:
    wanted = [word for name in CONTENDERS for word in ("--contender", name)]
    options = ("--scenario", ASKED, "--sidecars", "12", "--repetitions", "1", *more)
    done = CliRunner().invoke(main, ["--resume", str(path), *wanted, *options])
    assert done.exit_code == 0, done.output
    return path.with_suffix(".md").read_text()


def table_of(name: str) -> str:
    return f"### {Cell(SCENARIOS[name], 12).name}: "


def test_a_report_keeps_what_its_journal_had_before(path: Path) -> None:
    said = resumed(path)
    assert table_of(ASKED) in said
    assert table_of(RUN) in said
    assert "Missing" not in said


def test_what_was_not_asked_for_is_not_run_and_counts_only_if_it_is_whole(path: Path) -> None:
    opening, first, *others = path.read_text().splitlines(keepends=True)
    assert RUN in first
    path.write_text("".join([opening, *others]))
    said = resumed(path)
    assert table_of(ASKED) in said
    assert table_of(RUN) not in said
    assert f"{Cell(SCENARIOS[RUN], 12).name} 0" in said
    assert path.read_text() == "".join([opening, *others])
