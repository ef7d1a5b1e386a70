"""A forecast goes on with a ramp, and neither with a step nor with chance."""

import math

import pytest

from controlplane.scaling import ReplicaState
from controlplane.scaling.demand import LoadHistory, upper_quartile
from controlplane.scaling.pool import LONGEST, UNKNOWN, ColdStarts


def history_of(*rates: float, step: float = 5.0) -> LoadHistory:
    found = LoadHistory()
    for index, rate in enumerate(rates):
        found.add(rate, 1000.0 + index * step)
    return found


def test_a_ramp_is_forecast_to_go_on() -> None:
    found = history_of(*(100.0 + 5 * n for n in range(40)))
    assert found.forecast(60.0) == pytest.approx(found.level + 60.0, rel=0.02)


def test_a_step_is_not_taken_for_a_ramp_at_any_time_after_it() -> None:
    for since in range(1, 40):
        found = history_of(*[100.0] * 40, *[300.0] * since)
        assert found.forecast(60.0) == pytest.approx(300.0), since


def test_a_step_on_a_slow_ramp_adds_no_more_than_the_ramp() -> None:
    for since in range(1, 20):
        rates = [100.0 + n + (200.0 if n >= 40 else 0.0) for n in range(40 + since)]
        found = history_of(*rates)
        assert found.forecast(60.0) <= found.level + 12.0 + 1e-6, since


def test_a_load_that_falls_is_forecast_to_stay() -> None:
    found = history_of(*(500.0 - 5 * n for n in range(40)))
    assert found.forecast(60.0) == found.level


def test_without_four_spans_there_is_no_trend() -> None:
    assert history_of(*(100.0 + 5 * n for n in range(10))).trend(60.0) == 0.0


def test_no_load_at_all_is_forecast_as_none() -> None:
    assert LoadHistory().forecast(60.0) == 0.0


def test_the_newest_rate_counts_at_once() -> None:
    found = history_of(100.0, 100.0)
    found.add(400.0, 1005.1)
    assert found.level == 400.0


def test_what_was_wanted_is_remembered_for_the_window_and_no_longer() -> None:
    found = LoadHistory()
    found.keep(500.0, 600.0, 1000.0, 300.0)
    found.keep(100.0, 0.0, 1290.0, 300.0)
    assert found.most() == (500.0, 600.0)
    found.keep(100.0, 0.0, 1306.0, 300.0)
    assert found.most() == (100.0, 0.0)


@pytest.mark.parametrize(
    ("values", "expected"), [([7], 7), ([1, 2], 2), ([1, 2, 3, 4], 3), ([4, 3, 2, 1], 3)]
)
def test_an_upper_quartile_is_one_of_the_values(values: list[float], expected: float) -> None:
    assert upper_quartile(values) == expected


def starting(since: float) -> ReplicaState:
    return ReplicaState(1, is_ready=False, since=since, ready_since=None)


def ready(at: float | None) -> ReplicaState:
    return ReplicaState(1, is_ready=True, since=0.0 if at is None else at, ready_since=at)


def test_a_start_lasts_from_registration_until_ready() -> None:
    starts = ColdStarts()
    starts.look({}, 0.0)
    starts.look({"a": starting(100.0)}, 100.0)
    starts.look({"a": ready(145.0)}, 145.0)
    assert starts.seconds == 45.0


def test_a_start_that_goes_on_lasts_at_least_as_long_as_it_has_so_far() -> None:
    starts = ColdStarts()
    starts.look({}, 0.0)
    seen = []
    for now in (100.0, 150.0, 220.0, 281.0):
        starts.look({"a": starting(100.0)}, now)
        seen.append(starts.seconds)
    # After three cold starts nobody counts on it any more.
    assert seen == [UNKNOWN, UNKNOWN, 120.0, UNKNOWN]
    starts.look({"a": ready(290.0)}, 290.0)
    assert starts.seconds == 190.0


def test_where_more_were_wanted_a_start_begins_when_they_were() -> None:
    starts = ColdStarts()
    starts.look({}, 0.0)
    starts.wanted(1, 70.0)
    starts.look({"a": starting(100.0)}, 100.0)
    starts.wanted(0, 101.0)
    starts.look({"a": ready(145.0)}, 145.0)
    assert starts.seconds == 75.0


def test_a_replica_that_registers_once_it_is_ready_shows_its_start_if_it_was_wanted() -> None:
    starts = ColdStarts()
    starts.look({}, 0.0)
    starts.look({"unasked": ready(50.0)}, 50.0)
    assert not starts.samples
    starts.wanted(1, 60.0)
    starts.look({"unasked": ready(50.0), "a": ready(90.0)}, 90.0)
    assert list(starts.samples) == [30.0]


def test_what_was_there_before_us_shows_no_start() -> None:
    starts = ColdStarts()
    starts.look({"a": ready(None), "b": starting(-math.inf)}, 0.0)
    starts.look({"a": ready(None), "b": ready(10.0)}, 10.0)
    assert starts.seconds == UNKNOWN


def test_a_start_that_took_absurdly_long_is_not_learned_from() -> None:
    starts = ColdStarts()
    starts.learn([LONGEST + 1, -1.0, 0.0])
    assert starts.seconds == UNKNOWN


def test_of_starts_the_upper_quartile_counts_and_old_ones_are_forgotten() -> None:
    starts = ColdStarts()
    starts.learn([500.0] * 20)
    starts.learn([10.0, 20.0, 30.0, 40.0] * 4)
    assert starts.seconds == 30.0
    assert len(starts.data()) == 16
