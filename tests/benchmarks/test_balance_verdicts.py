from math import inf

import pytest

from benchmarks.balance.measures import LATE
from benchmarks.balance.table import NO_ERROR, NO_OUT_OF_MEMORY, STILL, wanted
from benchmarks.balance.verdicts import Finding, judge, overall
from tests.benchmarks.balance_runs import run_of

PEERS = {"A": [run_of(100), run_of(200)], "B": [run_of(300), run_of(300)]}


def test_a_ratio_is_met_up_to_its_limit() -> None:
    ours = [run_of(65), run_of(130)]
    assert [item.verdict for item in judge([*wanted("all p99 <= 0.65")], ours, PEERS)] == ["met"]
    assert [each.verdict for each in judge([*wanted("all p99 <= 0.64")], ours, PEERS)] == ["MISSED"]


def test_a_ratio_is_taken_between_runs_with_the_same_seed() -> None:
    found = judge([*wanted("all p99 <= 1")], [run_of(50), run_of(200)], PEERS)
    assert found[0].found == "0.75 × (0.50–1.00) that of A"


def test_the_median_of_ratios_is_held_to_the_limit() -> None:
    ours = [run_of(50), run_of(200)]
    assert judge([*wanted("all p99 <= 0.75")], ours, PEERS)[0].verdict == "met"
    assert judge([*wanted("all p99 <= 0.6")], ours, PEERS)[0].verdict == "MISSED"


def test_each_class_and_each_quantile_has_a_limit_of_its_own() -> None:
    found = judge([*wanted("search p99 <= 0.6, bulk p50 <= 0.4")], [run_of(50), run_of(100)], PEERS)
    assert [item.verdict for item in found] == ["met", "MISSED"]
    assert [each.wanted.partition(" ≤")[0] for each in found] == ["search p99", "bulk p50"]


def test_a_class_is_held_to_its_own_best_peer() -> None:
    peers = {"A": [run_of(100, bulk=900)], "B": [run_of(200, bulk=600)]}
    found = judge([*wanted("search p99 <= 1, bulk p99 <= 1")], [run_of(50, bulk=1200)], peers)
    assert [item.found for item in found] == ["0.50 × that of A", "2.00 × that of B"]


def test_the_gap_to_who_knows_everything_is_told_and_is_no_target() -> None:
    ours, oracle = [run_of(50), run_of(100)], [run_of(25), run_of(25)]
    (found,) = judge([*wanted("all p99 <= 0.5")], ours, PEERS, oracle)
    assert found.found == "0.50 × that of A; 3.00 × (2.00–4.00) the oracle's"
    assert found.verdict == "met"


def test_nobody_is_compared_with_a_peer_that_collapsed() -> None:
    peers = {"A": [run_of(1), run_of(inf)], "B": [run_of(300), run_of(300)]}
    found = judge([*wanted("all p99 <= 1.05")], [run_of(300), run_of(300)], peers)
    assert (found[0].found, found[0].verdict) == ("1.00 × that of B", "met")


def test_where_every_peer_collapsed_nothing_is_met() -> None:
    found = judge([*wanted("all p99 <= 1.05")], [run_of(300)], {"A": [run_of(inf)]})
    assert found[0].verdict == "not comparable"


def test_who_collapses_in_any_run_has_missed() -> None:
    found = judge([*wanted("all p99 <= 1.05")], [run_of(1), run_of(inf)], PEERS)
    assert (found[0].found, found[0].verdict) == ("ours collapsed, or failed too often", "MISSED")


def test_a_disturbed_run_says_nothing_of_a_ratio_and_the_finding_says_so() -> None:
    ours = [run_of(50), run_of(inf, late=2 * LATE)]
    assert judge([*wanted("all p99 <= 0.6")], ours, PEERS)[0] == Finding(
        "all p99 ≤ 0.6 × the best peer's", "0.50 × that of A, 1 disturbed", "met"
    )
    peers = {"A": [run_of(100, late=2 * LATE), run_of(200)]}
    found = judge([*wanted("all p99 <= 0.6")], [run_of(10), run_of(200)], peers)
    assert (found[0].found, found[0].verdict) == ("1.00 × that of A, 1 disturbed", "MISSED")
    found = judge([*wanted("all p99 <= 0.6")], ours[1:], {"A": [run_of(100)]})
    assert found[0].verdict == "not comparable"


def test_a_single_weight_change_in_any_run_is_one_too_many() -> None:
    still = [run_of(1), run_of(1)]
    moved = [run_of(1), run_of(1, changes=1)]
    assert judge([STILL], still, PEERS)[0].verdict == "met"
    assert judge([STILL], moved, PEERS)[0].verdict == "MISSED"


def test_of_a_run_that_was_cut_nobody_knows_whether_weights_stood_still() -> None:
    (found,) = judge([STILL], [run_of(1), run_of(inf, changes=None)], PEERS)
    assert (found.found, found.verdict) == ("0, collapsed in each run", "MISSED")


def test_a_single_failed_request_is_one_too_many() -> None:
    assert judge([NO_ERROR], [run_of(1)], PEERS)[0].verdict == "met"
    assert judge([NO_ERROR], [run_of(1, failed=1)], PEERS)[0].verdict == "MISSED"


def test_a_run_that_was_cut_is_not_without_errors() -> None:
    assert judge([NO_ERROR], [run_of(inf)], PEERS)[0].verdict == "MISSED"


def test_memory_is_held_only_where_each_peer_ran_out_of_it() -> None:
    out = {"A": [run_of(1, out_of_memory=2)] * 2, "B": [run_of(1, out_of_memory=1), run_of(1)]}
    some = {"A": [run_of(1, out_of_memory=2)], "B": [run_of(1)]}
    assert judge([NO_OUT_OF_MEMORY], [run_of(1)], out)[0] == Finding(
        "no out-of-memory error where each peer has some", "0, peers 1–4", "met"
    )
    assert judge([NO_OUT_OF_MEMORY], [run_of(1)], some)[0].verdict == "not comparable"
    assert judge([NO_OUT_OF_MEMORY], [run_of(1)], some)[0].found.endswith("none either with B")
    assert judge([NO_OUT_OF_MEMORY], [run_of(1, out_of_memory=1)], out)[0].verdict == "MISSED"


def test_a_row_is_met_when_everything_is() -> None:
    met, missed, open_ = (
        Finding("", "", "met"),
        Finding("", "", "MISSED"),
        Finding("", "", "not comparable"),
    )
    assert overall([met, met]) == "met"
    assert overall([met, open_]) == "not comparable"
    assert overall([open_, missed, met]) == "MISSED"


@pytest.mark.parametrize("text", ["", "p99 <= 1", "all p90 <= 1", "all p99 < 1", "no errors"])
def test_what_cannot_be_asked_for_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="nothing that can be asked for"):
        [*wanted(text)]
