"""From capacities to shares: equal replicas, limits, steps, slow start, headroom."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from controlplane.balancing import Decision
from controlplane.balancing.headroom import CEILING, FLOOR, with_headroom
from tests.balancing.pools import (
    INTERVAL,
    Play,
    Serving,
    played,
    pool,
    relatives,
    settings_of,
    settled,
    shares,
    tiers,
    weights,
    words,
)


def test_an_empty_pool_has_an_empty_decision() -> None:
    decision = Play().step({})
    assert len(decision.replicas) == 0
    assert not decision.changed(None).any()


def test_one_replica_gets_everything() -> None:
    decision = settled(pool(100))
    assert shares(decision) == {"a": 1.0}
    assert not decision.division.is_planned


def test_replicas_of_one_kind_are_exactly_equal() -> None:
    assert weights(settled(pool(100, 112, 90, 100))) == dict.fromkeys("abcd", 1000)


def test_a_pool_at_the_limit_of_equal_does_not_flap() -> None:
    play = played(pool(100, 100, 100, 110))
    for capacity in (118, 112, 119, 113, 118):
        decision = play.run(pool(100, 100, 100, capacity), 20)
        assert weights(decision) == dict.fromkeys("abcd", 1000)
    assert not play.run(pool(100, 100, 100, 150), 60).equal
    assert not play.run(pool(100, 100, 100, 119), 90).equal


def test_replicas_that_become_equal_are_told_so_even_within_the_dead_band() -> None:
    play = played(pool(100, 100, 100, 130))
    play.run(pool(100, 100, 100, 122))
    assert weights(play.run(pool(100, 100, 100, 100), 60)) == dict.fromkeys("abcd", 1000)


def test_a_difference_within_the_dead_band_is_not_told() -> None:
    play = played(pool(100, 100, 100, 400), seconds=90)
    before = play.decision
    assert before is not None
    for decision in play.all_of(pool(100, 100, 100, 409), 60):
        assert weights(decision) == weights(before)
        assert not decision.changed(before).any()
    faster = play.run(pool(100, 100, 100, 800), 60)
    assert weights(faster)["d"] > 1.2 * weights(before)["d"]
    assert faster.changed(before).any()


def test_a_share_moves_step_by_step() -> None:
    play = played(pool(100, 100, 100, 100))
    decisions = play.all_of(pool(100, 100, 100, 600), 20)
    for old, new in pairwise(decisions):
        assert relatives(new)["d"] <= 1.5 * relatives(old)["d"] * 1.0001
    assert relatives(decisions[-1])["d"] == pytest.approx(6, rel=0.03)
    assert any(each.moving for each in decisions)
    assert not decisions[-1].moving


def test_deciding_often_moves_a_share_no_faster() -> None:
    often, once = (played(pool(100, 100, 100, 100)) for _ in range(2))
    for play, parts in ((often, 5), (once, 1)):
        for _ in range(3):
            play.step(pool(100, 100, 100, 600))
            for _ in range(parts - 1):
                play.decide()
    assert often.decision is not None
    assert once.decision is not None
    assert relatives(often.decision)["d"] == pytest.approx(relatives(once.decision)["d"])


def test_no_time_is_no_step() -> None:
    play = played(pool(100, 100, 100, 100))
    first = play.step(pool(100, 100, 100, 600))
    assert weights(play.decide()) == weights(first)


def test_what_is_sure_is_not_slowed_down() -> None:
    """A collapse is followed at once, not by halves."""
    play = played(pool(100, 100, 100, 100))
    seen = [relatives(each)["d"] for each in play.all_of(pool(100, 100, 100, 5), 3)]
    assert min(new / old for old, new in pairwise(seen)) < 0.3


def test_a_newcomer_gets_its_share_at_once() -> None:
    play = played(pool(100, 100, 100))
    assert weights(play.step(pool(100, 100, 100, 100)))["d"] == 1000


@pytest.mark.parametrize("claimed", [1e-6, 1e-9, 0.0])
def test_a_liar_gets_a_bounded_share_and_step_by_step(claimed: float) -> None:
    """It says that each request takes a microsecond."""
    play = played(pool(*(100.0,) * 9, 100.0))
    before = play.decision
    assert before is not None
    lying = {**pool(*(100.0,) * 9), "j": Serving(100, load=0.5, latency=claimed)}
    for decision in play.all_of(lying, 30):
        assert relatives(decision)["j"] <= 1.5 * relatives(before)["j"] * 1.0001
        before = decision
    assert relatives(before)["j"] <= CEILING
    assert shares(before)["j"] < 0.6
    assert min(weights(before).values()) >= 900


def test_liars_that_are_most_of_a_pool_leave_the_others_the_floor() -> None:
    lying = {id_: Serving(100, latency=1e-9) for id_ in "xyz"}
    found = shares(settled({**pool(100, 100), **lying}, 90))
    assert found["a"] > 0.01
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("capacity", [0.01, 1.0, 1e4, 1e8])
def test_shares_stay_between_floor_and_ceiling(capacity: float) -> None:
    """Compared with the median, however fast or slow a replica is."""
    decision = settled(pool(100, 100, 100, capacity), 60)
    found = weights(decision)["d"]
    assert 1000 * FLOOR <= found <= 1000 * CEILING
    assert weights(decision)["a"] == pytest.approx(1000, rel=0.06)


def test_a_replica_that_is_not_ready_gets_nothing_and_moves_no_median() -> None:
    waiting = {f"x{i}": Serving(1, ready=False) for i in range(5)}
    decision = settled({**pool(100, 100), **waiting})
    assert weights(decision)["a"] == 1000
    assert shares(decision)["x0"] == 0
    assert shares(decision)["a"] == 0.5


def test_headroom_leaves_equal_shares_equal_and_takes_more_from_slow_ones() -> None:
    rows = np.ones(4, np.bool_)
    alike = with_headroom(np.ones(4), rows, 0.7)
    assert alike == pytest.approx(np.ones(4))
    unlike = with_headroom(np.array([4.0, 1.0, 1.0, 1.0]), rows, 0.7)
    assert unlike[0] > 4 * unlike[1]
    busier = with_headroom(np.array([4.0, 1.0, 1.0, 1.0]), rows, 0.9)
    assert unlike[0] > busier[0] > 4 * busier[1]
    full = with_headroom(np.array([4.0, 1.0, 1.0, 1.0]), rows, 1.0)
    assert full == pytest.approx([4, 1, 1, 1])


def test_headroom_leaves_those_alone_that_get_no_traffic() -> None:
    shares_ = np.array([4.0, 1.0, 7.0])
    rows = np.array([True, True, False])
    assert with_headroom(shares_, rows, 0.7)[2] == 7.0
    assert with_headroom(shares_, rows, None) is shares_
    assert with_headroom(shares_, np.zeros(3, np.bool_), 0.7) is shares_


def test_a_busy_pool_shares_out_by_capacity_and_an_idle_one_spares_the_slow() -> None:
    idle = weights(settled(pool(400, 100, 100, 100, load=0.5)))
    busy = weights(settled(pool(400, 100, 100, 100, load=0.98)))
    assert idle["a"] > busy["a"] == pytest.approx(4000, rel=0.06)


# Slow start.

SECONDS = "10s"


def joined(seconds: float, *newcomers: str, **more: object) -> Decision:
    """A warm pool of four, so many seconds after newcomers became ready."""
    settings = settings_of(slow_start=SECONDS, **more)
    play = played(pool(100, 100, 100, 100), settings=settings)
    new = {id_: Serving(load=0.0, ready_since=play.now) for id_ in newcomers}
    return play.run({**pool(100, 100, 100, 100), **new}, seconds)


def test_a_replica_that_has_just_become_ready_gets_little() -> None:
    decision = joined(INTERVAL, "z")
    assert 50 <= weights(decision)["z"] < 300
    assert decision.moving
    assert "Slow start" in words(decision, "z")


def test_its_share_grows_until_it_is_one_of_all() -> None:
    found = [weights(joined(seconds, "z"))["z"] for seconds in (0.5, 3.0, 6.0, 9.0, 14.0)]
    assert found == sorted(found)
    assert len({*found}) == 5
    assert found[-1] == 1000
    assert len({*tiers(joined(14, "z")).values()}) == 1


def test_the_others_are_told_nothing_new_meanwhile() -> None:
    for seconds in (0.5, 6):
        decision = joined(seconds, "z")
        assert {weights(decision)[id_] for id_ in "abcd"} == {1000}
        assert len({tiers(decision)[id_] for id_ in "abcd"}) == 1
        assert tiers(decision)["z"] != tiers(decision)["a"]


def test_those_that_become_ready_together_start_in_one_tier_and_stay_in_it() -> None:
    early, late = (joined(seconds, "x", "y", "z") for seconds in (0.5, 9))
    (tier,) = {tiers(early)[id_] for id_ in "xyz"}
    assert {tiers(late)[id_] for id_ in "xyz"} == {tier}
    assert weights(late)["x"] > 2 * weights(early)["x"]


def test_two_start_each_in_its_own_time() -> None:
    play = played(pool(100, 100, 100, 100))
    first = {"y": Serving(load=0.0, ready_since=play.now)}
    play.run({**pool(100, 100, 100, 100), **first}, 5)
    both = {**first, "z": Serving(load=0.0, ready_since=play.now)}
    decision = play.step({**pool(100, 100, 100, 100), **both})
    assert weights(decision)["y"] > 2 * weights(decision)["z"]
    assert tiers(decision)["y"] != tiers(decision)["z"]


def test_replicas_of_different_speed_do_not_start_in_one_tier() -> None:
    capacities = (400, 400, 100, 100, 100, 100)
    play = played(pool(*capacities))
    anew = {
        id_: replace(each, ready_since=play.now if id_ in "af" else None)
        for id_, each in pool(*capacities).items()
    }
    decision = play.step(anew)
    assert tiers(decision)["a"] != tiers(decision)["f"]
    assert weights(decision)["a"] > 3 * weights(decision)["f"]


def test_the_more_of_a_pool_starts_the_less_it_is_held_back() -> None:
    """Nothing was measured yet, so the pool is taken to be 60 % busy."""
    found = []
    for count in (1, 2, 3):
        cold = {id_: Serving(load=0.0, ready_since=0.0) for id_ in "abc"[:count]}
        warm = {id_: Serving() for id_ in "vwxyz"[count:]}
        found.append(relatives(Play().step({**cold, **warm}))["a"])
    assert found == pytest.approx([1 / 6, 1 / 2, 2 / 3])


def test_replicas_that_all_start_together_are_not_held_back() -> None:
    """Nobody else could carry what they are spared, and each step makes Envoys rebuild."""
    play = Play()
    decisions = play.all_of({id_: Serving(load=0.0, ready_since=0.0) for id_ in "abc"}, 5)
    assert {id_ for each in decisions for id_ in tiers(each).values()} == {"tier-8"}
    assert {each for one in decisions for each in relatives(one).values()} == {1.0}


def test_where_all_start_the_one_that_has_come_furthest_counts_as_warm() -> None:
    play = Play()
    first = {id_: Serving(load=0.0, ready_since=0.0) for id_ in "ab"}
    play.run(first, 4)
    found = relatives(play.step({**first, "c": Serving(load=0.0, ready_since=play.now)}))
    assert (found["a"], found["b"]) == (1.0, 1.0)
    assert found["c"] < 0.5


def test_a_replica_that_the_others_cannot_do_without_starts_faster() -> None:
    """Three of four do 90 % of what they can: at 80 % they leave half of the fourth's share."""
    busy = pool(100, 100, 100, load=0.9)
    play = played(busy, settings=settings_of(slow_start=SECONDS))
    new = {"z": Serving(load=0.0, ready_since=play.now)}
    assert relatives(play.step({**busy, **new}))["z"] == pytest.approx(0.5)
    # What it has got it keeps when the load falls, and then it goes on in its own time.
    quiet = {**pool(100, 100, 100, load=0.2), **new}
    assert {relatives(each)["z"] for each in play.all_of(quiet, 4)} == {0.5}
    assert relatives(play.run(quiet, 3))["z"] > 0.5


def test_a_pool_can_do_without_a_slow_start() -> None:
    play = Play(settings_of(slow_start=None))
    play.run(pool(100, 100, 100))
    decision = play.step({**pool(100, 100, 100), "z": Serving(load=0.0, ready_since=play.now)})
    assert weights(decision)["z"] == 1000


def test_a_replica_that_returns_starts_slowly_again() -> None:
    play = played(pool(100, 100, 100, 100))
    back = {**pool(100, 100, 100, 100), "a": Serving(ready_since=play.now)}
    assert weights(play.step(back))["a"] < 300


@pytest.mark.parametrize(
    ("load", "claim"), [(0.2, "at most 60 % busy"), (0.8, "pool is 80 % busy")]
)
def test_a_pool_is_not_called_busier_than_it_is(load: float, claim: str) -> None:
    fleet = {
        name: Serving(capacity, load) for name, capacity in (("a", 400), ("b", 100), ("c", 90))
    }
    assert claim in words(settled(fleet), "c")
