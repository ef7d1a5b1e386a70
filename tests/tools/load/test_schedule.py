"""When requests are meant to leave, and to whom."""

from collections import Counter
from itertools import islice, pairwise, takewhile
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tools.load.schedule import (
    departures,
    looks,
    measured_at,
    plan,
    schedule,
    staircase,
    turns,
)

weights = st.lists(st.integers(1, 20), min_size=1, max_size=6)


def chance() -> Random:
    return Random(1876)  # noqa: S311 - a test's chance is always the same


def test_departures_have_the_rate() -> None:
    times = list(takewhile(lambda at: at < 500, departures(20, chance())))
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert times == sorted(times)


def test_departures_are_irregular_as_those_of_independent_clients_are() -> None:
    times = list(takewhile(lambda at: at < 500, departures(20, chance())))
    gaps = [later - at for at, later in pairwise(times)]
    assert sum(gap > 0.05 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.03)


def test_a_staircase_rises_by_the_same_factor() -> None:
    rates = staircase(10, 160, 5)
    assert rates == pytest.approx((10, 20, 40, 80, 160))


def test_each_step_has_a_warm_up_that_does_not_count() -> None:
    first, second = plan((10, 20), warm_up=2, seconds=8)
    assert (first.begin, first.counts_from, first.end) == (0, 2, 10)
    assert (second.begin, second.counts_from, second.end) == (10, 12, 20)
    assert not second.counts(11.9)
    assert second.counts(12)


def test_the_same_seed_sends_at_the_same_times() -> None:
    steps = plan((50, 100), 1, 4)
    assert list(schedule(steps, 1)) == list(schedule(steps, 1))
    assert list(schedule(steps, 1)) != list(schedule(steps, 2))


def test_every_departure_is_within_its_step_and_in_order() -> None:
    steps = plan((50, 100, 25), 1, 4)
    times = list(schedule(steps, 1))
    assert [at for at, _ in times] == sorted(at for at, _ in times)
    assert all(step.begin <= at < step.end for at, step in times)
    counts = Counter(step.number for _, step in times)
    assert [counts[number] / 5 for number in range(3)] == pytest.approx([50, 100, 25], rel=0.2)


def test_a_moment_of_a_warm_up_is_measured_by_no_step() -> None:
    steps = plan((10, 20), 2, 8)
    assert [measured_at(steps, at) for at in (1, 3, 10, 12, 20)] == [
        None,
        steps[0],
        None,
        steps[1],
        None,
    ]


def test_thirds_of_a_step_include_its_warm_up() -> None:
    (step,) = plan((10,), 3, 6)
    assert [step.third(at) for at in (0, 2.9, 3.1, 6.1, 9)] == [0, 0, 1, 2, 2]


@given(st.floats(0.1, 100), st.floats(0.1, 10))
def test_looks_begin_and_end_with_what_counts_and_are_never_far_apart(
    seconds: float, every: float
) -> None:
    (step,) = plan((10,), 1, seconds)
    times = looks(step, every)
    assert (times[0], times[-1]) == pytest.approx((step.counts_from, step.end))
    assert all(0 < later - at <= every * 1.000001 for at, later in pairwise(times))


@given(weights, st.integers(1, 5))
def test_in_every_round_each_target_has_as_many_turns_as_its_weight(
    given_weights: list[int], rounds: int
) -> None:
    dealt = Counter(islice(turns(given_weights), rounds * sum(given_weights)))
    assert dealt == {number: rounds * weight for number, weight in enumerate(given_weights)}


def test_turns_of_a_heavy_target_are_spread() -> None:
    assert list(islice(turns([3, 1]), 8)) == [0, 0, 1, 0, 0, 0, 1, 0]
