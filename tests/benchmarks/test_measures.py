from math import inf

import pytest

from benchmarks.balance.measures import LATE, most_in_flight, ratios, summarize, waiting
from benchmarks.balance.outcome import Outcome, Request, decode, encode
from benchmarks.balance.scenario import Scenario, Timing

SCENARIO = Scenario(
    "two", sidecars=1, speeds=(4.0, 1.0), load=0.8, token_seconds=0.001, timing=Timing(10, 20)
)


def answered(at: float, latency: float, replica: int = 0) -> Request:
    return Request(at, 0.0, latency, replica)


def test_requests_of_the_warm_up_do_not_count() -> None:
    requests = (answered(9.9, 5.0), answered(10.0, 0.1), answered(20.0, 0.1))
    summary = summarize(Outcome(requests, None, 0.1), SCENARIO)
    assert (summary.requests, summary.p50, summary.p99) == (2, 100, 100)


def test_a_failed_request_took_for_ever() -> None:
    requests = (answered(11, 0.1), Request(12, 0.0, None, None))
    summary = summarize(Outcome(requests, None, 0.1), SCENARIO)
    assert (summary.failed, summary.p50, summary.p99) == (1, 100, inf)


def test_a_request_that_failed_in_the_warm_up_does_not_count_and_a_late_one_disturbs() -> None:
    warm_up = Request(5, 0.1, None, None)
    requests = (warm_up, *(answered(10 + number, 0.1) for number in range(20)))
    summary = summarize(Outcome(requests, None, 0.1), SCENARIO)
    assert (summary.failed, summary.requests, summary.late) == (0, 20, 100)


def test_fast_replicas_have_their_part_of_what_was_answered() -> None:
    served = [answered(11, 0.1, replica) for replica in (0, 0, 0, 1)]
    failed = [Request(12, 0.0, None, None)] * 4
    assert summarize(Outcome((*served, *failed), None, 0.1), SCENARIO).fast == 0.75


def test_a_queue_that_grows_from_third_to_third_is_seen_and_its_end_is_shown() -> None:
    steady = [answered(number / 10, 0.5) for number in range(300)]
    # Each waits longer than the one before: 10 a second, at the end 12 s each.
    growing = [answered(number / 10, number / 25) for number in range(300)]
    # What was slow at first only does not grow.
    shrinking = [answered(number / 10, 3.0 if number < 90 else 0.5) for number in range(300)]
    found = [
        summarize(Outcome(tuple(it), None, 0.1), SCENARIO) for it in (steady, growing, shrinking)
    ]
    assert [it.verdict for it in found] == ["steady", "growing", "steady"]
    assert found[0].waiting == pytest.approx(5, rel=0.1)
    assert 60 < found[1].waiting < 100
    assert found[2].waiting == pytest.approx(5, rel=0.1)


def test_a_run_has_collapsed_with_two_seconds_of_everybodys_work_waiting() -> None:
    # Two replicas of speeds 4 and 1, a tenth of a second for a request at speed 1.
    assert most_in_flight(SCENARIO) == 100


def test_a_cut_run_has_collapsed_and_has_no_latencies() -> None:
    summary = summarize(Outcome((answered(11, 0.1),), 11.5, 0.1), SCENARIO)
    assert (summary.verdict, summary.cut_at, summary.p50) == ("collapsed", 11.5, inf)


def test_a_run_cut_before_anything_counted_is_summarized_all_the_same() -> None:
    assert summarize(Outcome((), 3.0, 0.1), SCENARIO).verdict == "collapsed"


def test_a_run_whose_generator_was_late_is_disturbed() -> None:
    requests = [Request(11 + number, late, 0.2, 0) for number, late in enumerate((0.001, 0.1))]
    summary = summarize(Outcome(tuple(requests), None, 0.1), SCENARIO)
    assert summary.is_disturbed
    requests = [Request(11, LATE / 1000, 0.2, 0)]
    assert not summarize(Outcome(tuple(requests), None, 0.1), SCENARIO).is_disturbed


def test_waiting_is_rate_times_latency() -> None:
    requests = [answered(number / 10, 0.5) for number in range(1000)]
    assert waiting(requests, 20, 80) == pytest.approx(10 * 0.5)


def test_an_unanswered_request_waits_to_the_end() -> None:
    assert waiting([Request(5, 0.0, None, None)], 0, 10) == pytest.approx(0.5)


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
    requests = (answered(1, 0.5), Request(2, 0.1, None, None))
    assert decode(encode(requests, 3.0, 0.2)) == Outcome(requests, 3.0, 0.2)
