"""The benchmark of faults: its scenarios, arithmetic and table."""

from dataclasses import replace
from math import inf
from typing import Any, get_args

import pytest

from benchmarks.failover import __main__ as command
from benchmarks.failover import report
from benchmarks.failover.contenders import CONTENDERS
from benchmarks.failover.measures import Cost, Seen, cost
from benchmarks.failover.report import Entry, judge, ratio
from benchmarks.failover.scenarios import FAULT_AT, PATIENCE, SCENARIOS, Deed, Mode
from benchmarks.generator import Outcome, Request

KILL = SCENARIOS["kill-1-of-4"]
NOBODY = Seen(reached=None, died=0, kept=0)


def request(at: float, took: float | None = 0.04, status: int | None = 200) -> Request:
    latency = took if status == 200 else None
    return Request(at, "", 100, 0.001, latency, status, 0 if status == 200 else None, took)


def failed(at: float, took: float | None = 0.01, status: int | None = 503) -> Request:
    return request(at, took, status)


def cost_of(*requests: Request, seen: Seen = NOBODY) -> Cost:
    steady = [request(at / 10) for at in range(120)]
    return cost(Outcome((*steady, *requests), None, 0.1), KILL, seen)


def spent(seconds: float, lost: int = 0, **more: Any) -> Cost:
    plain = Cost(1000, lost, 0, 0, seconds, lasting=False, faults={}, late=1.0, reached=None,
                 died=0, kept=0)  # fmt: skip
    return replace(plain, **more)


def test_every_scenario_does_only_what_can_be_done_and_to_replicas_that_there_are() -> None:
    for scenario in SCENARIOS.values():
        times = [act.at for act in scenario.acts]
        assert times == sorted(times)
        assert -FAULT_AT < times[0] <= times[-1] < scenario.seconds
        for act in scenario.acts:
            assert act.do in get_args(Deed)
            assert set(act.to) <= set(range(scenario.replicas))
    assert set(get_args(Mode)) < set(get_args(Deed))


def test_load_is_what_is_left_of_the_fleet_can_carry() -> None:
    for scenario in SCENARIOS.values():
        left = scenario.replicas - len(scenario.ended)
        assert scenario.load * scenario.replicas / left <= 0.91, scenario.name
    assert KILL.cell.rate == pytest.approx(240)


def test_big_bodies_are_of_two_mebibytes_and_no_other_request_is_poison() -> None:
    assert 4 * SCENARIOS["big-bodies"].tokens == 2 << 20
    assert SCENARIOS["network-cut"].stalled == {0}
    assert KILL.stalled == set()


def test_a_run_without_a_fault_that_is_felt_takes_no_time() -> None:
    found = cost_of()
    assert (found.failed, found.slow, found.seconds, found.lasting) == (0, 0, 0.0, False)


def test_the_time_counts_from_the_fault_to_the_end_of_the_last_that_failed_or_was_slow() -> None:
    found = cost_of(failed(3.5), request(4.0, took=1.5), request(6.0, took=0.2))
    assert (found.failed, found.slow) == (1, 1)
    assert found.seconds == pytest.approx(2.5)
    assert not found.lasting
    assert found.faults == {"503": 1}


def test_what_was_slow_before_the_fault_or_left_late_is_not_counted() -> None:
    held_up = replace(request(4.0, took=2.0), late=1.9)
    found = cost_of(request(1.0, took=1.9), held_up)
    assert (found.slow, found.seconds) == (0, 0.0)


def test_what_failed_before_the_fault_is_told_apart_and_takes_no_time() -> None:
    found = cost_of(failed(1.0))
    assert (found.failed, found.before, found.seconds) == (1, 1, 0.0)


def test_a_fault_that_is_felt_at_the_end_of_the_load_lasts() -> None:
    found = cost_of(failed(KILL.total - 0.2))
    assert found.lasting
    assert "≥ 8.8 s" in report.cell([found])


def test_a_request_that_is_never_answered_has_waited_until_the_load_was_given_up() -> None:
    found = cost_of(failed(3.2, took=None, status=None))
    assert found.seconds == pytest.approx(KILL.total + PATIENCE - FAULT_AT)
    assert found.lasting
    assert found.faults == {"unanswered at the end": 1}


def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    assert cost_of(failed(3.2, status=None)).faults == {"no answer": 1}


def test_requests_that_reach_replicas_are_counted_for_each_of_a_client_since_the_fault() -> None:
    after = sum(at / 10 >= FAULT_AT for at in range(120))
    assert cost_of(seen=Seen(reached=3 * after, died=1, kept=2)).reached == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("ours", "peer", "found"), [(0.0, 0.0, 0.0), (0.0, 2.0, 0.0), (1.0, 2.0, 0.5), (1.0, 0.0, inf)]
)
def test_no_time_is_less_than_any_other(ours: float, peer: float, found: float) -> None:
    assert ratio(ours, peer) == found


