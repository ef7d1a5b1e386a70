import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.weighing import weigh
from controlplane.weighing.damping import CEILING, FLOOR, are_equal, damped, held, rounds
from tests.weighing.pools import INTERVAL, SETTINGS, pool, replica, settled, weights
from tests.weighing.pools import rounds as rounds_of

shares = st.floats(FLOOR, CEILING)


def test_a_round_halves_a_share_at_most() -> None:
    assert damped(1.0, 0.1, 1.0) == 0.5


def test_a_round_adds_half_to_a_share_at_most() -> None:
    assert damped(1.0, 9.0, 1.0) == 1.5


@given(shares, shares, st.integers(1, 8))
def test_a_round_in_pieces_moves_as_far_as_a_whole_one(
    start: float, target: float, pieces: int
) -> None:
    whole, piecewise = damped(start, target, 1.0), start
    for _ in range(pieces):
        piecewise = damped(piecewise, target, 1 / pieces)
    assert piecewise == pytest.approx(whole)


def test_a_difference_within_the_dead_band_is_not_told() -> None:
    assert held(1000, 1049, equal=False) == 1000
    assert held(1000, 951, equal=False) == 1000
    assert held(1000, 1051, equal=False) == 1051


def test_equal_weights_are_told_exactly() -> None:
    assert held(1030, 1000, equal=True) == 1000


def test_a_newcomer_gets_its_target_at_once() -> None:
    assert damped(None, 4.0, 0.0) == 4.0


def test_no_time_is_no_step_and_an_hour_is_one() -> None:
    assert rounds(5.0, 5.0, 0.5) == 0.0
    assert rounds(5.0, 5.125, 0.5) == 0.25
    assert rounds(5.0, 3605.0, 0.5) == 1.0
    assert rounds(5.0, 4.0, 0.5) == 0.0


def test_weighing_again_without_news_changes_nothing() -> None:
    weighing = rounds_of(pool(100, 100, 100, 40), 3)[-1]
    again = weigh(weighing, SETTINGS, pool(100, 100, 100, 40), weighing.at)
    assert weights(again) == weights(weighing)


def test_weighing_often_moves_a_pool_no_faster() -> None:
    before, inputs = settled(pool(100, 100, 100, 100)), pool(100, 100, 100, 10)
    often = before
    for _ in range(5):
        often = weigh(often, SETTINGS, inputs, often.at + INTERVAL / 5)
    assert often.replicas["d"].state.relative >= 0.5


def test_replicas_within_fifteen_percent_are_exactly_equal() -> None:
    assert weights(settled(pool(100, 112, 90, 100))) == dict.fromkeys("abcd", 1000)


def test_a_pool_at_the_limit_of_equal_does_not_flap() -> None:
    assert not are_equal([1.0, 1.18], before=False)
    assert are_equal([1.0, 1.18], before=True)
    assert not are_equal([1.0, 1.25], before=True)


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=8), st.integers(1, 20))
def test_every_weight_is_within_floor_and_ceiling(capacities: list[float], count: int) -> None:
    for weight in weights(rounds_of(pool(*capacities), count)[-1]).values():
        assert 50 <= weight <= 10_000


def test_replicas_that_become_equal_are_told_so_even_within_the_dead_band() -> None:
    others = pool(100, 100, 100)
    before = settled([*others, replica("d", memory=0.91)])
    assert weights(before)["a"] != 1000
    assert weights(settled([*others, replica("d", memory=0.5)], before)) == dict.fromkeys(
        "abcd", 1000
    )
