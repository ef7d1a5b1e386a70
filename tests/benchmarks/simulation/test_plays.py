"""The simulation is right where theory knows the answer, and in it Plimsoll wins."""

from dataclasses import replace
from statistics import mean, median

import pytest

from benchmarks.simulation.balancing import Balanced
from benchmarks.simulation.contenders import CONTENDERS, PLIMSOLL, Job, named, play, play_all
from benchmarks.simulation.envoys import Envoys
from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.measures import Run
from benchmarks.simulation.peers import Flat, Proxies
from benchmarks.worlds import tei, traffic
from benchmarks.worlds.scenarios import ONE_TEXT, SCENARIOS, Scenario, Timing
from benchmarks.worlds.server import Curve
from benchmarks.worlds.traffic import BULK, MEAN_TOKENS, SEARCH
from benchmarks.worlds.worlds import SLOTS, TeiWorld


def p99(name: str, scenario: Scenario, sidecars: int, seeds: int = 3) -> float:
    return median(play(scenario, sidecars, name, seed).p99() for seed in range(1, seeds + 1))


def runs(name: str, scenario: Scenario, sidecars: int = 12, seeds: int = 3) -> list[Run]:
    return [play(scenario, sidecars, name, seed) for seed in range(1, seeds + 1)]


def balanced(scenario: Scenario, sidecars: int, seed: int) -> Balanced:
    controls: list[Balanced] = []

    def make(fleet: Fleet) -> Envoys:
        controls.append(Balanced(fleet))
        return Envoys(fleet, controls[0])

    Fleet(scenario, sidecars, seed, make).play()
    return controls[0]


def test_one_queue_is_as_long_as_pollaczek_and_khinchine_say() -> None:
    scenario = Scenario("one", SLOTS, (1.0,), ONE_TEXT, 0.5, Timing(10, 4000))
    record = Fleet(scenario, 1, 1, named("FULL_SCAN").make).play()
    # R = S · (1 + ρ (1 + cv²) / (2 (1 − ρ))), and cv² = e − 1 for lognormal sizes with sigma 1.
    expected = MEAN_TOKENS * SLOTS.token_seconds * (1 + 0.5 * 2.718 / (2 * 0.5))
    assert mean(record.latencies[""]) == pytest.approx(expected, rel=0.05)


def test_a_text_waits_for_the_rest_of_a_batch_and_takes_its_own() -> None:
    # Texts are nothing beside what a batch is, so that all batches last as long: a text that comes
    # while one is computed, which is nearly always, waits half of it on average.
    world = TeiWorld(Curve(1.0, 1e-9), tei.Limits(prefetches=False))
    scenario = Scenario("one", world, (1.0,), traffic.alike(16), 0.5, Timing(10, 400))
    scenario = replace(scenario, load=20 * 16 / scenario.capacity)
    record = Fleet(scenario, 1, 1, named("FULL_SCAN").make).play()
    assert mean(record.latencies[""]) == pytest.approx(1.5, rel=0.02)


def test_the_same_seed_gives_the_same_figures() -> None:
    job = Job("mixed-80", 12, PLIMSOLL, 1)
    one, other = play_all([job, job], 2)
    assert one == other


@pytest.mark.parametrize(
    "name", ["classes-70", "classes-vllm-70", "classes-triton-70", "classes-slots-70"]
)
def test_a_load_of_seven_tenths_keeps_replicas_busy_for_that_or_a_little_more(name: str) -> None:
    scenario = replace(SCENARIOS[name], timing=Timing(20, 60))
    record = Fleet(scenario, 12, 1, named("central router").make).play()
    assert record.tokens == pytest.approx(scenario.tokens_rate, rel=0.08)
    assert not record.failed
    # Batches that are not full cost more for a token.
    carried = [scenario.carries(number) for number in range(8)]
    busy = sum(b * c for b, c in zip(record.busy, carried, strict=True)) / sum(carried)
    slots = 2 if name == "classes-slots-70" else 1
    assert 0.6 < busy / slots < 0.99


def test_searches_and_bulk_among_many_sidecars_are_as_the_design_found_them() -> None:
    found = runs("FULL_SCAN", SCENARIOS["classes-70"])
    assert median(run.p99(SEARCH) for run in found) == pytest.approx(2448, rel=0.2)
    assert median(run.p99(BULK) for run in found) == pytest.approx(2957, rel=0.2)


