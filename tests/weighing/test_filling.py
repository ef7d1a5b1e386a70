"""Memory that fills is acted on before it is full, and a jump is not growth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.weighing import Weighing, explain, weigh
from controlplane.weighing.filling import AHEAD, LOOKS, Trail, followed, growth
from tests.weighing.pools import INTERVAL, SETTINGS, later, replica


def trail(*fractions: float, interval: float = 0.5) -> Trail:
    """Read once an interval."""
    found: Trail = ()
    for number, fraction in enumerate(fractions):
        found = followed(found, fraction, interval, number * interval)
    return found


def test_what_grows_on_and_on_grows_by_so_much_a_second() -> None:
    assert growth(trail(0.5, 0.52, 0.54, 0.56, 0.58)) == pytest.approx(0.04)
    assert growth(trail(0.5, 0.52, 0.54, 0.56, 0.58, 0.62, 0.66)) == pytest.approx(0.04)
    assert growth(trail(0.5, 0.52, 0.54, 0.56, 0.58, interval=5.0)) == pytest.approx(0.004)


def test_a_reading_that_is_seen_twice_does_not_hide_it() -> None:
    assert growth(trail(0.5, 0.52, 0.54, 0.54, 0.58)) == pytest.approx(0.04)


@given(st.integers(0, LOOKS - 1), st.floats(0, 0.9), st.floats(0, 0.1))
def test_a_jump_is_not_growth(after: int, before: float, by: float) -> None:
    fractions = [before] * (after + 1) + [before + by] * (LOOKS - after)
    assert growth(trail(*fractions)) == 0


@given(st.lists(st.floats(0, 1), max_size=12))
def test_it_is_never_below_zero_nor_more_than_what_was_seen(fractions: list[float]) -> None:
    found = growth(trail(*fractions))
    seen = fractions[-LOOKS - 1 :]
    assert found >= 0
    assert found == 0 or found * LOOKS * 0.5 <= max(seen) - min(seen) + 1e-9


def test_what_shrinks_or_was_hardly_seen_does_not_grow() -> None:
    assert growth(trail(0.9, 0.8, 0.7, 0.6, 0.5)) == 0
    assert growth(trail(0.5, 0.6, 0.7, 0.8)) == 0
    assert growth(()) == 0


def test_weighings_between_two_readings_are_no_readings() -> None:
    found = trail(0.5, 0.52)
    assert followed(found, 0.6, 0.5, 0.75) == found
    assert len(followed(found, 0.6, 0.5, 1.0)) == 3


def test_what_is_not_known_any_more_is_forgotten() -> None:
    assert followed(trail(0.5, 0.6), None, 0.5, 1.0) == ()


def filled(*fractions: float) -> Weighing:
    """A pool in which the memory of `a` is read so, once an interval."""
    weighing = None
    for number, fraction in enumerate(fractions):
        now = number * INTERVAL
        inputs = [replica("a", memory=fraction), *(replica(id_, memory=0.5) for id_ in "bcd")]
        inputs = [later(it, weighing, now) for it in inputs]
        weighing = weigh(weighing, SETTINGS, inputs, now)
    assert weighing is not None
    return weighing


def test_a_replica_whose_memory_fills_gets_less_before_it_is_full() -> None:
    slow = filled(*(0.70 + 0.025 * n for n in range(9)))
    assert pytest.approx(0.05) == AHEAD * 0.025
    # At 90 % and soon at 95 %, where 90 is soft and 97 hard.
    a = slow.replicas["a"]
    assert not a.drained
    said = [it for it in explain(a.steps) if "memory" in it]
    assert said == ["GPU memory 90 % fills and will be 95 % soon; soft is 90 %: ×0.29"]
    assert a.weight < 0.5 * slow.replicas["b"].weight


def test_what_will_be_over_the_limit_is_not_cut_because_that_lasts() -> None:
    soon = filled(*(0.50 + 0.05 * n for n in range(9)))
    assert not soon.replicas["a"].drained
    assert "×0.05" in " ".join(explain(soon.replicas["a"].steps))
    # It has stopped to grow just below the limit, as models do that have taken what they need.
    rests = filled(*(0.50 + 0.05 * n for n in range(8)), *[0.85] * 40)
    assert not rests.replicas["a"].drained
    assert rests.replicas["a"].weight == rests.replicas["b"].weight
