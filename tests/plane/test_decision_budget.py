"""How soon one decision follows another."""

import pytest

from controlplane.plane import PUSH_INTERVAL, DecisionBudget
from controlplane.plane.recovery import DECIDING, SAVED


def paused(
    pacing: DecisionBudget, took: float, begun: float, times: int
) -> tuple[list[float], float]:
    """So many decisions that take so long, each made as soon as it may be: pauses, and the end."""
    pauses, now = [], begun
    for _ in range(times):
        now += took
        pacing.spend(took, now)
        pauses.append(pacing.wait(now))
        now += pauses[-1]
    return pauses, now


def test_decisions_that_take_less_than_their_part_of_the_time_do_not_wait() -> None:
    pacing = DecisionBudget(0.0)
    for step in range(100):
        now = step * PUSH_INTERVAL
        assert pacing.wait(now) == 0
        pacing.spend(0.02, now)


def test_decisions_that_take_long_take_their_part_of_the_time_in_the_long_run() -> None:
    took = 0.5
    pauses, _ = paused(DecisionBudget(0.0), took, 0.0, 100)
    assert took / (took + pauses[-1]) == pytest.approx(DECIDING)
    assert pauses[-1] == pytest.approx(took * (1 / DECIDING - 1))


def test_after_a_quiet_time_some_changes_do_not_wait_for_one_another() -> None:
    pacing, took = DecisionBudget(0.0), 0.3
    _, busy = paused(pacing, took, 0.0, 100)
    pauses, _ = paused(pacing, took, busy + SAVED / DECIDING, 5)
    assert pauses[:3] == [0] * 3
    assert pauses[4] > 0


def test_no_more_is_saved_up_than_a_limit_however_long_nothing_happens() -> None:
    soon, late = DecisionBudget(0.0), DecisionBudget(0.0)
    assert paused(soon, 0.3, 0.0, 9)[0] == pytest.approx(paused(late, 0.3, 1e6, 9)[0])


def test_one_decision_however_long_delays_nothing_and_the_next_one_does() -> None:
    pacing = DecisionBudget(0.0)
    pacing.spend(60.0, 60.0)
    assert pacing.wait(60.0) == 0
    again = 60.0 + PUSH_INTERVAL
    pacing.spend(0.4, again)
    expected = (0.4 - DECIDING * PUSH_INTERVAL) / DECIDING
    assert pacing.wait(again) == pytest.approx(expected)
    assert pacing.wait(again + 1.0) == pytest.approx(expected - 1.0)
