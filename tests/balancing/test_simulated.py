"""Balancing in simulated worlds: short runs, few seeds, loose bounds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from statistics import median
from typing import Any

import pytest

from benchmarks.simulation.balancing import Balanced, Reported
from benchmarks.simulation.contenders import play
from benchmarks.simulation.envoys import Envoys
from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.measures import Run, run_of
from benchmarks.simulation.told import Told
from benchmarks.worlds import traffic
from benchmarks.worlds.scenarios import (
    FAST_AND_SLOW,
    SCENARIOS,
    THREE_EQUAL,
    Change,
    Scenario,
    Timing,
)
from benchmarks.worlds.worlds import BATCHING, INFINITY, SLOTS, TRITON, VLLM
from controlplane.balancing import Decision

ONE_TEXT = traffic.single_texts(1.0)
BATCHES = Scenario("", BATCHING, FAST_AND_SLOW, ONE_TEXT, 0.7, Timing(25, 20))
SLOW_SLOTS = Scenario("", SLOTS, FAST_AND_SLOW, ONE_TEXT, 0.7, Timing(25, 20))
CLASSES = Scenario("", BATCHING, FAST_AND_SLOW, traffic.MIXED, 0.7, Timing(25, 20))


@cache
def played(
    scenario: Scenario,
    seed: int = 1,
    *,
    envoys: int = 4,
    make: Callable[[Fleet], Balanced] = Balanced,
) -> tuple[Run, list[Decision]]:
    """A run, and every decision in it."""
    made: list[Balanced] = []

    def contender(fleet: Fleet) -> Envoys:
        made.append(make(fleet))
        return Envoys(fleet, made[0])

    record = Fleet(scenario, envoys, seed, contender).play()
    return run_of(record), made[0].decisions


def counting(scenario: Scenario, decisions: Sequence[Decision]) -> list[Decision]:
    return [each for each in decisions if each.at >= scenario.timing.warm_up]


def errors(scenario: Scenario, seeds: Sequence[int]) -> list[float]:
    """By how much confident estimates are off: their logarithms, over the truth, ascending."""
    off = []
    for seed in seeds:
        last = played(scenario, seed)[1][-1]
        off += [
            math.log(last.capacity[row] / scenario.carries(int(id_)))
            for id_, row in last.rows.items()
            if last.state.records.worth[row] >= 100
        ]
    assert len(off) >= 6
    return sorted(off)


@pytest.mark.parametrize(
    ("scenario", "load"),
    [
        (BATCHES, 0.4),
        (BATCHES, 0.7),
        (BATCHES, 0.95),
        (SLOW_SLOTS, 0.4),
        (SLOW_SLOTS, 0.7),
        (SLOW_SLOTS, 0.95),
    ],
)
def test_a_confident_estimate_is_near_the_truth(scenario: Scenario, load: float) -> None:
    """Within 15 % for four in five, and within 10 % for the middle one."""
    off = [abs(each) for each in errors(replace(scenario, load=load), (1, 2, 3, 4))]
    off.sort()
    assert median(off) < math.log(1.10)
    assert off[int(0.8 * len(off))] < math.log(1.15)


def test_what_a_start_costs_follows_from_counted_batches_of_several_sizes() -> None:
    """A start takes as long on each of them, and a fast one computes more tokens meanwhile."""
    scenario = replace(BATCHES, world=VLLM)
    found = played(scenario, 3)[1][-1].state.records.shapes.overhead()[0]
    assert min(found[:2]) > 2 * max(found[2:8])


@pytest.mark.parametrize("load", [0.4, 0.7, 0.95])
@pytest.mark.parametrize("scenario", [BATCHES, SLOW_SLOTS], ids=["batches", "slots"])
def test_confident_estimates_agree_with_each_other(scenario: Scenario, load: float) -> None:
    """Shares rest on ratios: what is wrong with all alike does no harm."""
    off = errors(replace(scenario, load=load), (3,))
    middle = median(off)
    assert all(abs(each - middle) < math.log(1.4) for each in off)


@pytest.mark.parametrize("load", [0.4, 0.7, 0.95])
@pytest.mark.parametrize(
    "scenario", [BATCHES, SLOW_SLOTS, CLASSES], ids=["batches", "slots", "classes"]
)
def test_shares_do_not_swing_in_steady_traffic(scenario: Scenario, load: float) -> None:
    """What each replica gets, from second to second, but for tiers that lean by their lines.

    At 95 % with bulk, lines of seconds come and go by chance, and tiers rightly lean by them.
    """
    some = replace(scenario, load=load)
    _, decisions = played(some, 3)
    steady = counting(some, decisions)[::4]
    leans = scenario is CLASSES and load > 0.9
    told = [each.state.relative if leans else each.weight for each in steady]
    swings = 0
    for before, after, was, now in zip(steady, steady[1:], told, told[1:], strict=False):
        if [each.name for each in before.classes] != [each.name for each in after.classes]:
            continue
        for id_, row in after.rows.items():
            swings += not 1 / 1.5 <= now[row] / was[before.rows[id_]] <= 1.5
    assert swings <= 4
    of = [
        [values[each.rows[str(n)]] for each, values in zip(steady, told, strict=True)]
        for n in range(8)
    ]
    assert sum(max(each) > 1.5 * min(each) for each in of) <= 2


class Wrong(Balanced):
    """Takes a fast replica for one that is thirty times as slow, by few old requests."""

    def decide(self, present: Sequence[int], now: float) -> Told:
        told = super().decide(present, now)
        if 24.9 < now < 25.1:
            last = self.decisions[-1]
            row, records = last.rows["0"], last.state.records
            parts, before = records.parts.copy(), records.before.copy()
            parts[row] = 0.0
            parts[row, 0] = (21.0, 21.0 * 30, 21.0 * 100 * 30 * last.capacity[row] / 30 / 100)
            parts[row, 0, 2] = parts[row, 0, 1] * last.capacity[row] / 30
            before[row] = math.nan
            relative = last.state.relative.copy()
            relative[row] = 0.05
            records = replace(records, parts=parts, before=before)
            state = replace(last.state, records=records, relative=relative)
            self.decisions[-1] = replace(last, state=state)
        return told


@pytest.mark.parametrize("scenario", [BATCHES, SLOW_SLOTS], ids=["batches", "slots"])
def test_a_replica_held_back_by_a_wrong_estimate_is_measured_again(scenario: Scenario) -> None:
    _, decisions = played(replace(scenario, timing=Timing(25, 15)), make=Wrong)
    at = [(each.at, each.capacity[each.rows["0"]] / scenario.carries(0)) for each in decisions]
    held = [each.state.relative[each.rows["0"]] for each in decisions if each.at > 25]
    assert min(held) < 0.3
    assert next((when - 25 for when, part in at if when > 25.5 and part > 0.6), 99.0) <= 12


def stuck(fleet: Fleet) -> Balanced:
    """The queue gauge of a fast replica says 300 from some time on."""
    server = fleet.servers[0]
    plain = server.exposition

    def exposition(now: float) -> str:
        lines = plain(now).splitlines()
        if now < 25:
            return plain(now)
        return (
            "\n".join(
                "te_queue_size 300" if line.startswith("te_queue_size ") else line for line in lines
            )
            + "\n"
        )

    server.exposition = exposition  # type: ignore[method-assign]
    return Balanced(fleet)


def test_a_queue_gauge_that_sticks_is_disbelieved() -> None:
    scenario = replace(SLOW_SLOTS, load=0.5, timing=Timing(30, 30))
    _, decisions = played(scenario, make=stuck)
    seen = [(each.at, each.tier_of(each.rows["0"])) for each in decisions]
    assert any(tier.startswith("overloaded") for at, tier in seen if at > 25)
    assert not any(tier.startswith("overloaded") for at, tier in seen if at > 42)
    last = decisions[-1]
    assert last.state.relative[last.rows["0"]] > 2


def test_searches_and_bulk_get_replicas_of_their_own_and_searches_are_fast() -> None:
    run, decisions = played(CLASSES)
    assert run.failed == 0
    assert {each.name for each in decisions[-1].classes} == {"", "bulk"}
    assert run.p99("search") <= 0.3 * play(CLASSES, 4, "FULL_SCAN", 1).p99("search")


@pytest.mark.parametrize(
    "world",
    [VLLM, TRITON, INFINITY],
    ids=["vllm", "triton", "infinity"],
)
def test_searches_are_fast_on_servers_that_do_not_time_their_batches(world: Any) -> None:
    scenario = replace(CLASSES, world=world)
    run, decisions = played(scenario)
    assert {each.name for each in decisions[-1].classes} == {"", "bulk"}
    peer = play(scenario, 4, "FULL_SCAN", 1)
    assert run.p99("search") <= 0.4 * peer.p99("search")
    assert run.p99("bulk") <= 1.3 * peer.p99("bulk")


def test_the_faster_of_two_keeps_what_it_carries_when_each_has_a_class() -> None:
    scenario = replace(CLASSES, speeds=(6.5, 1.0), load=0.5, timing=Timing(40, 20))
    run, decisions = played(scenario)
    last = decisions[-1]
    assert {each.name for each in last.classes} == {"", "bulk"}
    carried = last.capacity[last.rows["0"]] / scenario.carries(0)
    assert 0.7 < carried < 1.3
    assert run.p99("search") < 200


def test_replicas_for_searches_settle_when_they_have_done_what_they_had() -> None:
    _, decisions = played(CLASSES)
    parted = [each.division for each in decisions if each.division.is_planned]
    assert parted[0].joined.keys() == parted[0].sets[""]
    assert not parted[-1].joined


def test_three_equal_replicas_with_lognormal_sizes_are_not_parted() -> None:
    for world in (BATCHING, SLOTS):
        scenario = Scenario("", world, THREE_EQUAL, ONE_TEXT, 0.7, Timing(20, 20))
        _, decisions = played(scenario)
        assert not any(each.classes for each in decisions)


def never_starves(decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        for each in decision.classes:
            rows = [*decision.rows.values()]
            assert (each.weights[rows] > 0).any()
        assert sum(decision.share[[*decision.rows.values()]]) == pytest.approx(1)


PHASES: Mapping[str, Any] = {
    "searches grow tenfold": traffic.more_searches(30, 45, 10.0),
    "bulk begins": traffic.bulk_job(30, 45),
    "a burst": traffic.burst(30, 45, 0.95 / 0.5),
}


@pytest.mark.parametrize("name", PHASES)
def test_no_class_starves_when_traffic_changes(name: str) -> None:
    scenario = replace(CLASSES, traffic=PHASES[name], load=0.4)
    run, decisions = played(scenario)
    never_starves(decisions)
    assert run.failed == 0
    assert not run.collapsed
    assert run.tokens > 0


@pytest.mark.parametrize("speeds", [(1.0,), (1.0, 1.0), (4.0, 1.0)])
def test_small_fleets_serve_all(speeds: tuple[float, ...]) -> None:
    run, decisions = played(replace(CLASSES, speeds=speeds))
    never_starves(decisions)
    assert run.failed == 0
    assert not run.collapsed
    same = play(replace(CLASSES, speeds=speeds), 4, "Plimsoll, not parted", 1)
    assert run.p99("search") <= 1.25 * same.p99("search")


def test_the_last_replica_of_the_set_for_searches_may_die() -> None:
    _, before = played(replace(CLASSES, load=0.5))
    number = int(sorted(before[-1].division.sets[""])[0])
    scenario = replace(CLASSES, load=0.5, dies=(40.0, number))
    run, decisions = played(scenario)
    never_starves(decisions)
    assert not run.collapsed
    # Only what was sent before health checks noticed.
    assert run.failed < 0.05


WORLDS = [pytest.param(BATCHING, id="batches"), pytest.param(SLOTS, id="slots")]


@pytest.mark.parametrize("world", WORLDS)
def test_a_replica_that_clocks_to_a_half_is_followed_within_three_windows(world: Any) -> None:
    scenario = Scenario(
        "", world, FAST_AND_SLOW, ONE_TEXT, 0.6, Timing(30, 17), changes=(Change(30, 1, 2.0),)
    )
    _, decisions = played(scenario)
    last = decisions[-1]
    assert last.capacity[last.rows["1"]] < 0.75 * scenario.carries(1)


@pytest.mark.parametrize("world", WORLDS)
def test_a_replica_that_slows_down_tenfold_gets_little_within_seconds(world: Any) -> None:
    scenario = Scenario(
        "", world, FAST_AND_SLOW, ONE_TEXT, 0.55, Timing(30, 6), changes=(Change(30, 1, 10.0),)
    )
    _, decisions = played(scenario)
    before = next(each for each in decisions if each.at >= 29)
    last = decisions[-1]
    assert last.share[last.rows["1"]] < 0.4 * before.share[before.rows["1"]]


def test_load_reports_alone_tell_fast_from_slow() -> None:
    """Most of the time: each look is one sample of what is in flight."""
    _, decisions = played(SLOW_SLOTS, make=Reported)

    def ratio(decision: Decision) -> float:
        found = [float(decision.capacity[decision.rows[str(number)]]) for number in range(8)]
        return median(found[:2]) / median(found[2:])

    assert median(map(ratio, counting(SLOW_SLOTS, decisions))) > 1.5


def test_every_named_scenario_can_be_decided() -> None:
    """Each for a few seconds, so that none finds an error of ours first."""
    for scenario in SCENARIOS.values():
        if scenario.rate > 300:
            continue
        brief = replace(scenario, timing=Timing(1, 2))
        _, decisions = played(brief, 5, envoys=2)
        never_starves(decisions)
