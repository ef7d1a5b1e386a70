from dataclasses import replace
from math import inf

import pytest

from benchmarks.balance.measures import Run
from benchmarks.balance.overhead import TooCostlyError, excess, sentence, stretch, verdict
from tests.benchmarks.balance_runs import run_of


def costing(p99: float, busiest: float) -> Run:
    return replace(run_of(p99), busiest=busiest)


@pytest.mark.parametrize(
    ("p99", "busiest", "factor"),
    [(4.9, 0.59, 1), (5.1, 0.1, 1.25), (1, 0.7, 1.25), (9, 0.1, 2), (9, 1.7, 3), (20, 0.1, 4)],
)
def test_service_times_are_stretched_until_costs_are_small_beside_them(
    p99: float, busiest: float, factor: float
) -> None:
    assert stretch([costing(1, 0.1), costing(p99, busiest)]) == factor


@pytest.mark.parametrize("p99", [21, inf])
def test_a_machine_that_is_too_slow_is_not_measured_on(p99: float) -> None:
    with pytest.raises(TooCostlyError, match="fewer --lanes"):
        stretch([costing(p99, 0.1)])


def test_what_is_over_a_limit_says_so() -> None:
    assert "OVER" not in sentence("nginx", 1, 100, [costing(4.9, 0.59)])
    assert "OVER" in sentence("nginx", 1, 100, [costing(5.1, 0.1)])
    assert "OVER" in sentence("nginx", 1, 100, [costing(1, 0.1), costing(1.0, 0.7)])


def test_the_worst_run_of_a_kind_speaks_for_it() -> None:
    assert "p99 4.0 ms" in sentence("nginx", 12, 100, [costing(4, 0.1), costing(1, 0.1)])


def test_stretching_is_told() -> None:
    assert "take 1.5 times as long" in verdict(1.5)
    assert "as they should be" in verdict(1)


def test_costs_are_over_a_limit_when_those_of_any_run_are() -> None:
    assert excess([costing(5, 0.1), costing(1, 0.6)]) == 1
    assert excess([costing(10, 0.1), costing(1, 0.6)]) == 2
    assert excess([costing(1, 0.1), costing(1, 0.9)]) == pytest.approx(1.5)
