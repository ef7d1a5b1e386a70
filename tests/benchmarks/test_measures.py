from math import inf

import pytest

from benchmarks.balance.cell import Cell
from benchmarks.balance.measures import (
    ALL,
    LATE,
    Work,
    most_in_flight,
    ratios,
    summarize,
    waiting,
    work,
)
from benchmarks.balance.replicas import State
from benchmarks.generator import Outcome, Request, decode, encode
from benchmarks.worlds import traffic
from benchmarks.worlds.scenarios import Scenario, Timing
from benchmarks.worlds.worlds import SlotsWorld

TWO = Scenario(
    "two", SlotsWorld(1, 0.001), (4.0, 1.0), traffic.single_texts(1.0), 0.8, Timing(10, 20)
)
CELL = Cell(TWO, 1)
CLASSES = Cell(Scenario("classes", SlotsWorld(), (1.0,), traffic.MIXED, 0.8, Timing(10, 20)), 1)


def answered(at: float, latency: float, kind: str = "", late: float = 0.0) -> Request:
    return Request(at, kind, 100, late, latency, 200, 0)


def failed(at: float, status: int | None = None, late: float = 0.0) -> Request:
    return Request(at, "", 100, late, None, status, None)


def test_requests_of_the_warm_up_do_not_count() -> None:
    requests = (answered(9.9, 5.0), answered(10.0, 0.1), answered(20.0, 0.1))
    summary = summarize(Outcome(requests, None, 0.1), CELL)
    found = summary.latency[ALL]
    assert (found.requests, found.p50, found.p99) == (2, 100, 100)


def test_a_failed_request_took_for_ever() -> None:
    requests = (answered(11, 0.1), failed(12))
    found = summarize(Outcome(requests, None, 0.1), CELL).latency[ALL]
    assert (found.failed, found.p50, found.p99) == (1, 100, inf)


def test_latency_is_told_by_class_and_of_all() -> None:
    requests = [answered(11, 0.1, "search"), answered(11, 0.2, "search"), answered(11, 3, "bulk")]
    latency = summarize(Outcome(tuple(requests), None, 0.1), CLASSES).latency
    assert {kind: of.p99 for kind, of in latency.items()} == {
        ALL: 3000,
        "search": 200,
        "bulk": 3000,
    }
    assert [of.requests for of in latency.values()] == [3, 2, 1]


def test_a_class_of_which_nothing_came_has_no_latency() -> None:
    outcome = Outcome((answered(11, 0.1, "search"),), None, 0.1)
    assert summarize(outcome, CLASSES).latency["bulk"].p99 == inf


def test_who_was_turned_away_is_told_apart_from_an_error() -> None:
    requests = (failed(11, 429), failed(12, 500), failed(13), failed(14, 429), failed(5, 500))
    summary = summarize(Outcome(requests, None, 0.1), CELL)
    assert (summary.overloaded, summary.errors) == (2, 2)


def test_what_replicas_did_is_taken_between_two_looks_at_them() -> None:
    before = [State(1.0, 100, 0), State(2.0, 0, 0)]
    after = [State(4.0, 700, 0), State(3.0, 400, 0)]
    assert work(before, after, 10.0) == Work(tokens=100.0, uneven=1.5)


def test_replicas_that_did_nothing_did_it_evenly() -> None:
    assert work([State(0, 0, 0)], [State(0, 0, 0)], 10.0).uneven == 1.0


def test_a_request_that_failed_in_the_warm_up_does_not_count_and_a_late_one_disturbs() -> None:
    warm_up = failed(5, late=0.1)
    requests = (warm_up, *(answered(10 + number, 0.1) for number in range(20)))
    summary = summarize(Outcome(requests, None, 0.1), CELL)
    assert (summary.errors, summary.latency[ALL].requests, summary.late) == (0, 20, 100)