def test_ours_is_held_to_the_peer_that_took_the_least_time() -> None:
    costs = {
        "plimsoll": [spent(1.0), spent(1.2), spent(9.0)],
        "haproxy": [spent(2.5), spent(3.0), spent(3.0)],
        "nginx": [spent(8.0), spent(8.0), spent(8.0)],
    }
    verdict = judge(KILL, costs)
    assert verdict is not None
    assert verdict.best == "haproxy"
    assert verdict.ratio == pytest.approx(0.4)
    assert verdict.missed == ()


def test_one_lost_request_in_any_repetition_is_a_miss() -> None:
    costs = {"plimsoll": [spent(0.0), spent(0.1, lost=1)], "nginx": [spent(1.0), spent(1.0)]}
    verdict = judge(KILL, costs)
    assert verdict is not None
    assert verdict.missed == ("failed 1, wanted 0",)


@pytest.mark.parametrize(
    ("name", "more", "missed"),
    [
        ("all-503", {"reached": 3.99}, "reached replicas × 3.99, wanted 1.5"),
        ("poison", {"died": 3}, "replicas died 3, wanted 2"),
        ("trickle", {"kept": 20}, "uploads kept 20, wanted 0"),
    ],
)
def test_each_scenario_is_held_to_what_it_is_about(
    name: str, more: dict[str, Any], missed: str
) -> None:
    costs = {"plimsoll": [spent(0.0, **more)], "nginx": [spent(1.0)]}
    verdict = judge(SCENARIOS[name], costs)
    assert verdict is not None
    assert verdict.missed == (missed,)


def test_requests_that_nobody_could_answer_are_no_miss() -> None:
    costs = {"plimsoll": [spent(5.0, lost=900, reached=1.2)], "nginx": [spent(1.0)]}
    verdict = judge(SCENARIOS["all-503"], costs)
    assert verdict is not None
    assert verdict.missed == ()


def test_the_table_has_a_line_for_each_scenario_and_says_how_many_are_met() -> None:
    entries = [
        Entry("kill-1-of-4", "plimsoll", 2, spent(0.5)),
        Entry("kill-1-of-4", "plimsoll", 1, spent(1.5, lost=2)),
        Entry("kill-1-of-4", "nginx", 1, spent(4.0)),
        Entry("kill-1-of-4", "nginx", 2, spent(4.0)),
        Entry("plane-killed", "plimsoll", 1, spent(0.0)),
    ]
    text = report.table(entries)
    assert "| scenario | Plimsoll | nginx | ratio | missed |" in text
    assert (
        "| SIGKILL of 1 of 4 | 2 of 2000 failed, 1 s (0.5–1.5) | 0 of 2000 failed, 4 s (4–4)"
        " | 0.25 × | failed 2, wanted 0 |"
    ) in text
    assert "| control plane SIGKILLed, back after 4 s | 0 of 1000 failed | – | – | met |" in text
    assert "Of 2 scenarios 1 are met." in text


def test_the_sheet_has_a_line_for_each_run() -> None:
    entries = [Entry("hung", "nginx", 1, spent(1.0, 7, faults={"503": 4, "no answer": 3}))]
    top, line = report.sheet(entries).splitlines()
    assert dict(zip(top.split(","), line.split(","), strict=True)) == {
        "scenario": "hung", "contender": "nginx", "repetition": "1", "requests": "1000",
        "failed": "7", "before": "0", "slow": "0", "seconds": "1.0", "lasting": "False",
        "faults": "503: 4; no answer: 3", "late": "1.0", "reached": "", "died": "0", "kept": "0",
    }  # fmt: skip


def test_contenders_are_interleaved_and_who_has_no_control_plane_loses_none() -> None:
    scenarios = [KILL, SCENARIOS["plane-killed"]]
    found = [
        (scenario.name, [contender.name for contender in contenders], repetition)
        for scenario, contenders, repetition in command.units(scenarios, CONTENDERS, 2)
    ]
    assert found == [
        ("kill-1-of-4", ["plimsoll", "haproxy", "nginx"], 1),
        ("plane-killed", ["plimsoll"], 1),
        ("kill-1-of-4", ["haproxy", "nginx", "plimsoll"], 2),
        ("plane-killed", ["plimsoll"], 2),
    ]
    assert command.slots_of(CONTENDERS, 2) == [CONTENDERS[:2], CONTENDERS[2:]]
