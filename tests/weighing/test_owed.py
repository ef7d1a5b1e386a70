import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.weighing.owed import FEW, LATE, MOST, Owed, owed

CAPACITY = 60.0
STEP = 0.5
HALF = LATE * CAPACITY * STEP


def after(
    before: Owed,
    done: float,
    *,
    in_flight: float | None = 30.0,
    slots: int = 1,
    are_measured: bool = True,
) -> Owed:
    """Half a second later, in which so many requests of the usual length have ended."""
    return owed(
        before, in_flight=in_flight, ended=done, work=done, seconds=STEP, capacity=CAPACITY,
        slots=slots, are_measured=are_measured,
    )  # fmt: skip


def test_a_replica_that_does_little_of_its_line_owes_half_of_what_it_should_do() -> None:
    once = after(Owed(in_flight=29.0), 0.0)
    assert once == Owed(HALF, STEP, 0.0, 0.0, 30.0)
    twice = after(once, 1.0)
    assert twice.requests == 2 * HALF - 1
    assert (twice.seconds, twice.ended, twice.work) == (2 * STEP, 1.0, 1.0)
    assert twice.is_collapse


def test_what_it_computes_now_may_be_long_and_begun_since_the_last_reading() -> None:
    edge = Owed(1 + FEW + 1, 1.0, in_flight=30.0)
    assert not after(edge, 1.0).is_collapse
    assert after(replace(edge, requests=edge.requests + 0.1), 1.0).is_collapse


def test_what_does_not_change_at_all_may_be_an_old_page() -> None:
    before = Owed(1000.0, 1.0, in_flight=30.0)
    assert after(before, 0.0) is before
    assert after(before, 0.0, in_flight=31.0).is_collapse


def test_where_nothing_has_ended_it_may_be_a_very_long_one() -> None:
    edge = Owed(1 + MOST - HALF, 1.0, in_flight=29.0)
    assert not after(edge, 0.0).is_collapse
    assert after(replace(edge, requests=edge.requests + 0.1), 0.0).is_collapse


def test_where_nobody_knows_how_long_they_were_those_that_ended_show_nothing() -> None:
    edge = Owed(1 + MOST - HALF + 1, 1.0, in_flight=30.0)
    assert not after(edge, 1.0, are_measured=False).is_collapse
    higher = replace(edge, requests=edge.requests + 0.1)
    assert after(higher, 1.0, are_measured=False).is_collapse


def test_one_that_does_half_of_what_it_should_owes_nothing() -> None:
    found = Owed(in_flight=1e9)
    for _ in range(100):
        found = after(found, HALF, in_flight=1e9)
    assert found == Owed(in_flight=1e9)


def test_one_that_may_have_been_idle_in_between_owes_nothing() -> None:
    # Those that were there have all ended; the ones that are there may have come just now.
    assert after(Owed(in_flight=2.0), 2.0).requests == 0
    assert after(Owed(in_flight=3.0), 2.0).requests > 0
    assert after(Owed(in_flight=0.0), 0.0).requests == 0
    assert after(Owed(in_flight=1.0), 0.0).requests > 0


def test_all_slots_must_have_been_busy() -> None:
    assert after(Owed(in_flight=7.0), 0.0, slots=8).requests == 0
    assert after(Owed(in_flight=8.0), 0.0, slots=8).requests > 0


def test_where_nobody_counts_nothing_is_owed() -> None:
    assert after(Owed(in_flight=None), 0.0).requests == 0
    assert after(Owed(in_flight=30.0), 0.0, in_flight=None).in_flight is None


def test_work_that_is_done_while_it_is_not_sure_that_all_were_busy_pays_back() -> None:
    behind = Owed(10.0, 1.0, 2.0, 2.0, in_flight=3.0)
    assert after(behind, 4.0).requests == 6.0
    assert after(behind, 4.0).seconds == 1.0
    assert after(behind, 11.0) == Owed(in_flight=30.0)


def test_a_server_that_computes_a_batch_may_owe_all_of_it() -> None:
    before = Owed(64 + FEW, 1.0, in_flight=100.0)
    assert after(before, 1.0, slots=1).is_collapse
    assert not after(before, 1.0, slots=64).is_collapse


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e3), st.floats(0, 1e3)), max_size=30),
    st.integers(1, 64),
)
def test_it_is_never_negative_and_no_more_than_half_of_the_time(
    steps: list[tuple[float, float, float]], slots: int
) -> None:
    found, seconds = Owed(), 0.0
    for in_flight, done, passed in steps:
        seconds += passed
        found = owed(
            found, in_flight=in_flight, ended=done, work=done, seconds=passed, capacity=CAPACITY,
            slots=slots, are_measured=True,
        )  # fmt: skip
        assert 0 <= found.requests <= LATE * CAPACITY * seconds
        assert 0 <= found.seconds <= seconds


def readings(speed_at: dict[float, float], seconds: float, seed: int) -> float | None:
    """When a replica at 90 % load, read every half second, is seen to have collapsed.

    Args:
        speed_at: From some second on, relative to `CAPACITY`.
        seconds: How long it is watched.
        seed: Of arrivals and lognormal lengths.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation, to be repeated
    line: list[tuple[float, float]] = []
    came, speed, found = 0.0, 1.0, Owed()
    for tick in range(1, round(seconds / STEP) + 1):
        now, ended, work = tick * STEP, 0.0, 0.0
        speed = speed_at.get(now - STEP, speed)
        budget = STEP * CAPACITY * speed
        while (came := came + chance.expovariate(0.9 * CAPACITY)) < now:
            line.append((size := chance.lognormvariate(-0.5, 1.0), size))
        came = now
        # All that came in this half second is there from its begin: worse than in truth.
        while line and budget > 0:
            left, size = line[0]
            if left > budget:
                line[0], budget = (left - budget, size), 0.0
            else:
                line.pop(0)
                budget, ended, work = budget - left, ended + 1, work + size
        found = owed(
            found, in_flight=float(len(line)), ended=ended, work=work, seconds=STEP,
            capacity=CAPACITY, slots=1, are_measured=True,
        )  # fmt: skip
        if found.is_collapse:
            return now
    return None


@pytest.mark.parametrize("seed", range(5))
def test_a_tenth_of_the_speed_is_seen_within_two_seconds(seed: int) -> None:
    seen = readings({20.0: 0.1}, 60.0, seed)
    assert seen is not None
    assert 20.0 < seen <= 22.0


def test_chance_is_not_taken_for_a_collapse() -> None:
    assert [readings({}, 600.0, seed) for seed in range(10)] == [None] * 10
