"""What the simulation makes of latencies and of what Envoys were told."""

import pytest

from benchmarks.simulation.fleet import Record
from benchmarks.simulation.measures import ALL, Stillness, ratios, run_of, stillness_of
from benchmarks.simulation.told import Told, TrafficClass


def told(**tiers: tuple[tuple[int, ...], float]) -> Told:
    return Told((TrafficClass(first=tiers),))


FAIR = told(fast=((0,), 4.0), slow=((1, 2), 2.0))
HEAVY = told(fast=((0,), 4.0), slow=((1, 2), 2.2))
APART = told(fast=((0,), 4.0), slow=((1,), 1.0), other=((2,), 1.0))


def test_percentiles_are_in_milliseconds_by_class_and_of_all() -> None:
    record = Record({"search": [0.1] * 98 + [0.5] * 2, "bulk": [2.0] * 100}, busy=[1.0])
    found = run_of(record)
    assert (found.p50("search"), found.p99("search")) == pytest.approx((100.0, 500.0))
    assert (found.p50("bulk"), found.p99("bulk")) == pytest.approx((2000.0, 2000.0))
    assert found.p99(ALL) == pytest.approx(2000.0)


def test_where_there_is_one_class_all_are_that() -> None:
    assert run_of(Record({"": [0.1]}, busy=[1.0])).percentiles.keys() == {ALL}


def test_the_busiest_replica_is_compared_with_the_mean() -> None:
    assert run_of(Record({"": [0.1]}, busy=[0.9, 0.3, 0.3, 0.3])).busy == pytest.approx(2.0)


def test_requests_that_failed_are_a_part_of_all() -> None:
    assert run_of(Record({"": [0.1] * 3}, failed=1, busy=[1.0])).failed == 0.25


def test_weights_that_stand_still_come_to_nothing() -> None:
    assert stillness_of([(0.0, FAIR)], 10.0, 70.0) == Stillness(0.0, 0.0)


def test_changes_are_counted_per_minute_and_those_of_the_warm_up_are_not() -> None:
    history = [(0.0, APART), (5.0, FAIR), (30.0, HEAVY), (60.0, APART)]
    found = stillness_of(history, since=10.0, until=100.0)
    # In a minute and a half one weight, then one weight and one tier.
    assert (found.pushes, found.moves) == pytest.approx((2 / 1.5, 1 / 1.5))


def test_a_replica_that_leaves_a_class_is_no_move_of_another() -> None:
    both = Told((TrafficClass("bulk", 9, first={"fast": ((0,), 1.0)}), *FAIR.classes))
    assert stillness_of([(0.0, FAIR), (20.0, both)], 10.0, 70.0) == Stillness(1.0, 0.0)


def test_ratios_are_ours_over_theirs_with_the_same_seed() -> None:
    assert ratios([10, 30, 30], [20, 30, 20]) == (1.0, 0.5, 1.5)
