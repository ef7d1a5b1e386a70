"""What a pool does as a whole: windows of replicas added up, and an hour of that."""

import math
from dataclasses import replace

import pytest

from controlplane.plane import PoolTraffic
from controlplane.plane.trends import EVERY, Trends, quantiles, total
from controlplane.telemetry import Window

WINDOW = Window(
    at=100.0,
    seconds=5.0,
    samples=50.0,
    errors=0.0,
    rate=10.0,
    latency=0.01,
    p99=0.02,
    resolution="ok",
    in_flight=0.1,
    error_fraction=0.0,
)
BOUNDS = (0.01, 0.1, math.inf)


def distributed(seconds: float, *counts: float, bounds: tuple[float, ...] = BOUNDS) -> Window:
    return replace(WINDOW, seconds=seconds, bounds=bounds, counts=counts)


def added(*windows: Window | None, in_flight: float | None = None) -> PoolTraffic:
    return total(windows, [in_flight] * len(windows), None, 100.0)


def test_of_a_pool_of_which_nothing_is_known_nothing_is_said() -> None:
    assert added() == added(None) == PoolTraffic(at=100.0)


def test_requests_and_failures_are_added_up_each_over_its_own_time() -> None:
    failing = replace(WINDOW, seconds=10.0, errors=100.0, queue=3.0)
    found = added(WINDOW, failing)
    assert found.rate == 20.0
    # Ten of thirty requests a second.
    assert found.error_fraction == pytest.approx(1 / 3)
    assert found.queue == 3.0


def test_what_envoys_count_in_flight_is_believed_before_what_a_replica_says() -> None:
    assert added(WINDOW, WINDOW).in_flight == pytest.approx(0.2)
    assert added(WINDOW, WINDOW, in_flight=4.0).in_flight == 8.0


def test_a_quantile_is_of_all_requests_and_not_of_the_replicas() -> None:
    fast, slow = distributed(5.0, 990.0, 990.0, 990.0), distributed(5.0, 0.0, 10.0, 10.0)
    (p99,) = quantiles((fast, slow), 0.99)
    assert p99 == pytest.approx(0.01)
    (p999,) = quantiles((fast, slow), 0.999)
    assert p999 == pytest.approx(0.1 - 0.09 * 0.1)


def test_a_window_counts_by_its_rate() -> None:
    # A hundred requests in one second, and as many in a minute.
    fast, slow = distributed(1.0, 100.0, 100.0, 100.0), distributed(60.0, 0.0, 100.0, 100.0)
    (p50,) = quantiles((fast, slow), 0.5)
    assert p50 is not None
    assert p50 < 0.01


def test_replicas_may_have_other_buckets() -> None:
    coarse = distributed(5.0, 100.0, 100.0, bounds=(0.1, math.inf))
    fine = distributed(5.0, 100.0, 100.0, 100.0)
    (p50,) = quantiles((coarse, fine), 0.5)
    # Of the coarse ones a tenth lies below 10 ms.
    assert p50 == pytest.approx(0.01 * 100 / 110)


@pytest.mark.parametrize("counts", [(), (0.0, 0.0, 0.0)])
def test_without_a_distribution_there_is_no_quantile(counts: tuple[float, ...]) -> None:
    assert quantiles((distributed(5.0, *counts),), 0.5, 0.99) == (None, None)


def test_a_point_is_kept_for_an_hour_and_one_is_due_every_ten_seconds() -> None:
    trends = Trends()
    for number in range(400):
        now = number * EVERY
        assert trends.is_due("m", now)
        trends.add("m", PoolTraffic(at=now, rate=float(number)))
        assert not trends.is_due("m", now + EVERY - 0.1)
    found = trends.of("m", now)
    assert (len(found), found[-1].rate) == (360, 399.0)
    assert [item.rate for item in trends.of("m", now, since=15.0)] == [398.0, 399.0]


def test_points_of_a_time_without_decisions_are_forgotten_all_the_same() -> None:
    trends = Trends()
    trends.add("m", PoolTraffic(at=0.0))
    trends.add("m", PoolTraffic(at=4_000.0))
    assert [item.at for item in trends.of("m", 4_000.0)] == [4_000.0]
    trends.forget("m")
    assert trends.of("m", 4_000.0) == ()
