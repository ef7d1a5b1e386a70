import json
from dataclasses import replace

import pytest

from benchmarks.balance.__main__ import cells
from benchmarks.balance.cell import MOST, Cell, body
from benchmarks.balance.table import QUICK, ROWS, Target
from benchmarks.worlds.scenarios import SCENARIOS
from benchmarks.worlds.traffic import arrivals


def test_every_row_has_a_scenario_and_wants_something_of_classes_that_come_there() -> None:
    for row in ROWS:
        assert row.scenario in SCENARIOS
        assert row.wanted
        kinds = {item.kind for item in row.wanted if isinstance(item, Target)}
        assert kinds <= {"all", *row.cell.kinds}


def test_no_two_rows_ask_for_the_same() -> None:
    keys = [(row.scenario, row.sidecars, row.contender) for row in ROWS]
    assert len(set(keys)) == len(keys)


def test_what_is_run_quickly_is_in_the_table() -> None:
    assert {*QUICK} <= {(row.scenario, row.sidecars) for row in ROWS}


def test_stretching_leaves_the_load_as_it_is_and_changes_servers_with_slots_alone() -> None:
    slots = Cell(SCENARIOS["mixed-80"], 1)
    stretched = replace(slots, stretch=2)
    assert stretched.rate == pytest.approx(slots.rate / 2)
    assert stretched.rate / stretched.capacity == pytest.approx(0.8)
    batching = Cell(SCENARIOS["classes-70"], 1)
    assert replace(batching, stretch=2).rate == batching.rate == SCENARIOS["classes-70"].rate


def test_no_world_sends_more_than_this_machine_carries() -> None:
    gpu = Cell(SCENARIOS["classes-gpu-70"], 12)
    assert gpu.scenario.rate > 2 * MOST
    assert gpu.rate == pytest.approx(MOST)
    assert gpu.slowness == pytest.approx(gpu.scenario.rate / MOST)


def test_a_replica_that_joins_is_not_ready_at_first() -> None:
    assert Cell(SCENARIOS["cold-80"], 1).ready_at_first == 7
    assert Cell(SCENARIOS["equal-80"], 1).ready_at_first == 8


def test_a_body_has_the_texts_and_the_bytes_of_its_request() -> None:
    for arrival in list(arrivals(SCENARIOS["classes-70"].traffic, 1, 100, 1)):
        data = body(arrival)
        texts = json.loads(data)["input"]
        assert len(data) == arrival.bytes
        assert [len(text) // 4 for text in texts] == [*arrival.texts]


def test_what_is_run_is_what_rows_need_unless_somebody_asks_for_something_else() -> None:
    def found(*names: str, sidecars: tuple[int, ...] = (), quick: bool = False) -> list[str]:
        return [cell.name for cell in cells(names, sidecars, quick=quick)]

    assert len(found()) == len({row.cell for row in ROWS})
    assert found("classes-70") == ["classes-70, 12 sidecars", "classes-70, 1 sidecar"]
    assert found("rare-bulk-70") == ["rare-bulk-70, 12 sidecars"]
    assert found("rare-bulk-70", sidecars=(1,)) == ["rare-bulk-70, 1 sidecar"]
    assert len(found(quick=True)) == len(QUICK)


def test_a_quick_run_is_no_shorter_than_what_happens_in_it() -> None:
    asked = cells(("classes-70", "bulk-job-70", "mixed-80"), (12,), quick=True)
    timings = {cell.scenario.name: cell.scenario.timing for cell in asked}
    assert timings["classes-70"].total == 50
    assert timings["bulk-job-70"] == SCENARIOS["bulk-job-70"].timing
    assert timings["mixed-80"] == SCENARIOS["mixed-80"].timing
