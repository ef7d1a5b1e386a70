"""Quantiles, and queues that grow."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tools.load.record import GROWTH, SMALLEST, Histogram, nearest_rank, queue

durations = st.lists(st.floats(SMALLEST, 1e4), min_size=1, max_size=300)
parts = st.floats(0, 1)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [nearest_rank(values, part) for part in (0, 0.5, 0.99, 1)] == [1, 50, 99, 100]


def test_a_rank_does_not_depend_on_how_binary_numbers_round() -> None:
    # 0.07 × 100 is 7.000000000000001.
    assert nearest_rank(range(1, 101), 0.07) == 7


@given(durations, parts)
def test_a_quantile_is_at_most_a_hundredth_above_the_true_one(
    values: list[float], part: float
) -> None:
    true, found = nearest_rank(values, part), filled(values).quantile(part)
    assert found is not None
    assert true * (1 - 1e-9) <= found <= true * GROWTH * (1 + 1e-9)


@given(durations)
def test_the_longest_is_exact_and_no_quantile_exceeds_it(values: list[float]) -> None:
    histogram = filled(values)
    assert histogram.longest == histogram.quantile(1.0) == max(values)


@given(durations, parts, parts)
def test_quantiles_rise_with_their_part(values: list[float], one: float, other: float) -> None:
    histogram = filled(values)
    low, high = histogram.quantile(min(one, other)), histogram.quantile(max(one, other))
    assert low is not None
    assert high is not None
    assert low <= high


@given(durations)
def test_the_order_of_durations_does_not_matter(values: list[float]) -> None:
    assert filled(values).curve() == filled(values[::-1]).curve()


def test_what_never_ended_took_for_ever() -> None:
    histogram = filled([0.1] * 99)
    assert histogram.quantile(0.99, endless=1) == pytest.approx(0.1, rel=0.01)
    assert histogram.quantile(0.99, endless=2) == math.inf


def test_of_nothing_there_is_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().mean is None
    assert Histogram().quantile(0.5, endless=1) == math.inf


def test_the_mean_is_exact() -> None:
    assert filled([0.1, 0.2, 0.6]).mean == pytest.approx(0.3)


def test_a_clock_that_seems_to_go_back_gives_no_negative_duration() -> None:
    histogram = filled([-1e-9])
    assert (histogram.longest, histogram.total) == (0.0, 0.0)


def test_the_curve_ends_with_all() -> None:
    points = filled([0.1, 0.2, 0.2, 0.4]).curve()
    assert [part for _, part in points] == [0.25, 0.75, 1.0]
    assert points[-1][0] == 0.4


@pytest.mark.parametrize(
    ("thirds", "expected"),
    [
        ((40, 80, 120), "growing"),
        ((40, 130, 120), "steady"),  # up and down
        ((80, 100, 120), "steady"),  # by less than it varies
        ((1, 5, 10), "steady"),  # nothing to speak of
    ],
)
def test_a_queue_grows_when_it_is_long_and_longer_each_third(
    thirds: tuple[float, ...], expected: str
) -> None:
    assert queue(thirds, capacity=100) == expected