def test_a_queue_that_grows_from_third_to_third_is_seen_and_its_end_is_shown() -> None:
    steady = [answered(number / 10, 0.5) for number in range(300)]
    # Each waits longer than the one before: 10 a second, at the end 12 s each.
    growing = [answered(number / 10, number / 25) for number in range(300)]
    # What was slow at first only does not grow.
    shrinking = [answered(number / 10, 3.0 if number < 90 else 0.5) for number in range(300)]
    found = [
        summarize(Outcome(tuple(each), None, 0.1), CELL) for each in (steady, growing, shrinking)
    ]
    assert [item.verdict for item in found] == ["steady", "growing", "steady"]
    assert found[0].waiting == pytest.approx(5, rel=0.1)
    assert 60 < found[1].waiting < 100
    assert found[2].waiting == pytest.approx(5, rel=0.1)


def test_a_run_has_collapsed_with_ten_seconds_of_everybodys_work_waiting() -> None:
    # Two replicas of speeds 4 and 1, a tenth of a second for a request at speed 1.
    assert most_in_flight(CELL) == 500


def test_a_cut_run_has_collapsed_and_has_no_latencies() -> None:
    summary = summarize(Outcome((answered(11, 0.1),), 11.5, 0.1), CELL)
    assert (summary.verdict, summary.cut_at, summary.latency[ALL].p50) == ("collapsed", 11.5, inf)


def test_a_run_cut_before_anything_counted_is_summarized_all_the_same() -> None:
    assert summarize(Outcome((), 3.0, 0.1), CELL).verdict == "collapsed"


def test_a_run_whose_generator_was_late_is_disturbed() -> None:
    requests = [answered(11, 0.2, late=late) for late in (0.001, 0.1)]
    summary = summarize(Outcome(tuple(requests), None, 0.1), CELL)
    assert summary.is_disturbed
    requests = [answered(11, 0.2, late=LATE / 1000)]
    assert not summarize(Outcome(tuple(requests), None, 0.1), CELL).is_disturbed


def test_waiting_is_rate_times_latency() -> None:
    requests = [answered(number / 10, 0.5) for number in range(1000)]
    assert waiting(requests, 20, 80) == pytest.approx(10 * 0.5)


def test_an_unanswered_request_waits_to_the_end() -> None:
    assert waiting([failed(5)], 0, 10) == pytest.approx(0.5)


def test_a_ratio_is_to_the_best_peer_of_the_same_repetition() -> None:
    found = ratios([10, 20, 30], [[100, 100, 100], [20, 20, 60]])
    assert found is not None
    assert found.peer == 1
    assert (found.ratio.low, found.ratio.middle, found.ratio.high) == (0.5, 0.5, 1.0)


def test_the_best_peer_has_the_lowest_median_and_not_the_luckiest_run() -> None:
    found = ratios([10, 10, 10], [[1, 100, 100], [20, 20, 20]])
    assert found is not None
    assert found.peer == 1


def test_a_collapsed_peer_is_never_the_best() -> None:
    found = ratios([10, 10, 10], [[1, 1, inf], [20, 20, 20]])
    assert found is not None
    assert found.peer == 1


def test_a_repetition_in_which_either_was_disturbed_does_not_count() -> None:
    found = ratios([10, None, 30, 10], [[20, 20, None, 10], [50, 1, 50, 50]])
    assert found is not None
    assert (found.peer, found.repetitions) == (0, 2)
    assert (found.ratio.low, found.ratio.high) == (0.5, 1.0)


def test_a_peer_that_was_never_undisturbed_with_us_is_not_the_best() -> None:
    found = ratios([10, None], [[None, 1], [20, 20]])
    assert found is not None
    assert (found.peer, found.repetitions) == (1, 1)
    assert ratios([None, None], [[1, 1]]) is None
    assert ratios([10, 10], [[None, None]]) is None


def test_who_collapsed_is_not_compared() -> None:
    assert ratios([10, inf], [[1, 1]]) is None
    assert ratios([10, 10], [[1, inf]]) is None


def test_an_outcome_survives_being_written() -> None:
    requests = (answered(1, 0.5), failed(2, late=0.1))
    outcome = Outcome(requests, 3.0, 0.2)
    assert decode(encode(outcome)) == outcome
