from statistics import fmean

import pytest

from benchmarks.balance.scenario import MEAN_TOKENS, Scenario, scenarios
from benchmarks.balance.schedule import arrivals
from benchmarks.balance.slots import Slots


def test_the_same_seed_sends_the_same_requests() -> None:
    assert list(arrivals(1, 100, 5)) == list(arrivals(1, 100, 5))
    assert list(arrivals(1, 100, 5)) != list(arrivals(2, 100, 5))


def test_arrivals_have_the_rate_and_the_mean_size() -> None:
    schedule = list(arrivals(1, 100, 1000))
    assert len(schedule) == pytest.approx(100_000, rel=0.02)
    assert fmean(it.tokens for it in schedule) == pytest.approx(MEAN_TOKENS, rel=0.02)


def test_sizes_are_heavy_tailed() -> None:
    sizes = sorted(it.tokens for it in arrivals(1, 100, 1000))
    # Median exp(−½) and 99th percentile exp(2.326 − ½) times the mean.
    assert sizes[len(sizes) // 2] == pytest.approx(60.7, rel=0.02)
    assert sizes[len(sizes) * 99 // 100] == pytest.approx(621, rel=0.05)


def test_load_is_a_part_of_what_all_replicas_together_can_serve() -> None:
    scenario = Scenario("x", 1, speeds=(4.0, 1.0), load=0.5, slots=2, token_seconds=0.001)
    assert scenario.capacity == pytest.approx(100)
    assert scenario.rate == pytest.approx(50)


def test_fast_replicas_should_get_what_they_can_carry() -> None:
    scenario = scenarios(12)[0]
    assert scenario.fast == {0, 1}
    assert scenario.fair_to_fast == pytest.approx(8 / 14)


def test_a_free_slot_begins_at_once() -> None:
    slots = Slots(2)
    assert [slots.admit(0.0, 1.0), slots.admit(0.5, 1.0)] == [1.0, 1.5]


def test_a_request_waits_for_the_slot_that_is_free_first() -> None:
    slots = Slots(2)
    slots.admit(0.0, 5.0)
    slots.admit(0.0, 1.0)
    assert [slots.admit(0.0, 1.0), slots.admit(0.0, 1.0)] == [2.0, 3.0]


def test_a_slot_that_was_idle_does_not_catch_up() -> None:
    slots = Slots(1)
    slots.admit(0.0, 1.0)
    assert slots.admit(10.0, 1.0) == 11.0
