"""The highest rate at which an objective is kept."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tools.load.diagnosis import Capacity, capacity, keeps
from controlplane.tools.load.record import StepRecord
from controlplane.tools.load.schedule import Step
from tests.tools.load.records import record, step


def staircase(latencies: Sequence[float], requests: int = 300) -> list[tuple[Step, StepRecord]]:
    steps = [step(10.0 * (number + 1), number) for number in range(len(latencies))]
    return [
        (item, record(item, service=latency, requests=requests))
        for item, latency in zip(steps, latencies, strict=True)
    ]


def test_it_is_the_highest_rate_before_the_objective_is_missed() -> None:
    found = capacity(staircase([0.05, 0.1, 0.4]), 0.25)
    assert found == Capacity(rate=20, missed=30, objective=0.25, few=300)
    assert found.sentence == "the fleet carries 20 requests/s with p99 within 250 ms, and not 30"


def test_a_capacity_is_in_tokens_as_well() -> None:
    low, high = step(10.0), step(20.0, 1)
    found = capacity([(low, record(low, tokens=200)), (high, record(high, service=0.4))], 0.25)
    assert found is not None
    assert found.sentence == (
        "the fleet carries 10 requests/s (2,000 tokens/s) with p99 within 250 ms, and not 20"
    )


def test_a_higher_rate_that_happens_to_keep_it_again_does_not_count() -> None:
    found = capacity(staircase([0.05, 0.4, 0.1]), 0.25)
    assert found is not None
    assert (found.rate, found.missed) == (10, 20)


def test_when_every_rate_keeps_it_there_is_more_to_find() -> None:
    found = capacity(staircase([0.05, 0.1]), 0.25)
    assert found is not None
    assert found.known == "at least"
    assert found.sentence.startswith("the fleet carries at least 20 requests/s")


def test_when_no_rate_keeps_it_only_that_is_known() -> None:
    found = capacity(staircase([0.5, 0.9]), 0.25)
    assert found is not None
    assert (found.known, found.rate) == ("below", None)
    assert found.sentence == "the fleet does not keep p99 within 250 ms even at 10 requests/s"


def test_few_requests_say_little_of_a_p99() -> None:
    found = capacity(staircase([0.05], requests=40), 0.25)
    assert found is not None
    assert "(40 requests are too few for a p99: use a longer --duration)" in found.sentence


def test_the_step_with_the_fewest_requests_says_how_much_to_believe() -> None:
    low, high = step(10.0), step(20.0, 1)
    found = capacity([(low, record(low, requests=99)), (high, record(high, requests=300))], 0.25)
    assert found is not None
    assert found.few == 99
    assert "99 requests are too few" in found.sentence
    enough = capacity([(low, record(low, requests=100))], 0.25)
    assert enough is not None
    assert "too few" not in enough.sentence


def test_without_an_objective_or_a_step_nothing_can_be_said() -> None:
    assert capacity(staircase([0.05]), None) is None
    assert capacity([], 0.25) is None


def test_more_than_one_failed_request_in_a_hundred_misses_any_objective() -> None:
    assert keeps(step(), record(step(), failed=3), 0.25)
    assert not keeps(step(), record(step(), failed=4), 0.25)


def test_a_step_that_was_held_back_did_not_send_what_it_is_judged_by() -> None:
    held = record(step())
    held.held_back = 1
    assert not keeps(step(), held, 0.25)


def late(of: Step, **more: float) -> StepRecord:
    return record(of, late=0.4, **more)  # type: ignore[arg-type]


def test_what_the_generator_missed_says_nothing_of_the_fleet() -> None:
    slow, fast = step(10.0), step(20.0, 1)
    found = capacity([(slow, record(slow)), (fast, late(fast))], 0.25)
    assert found is not None
    assert (found.known, found.rate, found.missed, found.spoiled) == ("at least", 10, None, 20)
    assert found.sentence == (
        "the fleet carries at least 10 requests/s with p99 within 250 ms: at 20 the generator"
        " itself was the bottleneck"
    )
    only = capacity([(slow, late(slow))], 0.25)
    assert only is not None
    assert (only.known, only.rate) == ("nothing", None)
    assert only.sentence == (
        "nothing is known of the fleet: at 10 the generator itself was the bottleneck"
    )


def test_from_the_rate_on_that_the_generator_missed_nothing_is_known_of_the_fleet() -> None:
    slow, spoilt, fast = step(10.0), step(20.0, 1), step(30.0, 2)
    for last in (record(fast), record(fast, service=0.5)):
        found = capacity([(slow, record(slow)), (spoilt, late(spoilt)), (fast, last)], 0.25)
        assert found is not None
        assert (found.rate, found.missed, found.spoiled) == (10, None, 20)


def test_a_generator_that_is_too_busy_or_does_not_keep_up_says_nothing_of_the_fleet() -> None:
    a_step = step()
    behind = record(a_step)
    behind.unsent = 1
    busy = record(a_step, service=0.5, cpu=0.7)
    for spoilt in (behind, busy):
        found = capacity([(a_step, spoilt)], 0.25)
        assert found is not None
        assert (found.missed, found.spoiled) == (None, 10)


def test_a_fleet_that_is_too_slow_by_itself_missed_it_however_late_the_generator_is() -> None:
    a_step = step()
    held = late(a_step)
    held.held_back = 3
    for missed in (late(a_step, service=0.3), late(a_step, failed=4), held):
        found = capacity([(a_step, missed)], 0.25)
        assert found is not None
        assert (found.known, found.missed, found.spoiled) == ("below", 10, None)


def test_a_queue_that_grows_would_have_missed_it_in_a_longer_step() -> None:
    growing = record(step(), service=0.1, last=2.0)
    assert not keeps(step(), growing, 60.0)
    assert keeps(step(), record(step(), service=2.0), 60.0)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6), st.randoms())
def test_neither_the_order_of_steps_nor_a_wider_objective_lowers_it(
    latencies: list[float], random: Random
) -> None:
    steps = staircase(latencies, requests=20)
    found = capacity(steps, 0.25)
    wider = capacity(steps, 0.5)
    random.shuffle(steps)
    assert capacity(steps, 0.25) == found
    assert found is not None
    assert wider is not None
    assert (found.rate or 0) <= (wider.rate or 0)


@pytest.mark.parametrize("objective", [0.02, 0.0202])
def test_an_objective_that_is_just_kept_is_kept(objective: float) -> None:
    assert keeps(step(), record(step(), service=0.02), objective)
