from dataclasses import replace
from math import inf

import pytest

from controlplane.telemetry import Histogram, History, Reading, Window

BOUNDS = (0.01, 0.1, 1.0, inf)


def reading(at: float, count: float, total: float, **more: float) -> Reading:
    """Everything took between 0.01 and 0.1 s."""
    latency = Histogram(BOUNDS, (0.0, count, count, count), total)
    return Reading(
        at, latency, errors=more.get("errors"), started_at=more.get("started_at"),
        queue=more.get("queue"),
    )  # fmt: skip


def steady(history: History, seconds: float, rate: float, latency: float = 0.05) -> Window:
    """Scrape every half second for so long; the last window."""
    window = None
    for tick in range(int(seconds * 2) + 1):
        count = rate * tick / 2
        window = history.add(reading(tick / 2, count, count * latency))
    assert window is not None
    return window


def test_rate_latency_and_requests_in_flight_are_those_of_the_last_five_seconds() -> None:
    window = steady(History(), 20, rate=40)
    assert window.seconds == 5
    assert window.samples == 200
    assert window.rate == pytest.approx(40)
    assert window.latency == pytest.approx(0.05)
    assert window.in_flight == pytest.approx(2)
    assert window.p99 == pytest.approx(0.01 + 0.09 * 0.99)
    assert window.resolution == "ok"


def test_a_window_stretches_until_it_holds_fifty_requests() -> None:
    window = steady(History(), 50, rate=2)
    assert window.seconds == 25
    assert window.samples == 50


def test_a_window_stretches_to_a_minute_and_no_further() -> None:
    window = steady(History(), 200, rate=0.5)
    assert window.seconds == 60
    assert window.samples == 30


def test_a_single_reading_says_nothing_about_the_past_of_its_counters() -> None:
    window = History().add(reading(0, 1000, 50, queue=3))
    assert (window.samples, window.latency, window.p99, window.seconds) == (0, None, None, 0)
    assert window.queue == 3


def test_a_counter_that_goes_down_starts_a_new_generation_without_history() -> None:
    history = History()
    steady(history, 20, rate=40)
    window = history.add(reading(20.5, 10, 0.5))
    assert history.generation == 1
    assert window.samples == 0


def test_an_error_counter_that_goes_down_starts_a_new_generation() -> None:
    history = History()
    history.add(reading(0, 10, 1, errors=5))
    history.add(reading(1, 10, 1, errors=4))
    assert history.generation == 1


def test_another_start_of_the_process_starts_a_new_generation() -> None:
    history = History()
    history.add(reading(0, 10, 1, started_at=1_700_000_000.0))
    history.add(reading(1, 20, 2, started_at=1_700_000_000.4))
    assert history.generation == 0
    window = history.add(reading(2, 30, 3, started_at=1_700_000_060.0))
    assert history.generation == 1
    assert window.samples == 0


def test_other_buckets_start_a_new_generation() -> None:
    history = History()
    history.add(reading(0, 10, 1))
    history.add(Reading(1, Histogram((0.5, inf), (20.0, 20.0), 2)))
    assert history.generation == 1


def test_a_histogram_that_appears_later_counts_from_zero() -> None:
    history = History()
    history.add(Reading(0, None))
    assert history.add(reading(1, 3, 0.15)).samples == 3


def test_an_error_counter_that_appears_later_counts_from_zero() -> None:
    history = History()
    history.add(reading(0, 10, 1))
    window = history.add(reading(1, 16, 2, errors=2))
    assert window.error_fraction == pytest.approx(0.25)


def test_a_reading_without_the_histogram_changes_no_counter() -> None:
    history = History()
    history.add(reading(0, 10, 1))
    history.add(Reading(1, None))
    assert history.generation == 0
    assert history.add(reading(2, 14, 1.2)).samples == 4


def test_a_pool_scraped_once_in_five_minutes_has_windows() -> None:
    history = History()
    history.add(reading(0, 0, 0))
    history.add(reading(300, 300, 30))
    window = history.add(reading(600, 900, 90))
    assert window.seconds == 300
    assert window.rate == pytest.approx(2)


def test_a_reading_of_the_same_instant_adds_nothing() -> None:
    history = History()
    history.add(reading(0, 0, 0))
    window = history.add(reading(1, 10, 1))
    assert history.add(reading(1, 10, 1)) == window


def test_the_history_is_bounded() -> None:
    history = History()
    steady(history, 300, rate=1)
    assert len(history._points) <= 122


def test_a_p99_in_the_first_bucket_says_so() -> None:
    history = History()
    history.add(reading(0, 0, 0))
    fast = Histogram(BOUNDS, (100.0, 100.0, 100.0, 100.0), 0.5)
    assert history.add(replace(reading(5, 0, 0), latency=fast)).resolution == "first bucket"


def trickle(history: History, latencies: list[float]) -> Window:
    """One request of each latency, a second apart, scraped after each; the last window."""
    window, total = history.add(reading(0, 0, 0)), 0.0
    for count, latency in enumerate(latencies, start=1):
        total += latency
        window = history.add(reading(count, count, total))
    return window


@pytest.mark.parametrize(("before", "after"), [(0.05, 0.5), (0.5, 0.05)])
def test_a_replica_that_has_changed_is_not_held_against_what_it_was(
    before: float, after: float
) -> None:
    window = trickle(History(), [before] * 40 + [after] * 12)
    assert window.latency == pytest.approx(after)


def test_what_was_forgotten_does_not_come_back_when_the_window_stretches() -> None:
    window = trickle(History(), [0.5] * 20 + [0.05] * 30)
    assert window.latency == pytest.approx(0.05)
    assert window.samples >= 30


def test_one_request_that_takes_long_changes_nothing() -> None:
    window = trickle(History(), [0.05] * 40 + [0.5] + [0.05] * 4)
    assert window.samples == 45


def test_a_replica_twice_as_slow_keeps_its_past() -> None:
    window = trickle(History(), [0.05] * 30 + [0.1] * 10)
    assert window.samples == 40
