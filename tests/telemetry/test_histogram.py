from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.telemetry.histogram import quantile


def test_a_quantile_is_interpolated_inside_its_bucket() -> None:
    assert quantile(0.5, (1.0, 2.0, inf), (10, 30, 30)) == (1.25, "ok")


def test_a_quantile_in_the_first_bucket_has_low_resolution() -> None:
    assert quantile(0.5, (1.0, 2.0, inf), (20, 30, 30)) == (0.75, "first bucket")


def test_a_quantile_in_the_last_bucket_is_the_highest_finite_bound() -> None:
    assert quantile(0.99, (1.0, 2.0, inf), (0, 0, 30)) == (2.0, "last bucket")


def test_nothing_counted_has_no_quantile() -> None:
    assert quantile(0.99, (1.0, inf), (0, 0)) is None


def test_where_the_infinite_bucket_is_the_only_one_there_is_no_quantile() -> None:
    assert quantile(0.99, (inf,), (3,)) == (None, "last bucket")


def test_a_bucket_that_begins_at_zero_has_low_resolution_whichever_it_is() -> None:
    assert quantile(0.99, (0.0, 5.0, 10.0, inf), (0, 100, 100, 100)) == (4.95, "first bucket")


@given(st.lists(st.integers(0, 50), min_size=3, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_quantile_is_never_lower(steps: list[int], p: float, q: float) -> None:
    bounds = (*(float(2**i) for i in range(len(steps) - 1)), inf)
    counts = [float(sum(steps[: i + 1])) for i in range(len(steps))]
    low, high = quantile(min(p, q), bounds, counts), quantile(max(p, q), bounds, counts)
    if low is None or high is None:
        assert sum(steps) == 0
    else:
        assert low[0] is not None
        assert high[0] is not None
        assert low[0] <= high[0] or low[0] == pytest.approx(high[0])
