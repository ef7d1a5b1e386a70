import pytest

from benchmarks.balance.cell import Cell
from benchmarks.balance.contenders import CONTENDERS
from benchmarks.balance.journal import Key
from benchmarks.balance.plan import Pace, slots, units
from benchmarks.balance.table import GATEWAY, OURS, REPORTS, ROWS, THROUGH
from benchmarks.worlds.scenarios import SCENARIOS

MIXED = [Cell(SCENARIOS["mixed-80"], count) for count in (1, 12)]
MIXED_60 = [Cell(SCENARIOS["mixed-60"], 1)]
EVERYTHING = [*dict.fromkeys(row.cell for row in ROWS)]


def test_a_repetition_is_over_before_the_next_begins() -> None:
    order = [unit.jobs[0].repetition for unit in units(EVERYTHING, CONTENDERS, 3)]
    assert order == sorted(order)
    assert len(order) == 3 * len(EVERYTHING)


def test_everybody_is_in_every_unit_with_the_same_seed() -> None:
    for unit in units(EVERYTHING, CONTENDERS, 2):
        names = {job.contender.name for job in unit.jobs}
        assert {each.name for each in CONTENDERS} - {REPORTS, GATEWAY, THROUGH} <= names
        assert len({(job.repetition, job.cell) for job in unit.jobs}) == 1


def test_load_reports_share_the_peers_of_their_scenario_and_are_in_no_other() -> None:
    there = {
        unit.jobs[0].cell.scenario.name
        for unit in units(EVERYTHING, CONTENDERS, 1)
        if any(job.contender.name == REPORTS for job in unit.jobs)
    }
    assert there == {"mixed-80"}


def test_repetitions_begin_with_different_contenders() -> None:
    first = [unit.jobs[0].contender.name for unit in units(MIXED[:1], CONTENDERS, 4)]
    assert len(set(first)) == 4


def test_what_a_journal_has_is_not_run_again() -> None:
    unit = next(units(MIXED, CONTENDERS, 1))
    done = {job.key for job in unit.jobs if job.contender.name != OURS}
    assert [job.contender.name for job in unit.left(done)] == [OURS]


def test_a_journal_calls_a_run_by_its_scenarios_name_and_its_sidecars() -> None:
    _, many = units(MIXED, CONTENDERS[:1], 1)
    assert [job.key for job in many.jobs] == [Key("mixed-80", 12, CONTENDERS[0].name, 1)]


def test_runs_with_other_numbers_of_sidecars_are_other_runs() -> None:
    one, many = units(MIXED, CONTENDERS, 1)
    assert many.left({job.key for job in one.jobs}) == list(many.jobs)


@pytest.mark.parametrize(("lanes", "sizes"), [(1, [1] * 7), (4, [4, 3]), (3, [3, 2, 2]), (9, [7])])
def test_slots_are_few_and_evenly_filled(lanes: int, sizes: list[int]) -> None:
    jobs = next(units(MIXED_60, CONTENDERS[:7], 1)).jobs
    made = slots(jobs, lanes)
    assert [len(slot) for slot in made] == sizes
    assert {job.key for slot in made for job in slot} == {job.key for job in jobs}


def test_time_left_is_that_of_slots_and_not_of_runs() -> None:
    jobs = next(units(MIXED_60, CONTENDERS[:7], 1)).jobs
    assert Pace(around=8).seconds(jobs, 1) == 7 * 30
    assert Pace(around=8).seconds(jobs, 4) == 2 * 30


def test_the_pace_is_learned_from_slots_but_not_from_collapsed_ones() -> None:
    pace = Pace(around=6)
    pace.learn(load=22, took=12)
    assert pace.around == 6
    for _ in range(50):
        pace.learn(load=22, took=32)
    assert pace.around == pytest.approx(10, rel=0.01)
