from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.weighing.trim import by_errors, by_objective, by_tail, usual_shape
from tests.weighing.pools import window


def test_a_tail_out_of_proportion_gets_a_little_less() -> None:
    seen = replace(window(), p99=0.8, latency=0.02)
    value, step = by_tail(seen, 10.0, 100)
    assert value == pytest.approx(100 * (2 * 10 / 40) ** 0.5)
    assert step is not None
    assert step.words == "p99 800 ms is 40.0 × its mean; in the pool 10.0 is usual"


def test_the_tail_only_trims() -> None:
    assert by_tail(replace(window(), p99=1e3), 2.0, 100)[0] == pytest.approx(70)


def test_a_tail_that_is_short_because_a_replica_is_fast_changes_nothing() -> None:
    fast, slow = window(400), window(100)
    usual = usual_shape([slow, slow, fast])
    assert by_tail(fast, usual, 400) == (400, None)
    assert by_tail(replace(slow, p99=1e-5), usual, 100) == (100, None)


def test_the_tail_of_few_requests_is_not_looked_at() -> None:
    assert by_tail(replace(window(samples=99), p99=10.0), 2.0, 100) == (100, None)


def test_a_p99_in_the_last_bucket_trims_nothing_and_that_is_said() -> None:
    seen = replace(window(), p99=10.0, resolution="last bucket")
    value, step = by_tail(seen, 2.0, 100)
    assert value == 100
    assert step is not None
    assert step.words == "the p99 fell into the last bucket of the histogram: it says no more"


def test_what_is_usual_is_the_median_of_replicas_with_enough_requests() -> None:
    windows = [replace(window(), latency=1.0, p99=p99) for p99 in (0.1, 0.2, 0.9)]
    windows += [replace(window(), p99=50.0, samples=3), replace(window(), p99=9.0)]
    windows[-1] = replace(windows[-1], resolution="last bucket")
    assert usual_shape(windows) == pytest.approx(0.2)


def test_over_the_objective_a_replica_gets_less() -> None:
    value, step = by_objective(replace(window(), p99=0.5), 0.25, 100)
    assert value == pytest.approx(100 * 0.5**0.25)
    assert step is not None
    assert step.words == "p99 500 ms is over the objective of 250 ms"


def test_within_the_objective_nothing_changes() -> None:
    assert by_objective(replace(window(), p99=0.25), 0.25, 100) == (100, None)


@given(st.floats(0.01, 1), st.floats(1, 1000))
def test_a_replica_that_answers_errors_fast_never_looks_faster(
    failing: float, speed: float
) -> None:
    """Errors that take 1/1000 of a request's time, counted among the durations, raise the
    measured capacity by 1 / (1 − e + e/1000); the discount takes more than that."""
    count = 10_000.0
    seen = replace(window(speed), errors=count * failing, error_fraction=failing, samples=count)
    measured = speed / (1 - failing + failing / 1000)
    assert by_errors(seen, 1, measured)[0] < max(speed, 0.011 * measured)


def test_one_failed_request_of_two_is_little_evidence() -> None:
    value, _ = by_errors(window(samples=1, errors=1), 1, 100)
    assert value > 80


def test_a_replica_that_only_fails_is_left_with_next_to_nothing() -> None:
    assert by_errors(window(samples=0, errors=50), 1, 100)[0] == pytest.approx(1)