def test_searches_with_replicas_of_their_own_wait_for_no_bulk() -> None:
    found = runs("oracle split", SCENARIOS["classes-70"])
    assert median(run.p99(SEARCH) for run in found) < 150


def test_one_queue_for_all_is_shorter_than_those_of_any_peer() -> None:
    scenario = SCENARIOS["mixed-80"]
    peers = [p99(each.name, scenario, 12, 1) for each in CONTENDERS if each.peer]
    assert p99("pooled queue", scenario, 12, 1) < 0.5 * min(peers)


def test_a_router_that_sees_all_and_knows_all_is_hard_to_beat_with_batches() -> None:
    scenario = replace(SCENARIOS["batching-80"], timing=Timing(10, 40))
    peers = [p99(each.name, scenario, 12, 1) for each in CONTENDERS if each.peer]
    assert p99("central router, true weights", scenario, 12, 1) < 0.8 * min(peers)


def test_a_replica_that_dies_gets_nothing_once_that_is_noticed() -> None:
    scenario = replace(SCENARIOS["classes-dies-50"], timing=Timing(20, 60))
    fleet = Fleet(scenario, 1, 1, lambda fleet: Envoys(fleet, Flat()))
    record = fleet.play()
    assert 0 < record.failed < 150
    assert 7 not in fleet.healthy


def test_a_replica_that_joins_late_gets_nothing_before() -> None:
    scenario = replace(SCENARIOS["batching-cold-80"], timing=Timing(1, 40))
    record = Fleet(scenario, 4, 1, named("FULL_SCAN").make).play()
    assert record.failed == 0
    assert record.tokens > 0


def test_a_run_in_which_more_and_more_wait_is_given_up() -> None:
    scenario = replace(SCENARIOS["batching-80"], load=3.0)
    fleet = Fleet(scenario, 1, 1, lambda fleet: Proxies(fleet, FullScanOfPatience()))
    assert fleet.play().collapsed


class FullScanOfPatience:
    """Sends everything in turn; of TEI's permits there are enough for a while."""

    def __init__(self) -> None:
        self.turn = 0

    def choose(self, fleet: Fleet, dispatcher: int, counts: object) -> int:
        self.turn += 1
        return self.turn % len(fleet.servers)


def test_many_sidecars_do_better_with_weights_than_any_of_their_own() -> None:
    scenario = replace(SCENARIOS["mixed-80"], timing=Timing(10, 30))
    peers = [p99(each.name, scenario, 12, 2) for each in CONTENDERS if each.peer]
    assert p99(PLIMSOLL, scenario, 12, 2) < 0.75 * min(peers)


def test_many_sidecars_get_over_a_replica_that_slows_down() -> None:
    scenario = SCENARIOS["slowed-55"]
    assert p99(PLIMSOLL, scenario, 12, 2) < 0.9 * p99("FULL_SCAN", scenario, 12, 2)


@pytest.mark.parametrize("sidecars", [1, 12])
def test_a_fleet_of_equals_is_told_nothing_once_it_has_settled(sidecars: int) -> None:
    scenario = replace(SCENARIOS["equal-80"], timing=Timing(20, 30))
    found = runs(PLIMSOLL, scenario, sidecars)
    # One replica in minutes gets requests so long that it is slow for a moment.
    assert median(run.stillness.pushes for run in found if run.stillness) == 0


def test_replicas_of_one_kind_share_a_tier() -> None:
    apart = []
    for seed in (1, 2, 3):
        scenario = replace(SCENARIOS["mixed-80"], timing=Timing(10, 30))
        settled = [each for each in balanced(scenario, 12, seed).decisions if each.at > 20]
        tiers = [[each.replicas[f"{n}"].tier for n in range(8)] for each in settled]
        apart.append(sum(len(set(t[:2])) + len(set(t[2:])) > 2 for t in tiers) / len(tiers))
    assert median(apart) == 0
    assert max(apart) < 0.25


def test_a_slow_replica_has_little_within_two_or_three_seconds_and_is_back_within_eight() -> None:
    after_two, back = [], []
    for seed in (1, 2, 3):
        decisions = balanced(SCENARIOS["slowed-55"], 12, seed).decisions
        share = {decision.at: decision.replicas["1"].share or 0 for decision in decisions}
        assert share[11.75] > 0.2
        after_two.append(share[14.0])
        assert max(share[at] for at in share if 15 <= at < 32) < 0.12
        back.append(share[39.75])
    assert median(after_two) < 0.1
    assert median(back) > 0.2
    assert min(back) > 0.12
