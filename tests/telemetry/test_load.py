"""Load reports: what all Envoys together have at a replica, and what one of them can do to it."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.telemetry.consensus import TIMES
from controlplane.telemetry.load import (
    FORGOTTEN,
    STEP,
    ClassLoad,
    Endpoint,
    Load,
    LoadReports,
)
from controlplane.telemetry.sizes import MOST_COUNTED

A, B = Endpoint("p", "127.0.0.1", 9001), Endpoint("p", "127.0.0.1", 9002)


def steady(
    reports: LoadReports, *, envoys: int = 4, seconds: int = 10, rate: int = 10, busy: int = 1
) -> float:
    """Envoys that each end so many requests a second and have so many in flight."""
    for second in range(1, seconds + 1):
        for envoy in range(envoys):
            reports.record(envoy, {A: Load(rate, 0, busy)}, 1.0, float(second))
    return float(seconds)


def test_an_envoy_is_not_said_to_report_of_what_it_never_named() -> None:
    reports = LoadReports()
    reports.record("one", {A: Load(5, 0, 2)}, 1.0, 1.0)
    reports.record("two", {B: Load(5, 0, 2)}, 1.0, 4.0)
    # Only the first one has ever reported of A, and is silent since.
    assert reports.in_flight(A, 5.0) is None
    reports.gone("one", 5.0)
    assert reports.endpoints() == {B}


def test_what_is_in_flight_is_the_sum_over_envoys() -> None:
    reports = LoadReports()
    reports.record("one", {A: Load(5, 0, 2), B: Load(0, 0, 1)}, 0.5, 1.0)
    reports.record("two", {A: Load(5, 0, 3)}, 0.5, 1.0)
    assert (reports.in_flight(A, 1.0), reports.in_flight(B, 1.0)) == (5, 1)


def test_a_report_takes_the_place_of_the_one_before() -> None:
    reports = LoadReports()
    reports.record("one", {A: Load(5, 0, 2)}, 0.5, 1.0)
    reports.record("one", {A: Load(5, 0, 1)}, 0.5, 1.5)
    assert reports.in_flight(A, 1.5) == 1


def test_a_replica_that_a_report_leaves_out_has_nothing_in_flight() -> None:
    reports = LoadReports()
    reports.record("one", {A: Load(5, 0, 2)}, 0.5, 1.0)
    reports.record("one", {}, 0.5, 1.5)
    assert reports.in_flight(A, 1.5) == 0


def test_a_replica_of_which_nobody_reports_is_unknown_and_not_idle() -> None:
    reports = LoadReports()
    reports.record("one", {A: Load(5, 0, 2)}, 0.5, 1.0)
    assert reports.in_flight(B, 1.0) is None
    assert reports.window(B) is None


def test_what_an_envoy_had_in_flight_goes_with_it() -> None:
    reports = LoadReports()
    reports.record("one", {A: Load(5, 0, 2)}, 0.5, 1.0)
    reports.record("two", {A: Load(5, 0, 3)}, 0.5, 1.0)
    reports.gone("one", 1.1)
    assert reports.in_flight(A, 1.1) == 3
    reports.gone("two", 1.2)
    assert reports.in_flight(A, 1.2) is None
    assert reports.endpoints() == frozenset()


def test_an_envoy_that_says_nothing_any_more_is_forgotten_for_the_time() -> None:
    reports = LoadReports()
    reports.record("silent", {A: Load(5, 0, 2)}, 1.0, 1.0)
    reports.record("one", {A: Load(5, 0, 1)}, 1.0, 1.0)
    reports.record("one", {A: Load(5, 0, 1)}, 1.0, 1.0 + FORGOTTEN)
    assert reports.in_flight(A, 1.0 + FORGOTTEN) == 3
    reports.record("one", {A: Load(5, 0, 1)}, 1.0, 1.1 + FORGOTTEN)
    assert reports.in_flight(A, 1.1 + FORGOTTEN) == 1
    assert reports.in_flight(A, 60.0) is None


def test_a_window_says_how_often_what_is_in_flight_was_looked_at() -> None:
    """Whoever of several Envoys reports sees its part, so all together have looked once."""
    reports = LoadReports()
    at = steady(reports, envoys=4, seconds=10)
    window = reports.window(A)
    assert window is not None
    # The first one of all found nobody to share the look with.
    assert window.looks == pytest.approx(10 + (1 + 1 / 2 + 1 / 3 + 1 / 4) - 1)
    assert window.at == at


def test_points_are_a_step_apart_however_often_envoys_report() -> None:
    reports = LoadReports()
    windows = set()
    for tick in range(1, 101):
        reports.record("one", {A: Load(1, 0, 2)}, 0.1, tick / 10)
        window = reports.window(A)
        assert window is not None
        windows.add(window.at)
        assert window.rate == pytest.approx(10.0) or window.seconds == 0
    assert len(windows) == 9.9 // STEP + 1


def test_a_window_has_rate_latency_and_errors_by_littles_law() -> None:
    reports = LoadReports()
    for second in range(1, 11):
        reports.record("one", {A: Load(20, 5, 4)}, 1.0, float(second))
        reports.record("two", {A: Load(10, 0, 2)}, 1.0, float(second))
    window = reports.window(A)
    assert window is not None
    assert (window.at, window.seconds, window.samples, window.errors) == (10.0, 5.0, 150, 25)
    assert window.rate == pytest.approx(30.0)
    assert window.in_flight == pytest.approx(6.0)
    assert window.latency == pytest.approx(0.2)
    assert window.error_fraction == pytest.approx(25 / 175)
    assert window.p99 is None


def test_a_window_stretches_until_it_holds_enough() -> None:
    reports = LoadReports()
    for second in range(1, 101):
        reports.record("one", {A: Load(2, 0, 1)}, 1.0, float(second))
    window = reports.window(A)
    assert window is not None
    assert (window.seconds, window.samples) == (25.0, 50)


def test_what_two_envoys_report_at_one_moment_is_not_yet_a_rate() -> None:
    reports = LoadReports()
    reports.record("one", {A: Load(100, 0, 2)}, 1.0, 1.0)
    reports.record("two", {A: Load(100, 0, 2)}, 1.0, 1.000_001)
    window = reports.window(A)
    assert window is not None
    assert (window.rate, window.latency, window.in_flight) == (0.0, None, 0.0)


def test_history_has_an_end() -> None:
    reports = LoadReports()
    for second in range(1, 1001):
        reports.record("one", {A: Load(0, 0, 1)}, 1.0, float(second))
    window = reports.window(A)
    assert window is not None
    assert window.seconds <= 61.0


@pytest.mark.parametrize("claimed", [10, 1_000, 1_000_000])
def test_a_stuck_envoy_among_many_counts_for_one_request(claimed: int) -> None:
    reports = LoadReports()
    now = steady(reports)
    reports.record("stuck", {A: Load(0, 0, claimed)}, 1.0, now)
    assert reports.in_flight(A, now) == 5


@pytest.mark.parametrize("claimed", [10, 1_000, 1_000_000])
def test_a_lying_envoy_among_many_counts_for_a_few_times_the_others(claimed: int) -> None:
    reports = LoadReports()
    for _ in range(2):
        now = steady(reports)
    for _ in range(20):
        reports.record("liar", {A: Load(10, 0, claimed)}, 1.0, now)
    found = reports.in_flight(A, now)
    assert found is not None
    assert 4 <= found <= 4 + 1 + TIMES * 1.2


def test_where_most_envoys_wait_for_answers_none_is_held() -> None:
    reports = LoadReports()
    now = steady(reports)
    for second in range(1, 60):
        for envoy in range(4):
            reports.record(envoy, {A: Load(0, 0, 50)}, 1.0, now + second)
    assert reports.in_flight(A, now + 59) == pytest.approx(200, rel=0.05)


def test_three_envoys_are_enough_to_hold_one_of_them() -> None:
    reports = LoadReports()
    now = steady(reports, envoys=2)
    reports.record("stuck", {A: Load(0, 0, 1_000)}, 1.0, now)
    assert reports.in_flight(A, now) == 3


def test_envoys_without_a_request_have_no_say_in_what_requests_take() -> None:
    reports = LoadReports()
    for second in range(1, 11):
        for idle in range(9):
            reports.record(idle, {A: Load(0, 0, 0)}, 1.0, float(second))
        for busy in "abc":
            reports.record(busy, {A: Load(10, 0, 20)}, 1.0, float(second))
    assert reports.in_flight(A, 10.0) == 60


def test_two_envoys_cannot_outvote_each_other() -> None:
    reports = LoadReports()
    now = steady(reports, envoys=1)
    reports.record("other", {A: Load(0, 0, 1_000)}, 1.0, now)
    assert reports.in_flight(A, now) == 1_001


def test_an_envoy_with_nine_tenths_of_the_traffic_is_believed() -> None:
    reports = LoadReports()
    for second in range(1, 11):
        for envoy in range(11):
            # A tenth of a second for each request is one in flight at one moment in ten.
            has_one = (envoy + second) % 10 == 0
            reports.record(envoy, {A: Load(1, 0, has_one)}, 1.0, float(second))
        reports.record("gateway", {A: Load(100, 0, 10)}, 1.0, float(second))
    assert reports.in_flight(A, 10.0) == 10 + 2


REPORT = st.tuples(
    st.integers(0, 4),
    st.dictionaries(st.sampled_from([A, B]), st.builds(Load, *[st.integers(0, 10**6)] * 3)),
    st.floats(0, 60),
    st.floats(0, 5),
)


@given(st.lists(REPORT | st.integers(0, 4), max_size=30))
def test_whatever_is_reported_comes_to_finite_numbers_that_are_not_negative(
    steps: list[tuple[int, dict[Endpoint, Load], float, float] | int],
) -> None:
    reports, now = LoadReports(), 0.0
    for step in steps:
        if isinstance(step, int):
            reports.gone(step, now)
            continue
        reporter, loads, seconds, later = step
        now += later
        reports.record(reporter, loads, seconds, now)
        for endpoint in (A, B):
            found, window = reports.in_flight(endpoint, now), reports.window(endpoint)
            assert found is None or 0 <= found < math.inf
            if window:
                numbers = (window.rate, window.latency or 0.0, window.in_flight, window.samples)
                assert all(0 <= number < math.inf for number in numbers)
                assert 0 <= window.error_fraction <= 1


def test_what_came_for_each_class_is_told_apart_and_is_the_sum_together() -> None:
    reports, bulk = LoadReports(), Load(2, 1, 3)
    reports.record("one", {A: Load(5, 0, 2).plus(bulk, "bulk")}, 1.0, 1.0)
    reports.record("two", {A: Load(1, 0, 1)}, 1.0, 1.0)
    reports.record("one", {A: Load(4, 0, 0).plus(bulk, "bulk")}, 1.0, 2.0)
    assert reports.by_class(A, 2.0) == {
        "bulk": ClassLoad(4, 2, 3.0),
        "": ClassLoad(10, 0, 1.0),
    }
    assert reports.in_flight(A, 2.0) == 4.0


def test_classes_change_nothing_of_what_all_requests_come_to() -> None:
    told, untold = LoadReports(), LoadReports()
    for second in range(1, 6):
        told.record("one", {A: Load(3, 0, 1).plus(Load(2, 1, 3), "x")}, 1.0, float(second))
        untold.record("one", {A: Load(5, 1, 4)}, 1.0, float(second))
    assert told.window(A) == untold.window(A)
    assert told.in_flight(A, 5.0) == untold.in_flight(A, 5.0)


def test_a_class_of_which_nothing_is_reported_any_more_has_nothing_in_flight() -> None:
    reports = LoadReports()
    reports.record("one", {A: Load(0, 0, 0).plus(Load(0, 0, 3), "x")}, 1.0, 1.0)
    reports.record("one", {A: Load(0, 0, 1)}, 1.0, 2.0)
    assert reports.by_class(A, 2.0) == {"x": ClassLoad(0, 0, 0.0), "": ClassLoad(0, 0, 1.0)}
    reports.record("one", {}, 1.0, 3.0)
    assert reports.by_class(A, 3.0)[""].in_flight == 0.0


def test_of_a_replica_that_nobody_reports_of_no_class_is_known() -> None:
    assert LoadReports().by_class(A, 0.0) == {}


def test_an_envoy_that_claims_too_much_is_held_to_the_same_in_every_class() -> None:
    reports = LoadReports()
    for second in range(1, 11):
        for envoy in range(4):
            most = 1000 if envoy == 0 else 1
            load = Load(5, 0, most).plus(Load(5, 0, most), "x")
            reports.record(envoy, {A: load}, 1.0, float(second))
    found, total = reports.by_class(A, 10.0), reports.in_flight(A, 10.0)
    assert total is not None
    assert total < 100
    assert found["x"].in_flight == pytest.approx(found[""].in_flight) == pytest.approx(total / 2)


def failed(reports: LoadReports, *, envoys: int, liars: int = 0, part: float = 0.0) -> None:
    """Envoys that each see a request a second, of which a part fails; liars say that all do."""
    for second in range(1, 21):
        for envoy in range(envoys):
            lost = round(part * second) - round(part * (second - 1))
            reports.record(envoy, {A: Load(1 - lost, lost, 0)}, 1.0, float(second))
        for liar in range(liars):
            reports.record(-1 - liar, {A: Load(0, 1000, 0)}, 1.0, float(second))


def test_a_connection_that_is_refused_is_no_failed_request() -> None:
    """A request that cannot be sent goes to another replica; this one restarts."""
    reports = LoadReports()
    reports.record("one", {A: Load(80, 0, 6, issued=86)}, 1.0, 1.0)
    # Four of the six in progress are lost with the process; no other reaches it.
    reports.record("one", {A: Load(2, 54, 0, issued=0)}, 1.0, 2.0)
    assert reports.ended(A) == (82, 4)
    reports.record("one", {A: Load(0, 50, 0, issued=0)}, 1.0, 3.0)
    assert reports.ended(A) == (82, 4)
    found = reports.failing(A, 3.0)
    assert found is not None
    assert found.part < 0.1


def test_a_connection_that_is_refused_is_no_failed_request_of_any_class() -> None:
    reports = LoadReports()
    bulk = Load(1, 5, 0, issued=3)
    reports.record("one", {A: Load(10, 4, 0, issued=12).plus(bulk, "bulk")}, 1.0, 1.0)
    found = reports.by_class(A, 1.0)
    assert (found["bulk"].failed, found[""].failed) == (2, 2)


@pytest.mark.parametrize("envoys", [1, 2, 12])
def test_what_each_envoy_sees_a_sliver_of_adds_up(envoys: int) -> None:
    reports = LoadReports()
    failed(reports, envoys=envoys, part=0.5)
    found = reports.failing(A, 20.0)
    assert found is not None
    assert found.part == pytest.approx(0.5, abs=0.1)
    assert found.requests == pytest.approx(4.5 * envoys, rel=0.1)


def test_failures_are_noticed_within_seconds_and_forgotten_as_soon() -> None:
    reports = LoadReports()
    parts = []
    for second in range(1, 31):
        lost = 5 if 11 <= second <= 20 else 0
        reports.record("one", {A: Load(10 - lost, lost, 0)}, 1.0, float(second))
        found = reports.failing(A, float(second))
        assert found is not None
        parts.append(found.part)
    assert max(parts[:10]) == 0
    assert parts[12] > 0.2
    assert parts[-1] < 0.05


@pytest.mark.parametrize(("envoys", "liars"), [(1, 1), (2, 1), (9, 8), (12, 8)])
def test_what_half_of_the_envoys_or_fewer_say_of_a_replica_is_not_believed(
    envoys: int, liars: int
) -> None:
    reports = LoadReports()
    failed(reports, envoys=envoys, liars=liars)
    found = reports.failing(A, 20.0)
    assert found is not None
    assert found.part == 0


def test_an_envoy_that_sends_a_replica_nothing_has_no_say_in_whether_that_fails() -> None:
    reports = LoadReports()
    failed(reports, envoys=1, part=0.5)
    for second in range(1, 21):
        reports.record("idle", {B: Load(10, 0, 0)}, 1.0, float(second))
    found = reports.failing(A, 20.0)
    assert found is not None
    assert found.part == pytest.approx(0.5, abs=0.1)
    assert reports.failing(Endpoint("p", "127.0.0.1", 1), 20.0) is None


def test_what_envoys_of_a_place_send_counts_when_it_is_sent_and_by_class() -> None:
    reports = LoadReports()
    reports.arrivals.came("one", "eu/a")
    reports.arrivals.came("two", "eu/b")
    reports.record("one", {A: Load(0, 0, 30)}, 1.0, 1.0)
    reports.record("one", {A: Load(10, 2, 40)}, 1.0, 2.0)
    bulk = {"bulk": Load(3, 0, 4)}
    reports.record("two", {A: Load(5, 0, 6, bulk), B: Load(1, 0, 0)}, 1.0, 2.0)
    reports.record("unknown", {A: Load(5, 0, 0)}, 1.0, 2.0)
    assert reports.arrivals.of("p") == {
        ("", "eu/a"): 52,
        ("", "eu/b"): 5,
        ("bulk", "eu/b"): 7,
    }
    reports.record("two", {}, 1.0, 3.0)
    assert reports.arrivals.of("p")["bulk", "eu/b"] == 7
    assert reports.copy().arrivals.of("p") == reports.arrivals.of("p")
    reports.arrivals.forget("p")
    assert reports.arrivals.of("p") == {}


def test_what_a_place_sent_is_kept_when_its_envoys_connect_anew_but_not_of_any_number() -> None:
    reports = LoadReports()
    for number in range(2 * MOST_COUNTED):
        reports.arrivals.came(number, f"zone-{number}")
        reports.record(number, {A: Load(1, 0, 0)}, 1.0, 1.0)
        reports.gone(number, 2.0)
    assert 1 < len(reports.arrivals.of("p")) <= MOST_COUNTED + 1


def test_an_even_part_of_what_several_replicas_had_says_of_none_that_it_fails() -> None:
    reports = LoadReports()
    for second in range(1, 11):
        reports.record("grpc", {A: Load(8, 12, 4).part(2)}, 1.0, float(second))
    assert reports.failing(A, 10.0) is None
    assert reports.in_flight(A, 10.0) == 2
    window = reports.window(A)
    assert window is not None
    assert window.error_fraction == pytest.approx(0.6)
    assert window.rate == pytest.approx(4.0)


def test_what_failed_of_less_than_a_request_is_all_of_it() -> None:
    reports = LoadReports()
    for second in range(1, 11):
        reports.record("grpc", {A: Load(0, 1, 0).part(4)}, 1.0, float(second))
    window = reports.window(A)
    assert window is not None
    assert window.error_fraction == 1.0


def test_all_of_what_one_replica_had_says_whether_it_fails() -> None:
    reports = LoadReports()
    reports.record("grpc", {A: Load(8, 12, 4).part(1)}, 1.0, 1.0)
    found = reports.failing(A, 1.0)
    assert found is not None
    assert found.part == pytest.approx(0.6)


@pytest.mark.parametrize(("envoys", "rate"), [(12, 0.2), (50, 0.1), (50, 0.5)])
def test_envoys_with_few_requests_each_differ_by_chance_and_are_believed(
    envoys: int, rate: float
) -> None:
    reports, draw = LoadReports(), random.Random(1)  # noqa: S311
    ended = 0
    for second in range(120):
        for envoy in range(envoys):
            came = sum(draw.random() < rate / 10 for _ in range(10))
            ended += came
            reports.record(envoy, {A: Load(came, 0, 0)}, 1.0, float(second))
    window = reports.window(A)
    assert window is not None
    assert 0.97 * ended <= window.count <= ended
