from dataclasses import replace

import pytest

from controlplane.weighing import ReplicaInput, Weighing, weigh
from tests.weighing.pools import INTERVAL, SETTINGS, pool, replica, settled, weights

CAPACITIES = (100.0, 100.0, 100.0, 100.0, 400.0)


def silent(
    ids: str, intervals: float, capacities: tuple[float, ...] = CAPACITIES
) -> list[ReplicaInput]:
    return [
        replace(each, age=intervals * INTERVAL) if each.id in ids else each
        for each in pool(*capacities)
    ]


def after_silence(ids: str, intervals: int) -> Weighing:
    weighing = settled(pool(*CAPACITIES))
    for past in range(1, intervals + 1):
        weighing = weigh(weighing, SETTINGS, silent(ids, past), weighing.at + INTERVAL)
    return weighing


def test_for_three_intervals_of_silence_nothing_changes() -> None:
    weighing = after_silence("e", 3)
    assert weights(weighing) == weights(settled(pool(*CAPACITIES)))
    assert not weighing.replicas["e"].stale


def test_after_three_intervals_a_share_moves_towards_the_median() -> None:
    weighing = after_silence("e", 6)
    assert weighing.replicas["e"].stale
    assert 1.0 < weighing.replicas["e"].state.relative < 4.0


def test_by_ten_intervals_a_silent_replica_is_on_its_way_to_exactly_the_median() -> None:
    weighing = after_silence("e", 14)
    assert weights(weighing) == dict.fromkeys("abcde", 1000)
    assert not weighing.suspect


def test_a_silent_replica_that_speaks_again_gets_back_what_it_had() -> None:
    weighing = settled(pool(*CAPACITIES), after_silence("e", 40))
    had = settled(pool(*CAPACITIES)).replicas["e"].state.relative
    assert weighing.replicas["e"].state.relative == pytest.approx(had, rel=0.06)


@pytest.mark.parametrize("ids", ["abe", "abcde"])
def test_when_more_than_half_are_silent_everything_freezes(ids: str) -> None:
    before = settled(pool(*CAPACITIES))
    weighing = after_silence(ids, 200)
    assert weighing.suspect
    assert weights(weighing) == weights(before)
    assert {w.tier for w in weighing.replicas.values()} == {
        w.tier for w in before.replicas.values()
    }


def test_half_of_a_pool_that_is_silent_is_not_suspect() -> None:
    weighing = weigh(None, SETTINGS, silent("ab", 50, (1.0, 1.0, 1.0, 1.0)), 0.0)
    assert not weighing.suspect


def test_a_pool_that_was_never_scraped_is_not_suspect() -> None:
    inputs = [ReplicaInput(id_) for id_ in "abc"]
    assert not weigh(None, SETTINGS, inputs, 0.0).suspect


def test_replicas_that_are_not_ready_say_nothing_about_us() -> None:
    inputs = [replace(each, ready=each.id in "ab") for each in silent("cde", 50)]
    assert not weigh(None, SETTINGS, inputs, 0.0).suspect


def test_a_newcomer_to_a_frozen_pool_gets_the_medians_share() -> None:
    before = settled(pool(*CAPACITIES))
    newcomer = ReplicaInput("z")
    weighing = weigh(before, SETTINGS, [*silent("abcde", 50), newcomer], before.at + INTERVAL)
    assert weighing.replicas["z"].weight == pytest.approx(1000, abs=50)
    assert weighing.replicas["z"].capacity == pytest.approx(100, rel=0.1)


def test_a_pool_thaws_when_replicas_speak_again() -> None:
    frozen = after_silence("abcde", 30)
    weighing = settled([replica(id_, 100) for id_ in "abcde"], frozen)
    assert not weighing.suspect
    assert weights(weighing) == dict.fromkeys("abcde", 1000)
