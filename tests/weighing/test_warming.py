from dataclasses import replace

import pytest

from controlplane.settings import PoolSettings
from controlplane.weighing import ReplicaInput, Weighing, explain, weigh
from controlplane.weighing.warming import cohort, cold, warmth
from tests.weighing.pools import INTERVAL, SETTINGS, later, pool, settled, weights


def joined(seconds: float, *newcomers: str, settings: PoolSettings = SETTINGS) -> Weighing:
    """A warm pool of four, so many seconds after newcomers became ready."""
    weighing = settled(pool(100, 100, 100, 100))
    since = weighing.at
    while weighing.at < since + seconds:
        now = weighing.at + INTERVAL
        inputs = [later(each, weighing, now) for each in pool(100, 100, 100, 100)]
        inputs += [ReplicaInput(id_, ready_since=since) for id_ in newcomers]
        weighing = weigh(weighing, settings, inputs, now)
    return weighing


def test_a_share_grows_from_a_sixth_to_all_of_it() -> None:
    parts = [warmth(0.0, 10.0, now) for now in (0, 1.9, 2, 4, 6, 8, 9.9, 10, 99)]
    assert parts == pytest.approx([1 / 6, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 5 / 6, 1, 1])


def test_a_replica_that_has_just_become_ready_gets_little() -> None:
    weighing = joined(0.5, "z")
    assert weights(weighing)["z"] == 167
    assert weighing.replicas["z"].tier.startswith("warming-")
    assert {weighing.replicas[id_].tier for id_ in "abcd"} == {"tier-8"}
    assert "ready for 500 ms of 10 s: a slow start, at 17 %: ×0.17" in explain(
        weighing.replicas["z"].steps
    )


def test_after_the_slow_start_it_is_one_of_all() -> None:
    weighing = joined(14, "z")
    assert weights(weighing) == dict.fromkeys("abcdz", 1000)
    assert weighing.replicas["z"].tier == "tier-8"


def test_the_others_are_told_nothing_new_meanwhile() -> None:
    for seconds in (0.5, 3, 6, 9):
        assert {weights(joined(seconds, "z"))[id_] for id_ in "abcd"} == {1000}


def test_those_that_become_ready_together_start_in_one_tier_and_stay_in_it() -> None:
    early, late = (joined(seconds, "x", "y", "z") for seconds in (0.5, 9))
    (tier,) = {early.replicas[id_].tier for id_ in "xyz"}
    assert {late.replicas[id_].tier for id_ in "xyz"} == {tier}
    assert weights(late)["x"] > 2 * weights(early)["x"]


def test_those_of_one_step_share_a_tier_and_those_of_two_do_not() -> None:
    before = settled(pool(100, 100, 100, 100))
    step = 2.0
    begin = (before.at // step + 1) * step
    since = {"x": begin, "y": begin + 1.9, "z": begin + 2.0}
    now = begin + 3.0
    inputs = [later(each, before, now) for each in pool(100, 100, 100, 100)]
    inputs += [ReplicaInput(id_, ready_since=at) for id_, at in since.items()]
    found = weigh(before, SETTINGS, inputs, now).replicas
    assert found["x"].tier == found["y"].tier != found["z"].tier


def test_a_cohort_is_of_one_step_and_no_other_one_is_under_way_with_its_number() -> None:
    found = [cohort(since, 10.0) for since in (0.0, 1.9, 2.0, 9.9, 10.0, 1999.9, 2000.0)]
    assert found == [0, 0, 1, 4, 5, 999, 0]


def test_replicas_of_different_bands_do_not_start_in_one_tier() -> None:
    before = settled(pool(400, 400, 100, 100, 100, 100))
    now = before.at + INTERVAL
    inputs = [later(each, before, now) for each in pool(400, 400, 100, 100, 100, 100)]
    inputs = [replace(it, ready_since=now) if it.id in "af" else it for it in inputs]
    after = weigh(before, SETTINGS, inputs, now)
    fast, slow = after.replicas["a"], after.replicas["f"]
    assert fast.tier != slow.tier
    assert fast.weight > 3 * slow.weight


def test_two_start_each_in_its_own_time() -> None:
    weighing = joined(4, "y")
    now = weighing.at + INTERVAL
    inputs = [later(each, weighing, now) for each in pool(100, 100, 100, 100)]
    inputs += [
        ReplicaInput("y", ready_since=weighing.at - 4),
        ReplicaInput("z", ready_since=now),
    ]
    both = weights(weigh(weighing, SETTINGS, inputs, now))
    assert both["z"] == 167
    assert both["y"] >= 450


def test_when_most_of_a_pool_starts_nobody_is_held_back() -> None:
    since = dict.fromkeys("abc", 0.0)
    assert cold({**since, "d": None, "e": None}, 10.0, 1.0) == {}
    assert cold({**since, "d": None, "e": None, "f": None}, 10.0, 1.0).keys() == set("abc")


def test_a_pool_can_do_without() -> None:
    settings = PoolSettings.model_validate(
        {**SETTINGS.model_dump(), "balancing": {"policy": "capacity-tiers", "slow_start": None}}
    )
    assert weights(joined(0.5, "z", settings=settings))["z"] == 1000


def test_a_replica_that_returns_starts_slowly_again() -> None:
    weighing = settled(pool(100, 100, 100, 100))
    now = weighing.at + INTERVAL
    inputs = [later(each, weighing, now) for each in pool(100, 100, 100, 100)]
    inputs[0] = replace(inputs[0], ready_since=now)
    assert weights(weigh(weighing, SETTINGS, inputs, now))["a"] == 167
