import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.weighing.reserve import LEAST_PART, utilisation, with_reserve

RELATIVES = {"a": 4.0, "b": 4.0, **dict.fromkeys("cdefgh", 1.0)}


def test_the_faster_a_replica_the_less_it_keeps_in_reserve() -> None:
    found = with_reserve(RELATIVES, 0.8)
    assert found["c"] == 1
    assert 4.2 < found["a"] < 5.2


def test_the_busier_the_pool_the_less_there_is_to_divide() -> None:
    assert with_reserve(RELATIVES, 0.9)["a"] < with_reserve(RELATIVES, 0.6)["a"]
    assert with_reserve(RELATIVES, 1.0) == RELATIVES


def test_what_is_not_known_changes_nothing() -> None:
    assert with_reserve(RELATIVES, None) == RELATIVES


@given(st.lists(st.floats(0.05, 10), min_size=1, max_size=9), st.floats(0.6, 1))
def test_nobody_loses_more_than_is_said_and_the_order_stays(
    relatives: list[float], used: float
) -> None:
    given_ = {str(n): relative for n, relative in enumerate(relatives)}
    found = with_reserve(given_, used)
    assert all(0 < value < math.inf for value in found.values())
    factors = sorted((given_[id_], value / given_[id_]) for id_, value in found.items())
    # To rounding: the faster one never gets the smaller factor.
    assert all(low[1] <= high[1] * (1 + 1e-9) for low, high in pairwise(factors))
    assert factors[0][1] >= LEAST_PART * factors[-1][1] * (1 - 1e-9)


@given(st.floats(0.05, 10), st.integers(1, 9), st.floats(0.6, 1))
def test_equal_replicas_stay_exactly_equal(relative: float, count: int, used: float) -> None:
    assert len(set(with_reserve({str(n): relative for n in range(count)}, used).values())) == 1


def test_the_utilisation_moves_in_steps() -> None:
    assert utilisation(None, 81, 100) == pytest.approx(0.8)
    assert utilisation(0.8, 84.9, 100) == 0.8
    assert utilisation(0.8, 86, 100) == pytest.approx(0.85)
    assert utilisation(0.8, 10, 100) == pytest.approx(0.6)
    assert utilisation(None, 0, 100) is None
