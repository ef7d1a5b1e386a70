"""The simulation is right where theory knows the answer, and in it the weighing wins."""

from dataclasses import replace
from itertools import pairwise
from random import Random
from statistics import median

import pytest
from benchmarks.simulation.control import Flat, Measuring
from benchmarks.simulation.replica import Replica

from benchmarks.balance.scenario import MEAN_TOKENS, Scenario, Timing
from benchmarks.balance.table import SCENARIOS
from benchmarks.simulation.__main__ import play
from benchmarks.simulation.contenders import CONTENDERS, OURS, Contender
from benchmarks.simulation.fleet import Fleet

CHANCE = Random(1)  # noqa: S311 - a simulation, to be repeated


def named(name: str) -> Contender:
    return next(each for each in CONTENDERS if each.name == name)


def p99(name: str, scenario: Scenario, sidecars: int, seeds: int = 3) -> float:
    contender = named(name)
    return median(play(contender, scenario, sidecars, seed).p99 for seed in range(1, seeds + 1))


def ours(scenario: Scenario, sidecars: int, seed: int) -> Measuring:
    contender = named(OURS)
    control = contender.control(scenario, sidecars)
    assert isinstance(control, Measuring)
    chance = Random(seed)  # noqa: S311 - a simulation, to be repeated
    proxies, long = ([contender.sidecar(scenario, chance) for _ in range(sidecars)] for _ in "ab")
    Fleet(scenario, proxies, seed, long).play(control)
    return control


def test_one_queue_is_as_long_as_pollaczek_and_khinchine_say() -> None:
    scenario = Scenario("one", 1, (1.0,), 0.5, timing=Timing(10, 4000))
    contender = named("FULL_SCAN")
    latencies = Fleet(scenario, [contender.sidecar(scenario, CHANCE)], 1).play(Flat())
    # R = S · (1 + ρ (1 + cv²) / (2 (1 − ρ))), and cv² = e − 1 for lognormal sizes with sigma 1.
    expected = MEAN_TOKENS * scenario.token_seconds * (1 + 0.5 * 2.718 / (2 * 0.5))
    assert sum(latencies) / len(latencies) == pytest.approx(expected, rel=0.05)


def test_a_replica_that_slows_down_takes_longer_for_what_it_has_begun() -> None:
    replica = Replica(service=1.0)
    replica.admit(0.0, 1.0, (0, 0))
    replica.admit(0.0, 1.0, (0, 0))
    replica.slow_down(0.5, 10.0)
    assert [end for end, _, _ in replica.finished(100.0)] == [5.5, 15.5]


def test_many_sidecars_do_better_with_weights_than_any_of_their_own() -> None:
    scenario = replace(SCENARIOS["mixed-80"], timing=Timing(10, 30))
    peers = [p99(each.name, scenario, 12) for each in CONTENDERS if each.peer]
    assert p99(OURS, scenario, 12) < 0.75 * min(peers)


def test_many_sidecars_get_over_a_replica_that_slows_down() -> None:
    scenario = SCENARIOS["slowed-55"]
    assert p99(OURS, scenario, 12) < 0.9 * p99("FULL_SCAN", scenario, 12)


@pytest.mark.parametrize("sidecars", [1, 12])
def test_a_fleet_of_equals_is_told_nothing_once_it_has_settled(sidecars: int) -> None:
    changes = []
    for seed in range(1, 6):
        control = ours(replace(SCENARIOS["equal-80"], timing=Timing(10, 40)), sidecars, seed)
        told = [
            {(it.tier, it.weight) for it in weighing.replicas.values()}
            for weighing in control.weighings
            if weighing.at > 20
        ]
        changes.append(sum(old != new for old, new in pairwise(told)))
    # One replica in minutes gets requests so long that it is slow for a moment.
    assert median(changes) == 0


def test_replicas_of_one_kind_share_a_tier() -> None:
    apart = []
    for seed in range(1, 6):
        control = ours(replace(SCENARIOS["mixed-80"], timing=Timing(10, 40)), 12, seed)
        settled = [weighing for weighing in control.weighings if weighing.at > 20]
        tiers = [[it.replicas[f"{n}"].tier for n in range(8)] for it in settled]
        apart.append(sum(len(set(it[:2])) + len(set(it[2:])) > 2 for it in tiers) / len(tiers))
    assert median(apart) == 0
    assert max(apart) < 0.25


def test_a_slow_replica_has_little_within_two_or_three_seconds_and_is_back_within_eight() -> None:
    after_two = []
    for seed in (1, 2, 3):
        control = ours(SCENARIOS["slowed-55"], 12, seed)
        share = {weighing.at: weighing.replicas["1"].share or 0 for weighing in control.weighings}
        assert share[11.75] > 0.2
        after_two.append(share[14.0])
        assert max(share[at] for at in share if 15 <= at < 32) < 0.1
        assert share[39.75] > 0.2
    assert median(after_two) < 0.1
