import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.signals import Window
from controlplane.weighing.capacity import Estimate, estimated, measured
from tests.weighing.pools import window


def at_load(load: float, capacity: float = 100.0) -> Window:
    """An M/M/1 queue: R = 1 / (capacity − rate)."""
    rate = load * capacity
    latency = 1 / (capacity - rate)
    return replace(window(), rate=rate, latency=latency, in_flight=rate * latency)


@pytest.mark.parametrize("load", [0.0, 0.3, 0.6, 0.8, 0.95, 0.99])
def test_the_capacity_of_one_slot_does_not_depend_on_its_load(load: float) -> None:
    assert measured(at_load(load), 1) == pytest.approx(100)


def erlang(load: float, slots: int) -> Window:
    """An M/M/c queue of 100 requests/s and slot: Erlang's C formula for the mean wait."""
    offered, rate = load * slots, load * slots * 100
    below = sum(offered**k / math.factorial(k) for k in range(slots))
    full = offered**slots / math.factorial(slots) / (1 - load)
    latency = 0.01 + full / (below + full) / (slots * 100 - rate)
    return replace(window(), rate=rate, latency=latency, in_flight=rate * latency)


@pytest.mark.parametrize("slots", [2, 4, 16])
@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
def test_the_capacity_of_several_slots_hardly_depends_on_their_load(
    slots: int, load: float
) -> None:
    assert measured(erlang(load, slots), slots) == pytest.approx(slots * 100, rel=0.1)


def test_idle_slots_each_carry_what_one_request_takes() -> None:
    assert measured(window(100), 8) == pytest.approx(800)


def test_a_saturated_replica_carries_what_it_does() -> None:
    busy = replace(window(), rate=200.0, latency=10.0, in_flight=2000.0)
    assert measured(busy, 4) == pytest.approx(200, rel=0.01)


def test_a_window_without_samples_measures_nothing() -> None:
    assert measured(window(samples=0), 1) is None


@given(st.floats(0, 1e300), st.floats(0, 1e300), st.integers(1, 4096))
def test_no_window_makes_a_capacity_zero_or_infinite(
    rate: float, latency: float, slots: int
) -> None:
    value = measured(replace(window(), rate=rate, latency=latency), slots)
    assert value is not None
    assert 0 < value < float("inf")


def test_the_first_trusted_window_is_the_estimate() -> None:
    estimate, _ = estimated(None, window(40, at=3), 1, median=1000)
    assert estimate == Estimate(measured(window(40), 1) or 0.0, 3)


def test_few_samples_are_mixed_with_the_previous_estimate() -> None:
    estimate, _ = estimated(Estimate(100, 0), window(400, at=1, samples=10), 1, None)
    # Halfway to 400 in the log domain is 200; of the step from 100 to 200, upwards, 0.3 is taken.
    assert estimate is not None
    assert estimate.capacity == pytest.approx(100 * 2**0.3)


def test_few_samples_of_a_new_replica_are_mixed_with_the_pools_median() -> None:
    estimate, _ = estimated(None, window(400, at=1, samples=10), 1, median=100)
    assert estimate is not None
    assert estimate.capacity == pytest.approx(200)


def test_without_samples_the_previous_estimate_stays() -> None:
    previous = Estimate(100, 0)
    assert estimated(previous, window(at=1, samples=0), 1, None)[0] == previous


def test_an_estimate_goes_down_faster_than_up() -> None:
    down, _ = estimated(Estimate(100, 0), window(100 / 1.5, at=1), 1, None)
    up, _ = estimated(Estimate(100, 0), window(150, at=1), 1, None)
    assert down is not None
    assert up is not None
    assert down.capacity == pytest.approx(100 / 1.5**0.5)
    assert up.capacity == pytest.approx(100 * 1.5**0.3)


def test_less_than_half_counts_at_once() -> None:
    estimate, _ = estimated(Estimate(100, 0), window(49, at=1), 1, None)
    assert estimate is not None
    assert estimate.capacity == pytest.approx(49)


def test_less_than_half_by_few_samples_does_not_count_at_once() -> None:
    estimate, _ = estimated(Estimate(100, 0), window(10, at=1, samples=19), 1, None)
    assert estimate is not None
    assert estimate.capacity > 30


def test_a_reading_counts_once() -> None:
    once, _ = estimated(Estimate(100, 0), window(60, at=1), 1, None)
    twice, _ = estimated(once, window(60, at=1), 1, None)
    assert once == twice


def test_an_operator_reads_where_an_estimate_comes_from() -> None:
    seen = Window(
        at=1, seconds=5.0, samples=212, errors=0, rate=42.4, latency=0.024, p99=0.1,
        resolution="ok", in_flight=1.02, error_fraction=0,
    )  # fmt: skip
    _, (step,) = estimated(None, seen, 2, None)
    assert step.words == (
        f"estimated {step.after:.0f} requests/s from 212 requests in 5.0 s: mean latency 24 ms"
        " at 1.02 in flight of 2 slots"
    )
