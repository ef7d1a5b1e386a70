"""Work that waits: an overloaded replica, tiers that differ, counts that are wrong."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from controlplane.balancing import Decision
from controlplane.balancing.headroom import CEILING, FLOOR
from tests.balancing.pools import (
    INTERVAL,
    Play,
    Serving,
    played,
    pool,
    relatives,
    shares,
    tiers,
    weights,
    words,
)

UNLIKE = (400.0, 400.0, 100.0, 100.0, 100.0, 100.0)


def waiting(queues: Mapping[str, float], *capacities: float, **more: object) -> dict[str, Serving]:
    """Replicas with so much waiting, by their own count; 1 where nothing is said."""
    return {
        id_: replace(each, queue=queues.get(id_, 1.0), **more)  # type: ignore[arg-type]
        for id_, each in pool(*(capacities or UNLIKE)).items()
    }


def overloaded(decision: Decision) -> set[str]:
    return {id_ for id_ in decision.rows if tiers(decision)[id_].startswith("overloaded-")}


def test_a_replica_with_far_too_much_gets_next_to_nothing_at_the_next_reading() -> None:
    """Were it a hundredth of the requests, what waits there would be the p99 of all."""
    play = played(waiting({}))
    before = play.decision
    assert before is not None
    after = play.step(waiting({"a": 400.0}))
    assert shares(before)["a"] > 0.3
    assert shares(after)["a"] < 0.001
    assert weights(after)["a"] >= 1
    assert "Overloaded" in words(after, "a")


def test_an_overloaded_replica_keeps_what_the_others_cannot_carry() -> None:
    """Two do 90 % of what they can: one alone would be overloaded next, and so in turn."""
    busy = waiting({}, 100.0, 100.0, load=0.9)
    after = played(busy).step(waiting({"a": 60.0}, 100.0, 100.0, load=0.9))
    assert overloaded(after) == {"a"}
    assert relatives(after)["a"] == pytest.approx(0.8, abs=0.05)


def test_as_much_as_chance_explains_is_no_overload() -> None:
    play = played(waiting({}))
    assert overloaded(play.step(waiting({"a": 12.0}))) == set()


def test_a_line_is_held_against_the_batches_that_come_and_not_against_what_one_may_hold() -> None:
    """A server that allows 16,384 tokens a batch, and never has a thousand to compute."""
    small = Serving(slots=None, batch=(500.0, 0.05), latency=0.08, texts=5.0, reported=2.0)
    play = played(dict.fromkeys("abcd", small))
    others = dict.fromkeys("bcd", small)
    assert overloaded(play.step({"a": replace(small, reported=10.0), **others})) == set()
    assert overloaded(play.step({"a": replace(small, reported=150.0), **others})) == {"a"}


def test_a_slow_replica_is_overloaded_by_fewer_requests() -> None:
    for id_ in "ac":
        few, many = (played(waiting({})) for _ in range(2))
        assert overloaded(few.step(waiting({id_: 10.0}))) == set()
        assert overloaded(many.step(waiting({id_: 200.0}))) == {id_}
    at_the_slow = played(waiting({})).step(waiting({"c": 60.0}))
    at_the_fast = played(waiting({})).step(waiting({"a": 60.0}))
    assert overloaded(at_the_slow) == {"c"}
    assert overloaded(at_the_fast) <= {"a"}


def test_an_overloaded_replica_is_alone_in_a_tier_and_the_others_stay_as_they_are() -> None:
    """In a tier all weights are alike: there its line would be everybody's."""
    play = played(waiting({}))
    before = play.decision
    assert before is not None
    after = play.step(waiting({"a": 400.0}))
    assert tiers(after)["a"] not in {*tiers(before).values()}
    for id_ in "bcdef":
        assert tiers(after)[id_] == tiers(before)[id_]
        assert relatives(after)[id_] == pytest.approx(relatives(before)[id_], rel=1e-3)


def test_where_all_have_much_nobody_is_overloaded() -> None:
    play = played(waiting({}))
    assert (
        overloaded(play.step(waiting(dict.fromkeys("ab", 1600.0) | dict.fromkeys("cdef", 400.0))))
        == set()
    )


def test_the_short_lines_of_those_that_start_slowly_make_nobody_overloaded() -> None:
    """Half of a pool was restarted: the other half has all requests, and must keep them."""
    four = (100.0,) * 4
    play = played(waiting({}, *four))
    long = waiting(dict.fromkeys("ab", 400.0) | dict.fromkeys("cd", 0.0), *four)
    for id_ in "cd":
        long[id_] = replace(long[id_], generation=1, ready_since=play.now)
    after = play.step(long)
    assert {id_ for id_ in "abcd" if "Slow start" in words(after, id_)} == {"c", "d"}
    assert overloaded(after) == set()
    assert min(shares(after)[id_] for id_ in "ab") > 0.4


def test_an_overload_lasts_until_the_line_is_an_ordinary_one() -> None:
    play = played(waiting({}))
    lengths = [400.0, 200.0, 100.0, 50.0, 1.0]
    seen = [overloaded(play.step(waiting({"a": each}))) for each in lengths]
    assert seen[:3] == [{"a"}] * 3
    assert seen[-1] == set()


def test_when_it_is_over_the_share_comes_back_step_by_step() -> None:
    play = played(waiting({}))
    play.step(waiting({"a": 400.0}))
    first = play.step(waiting({"a": 0.0}))
    assert relatives(first)["a"] <= 1.5 * FLOOR * 1.0001
    assert first.moving
    # From the floor of all shares, and not from the next to nothing that it had.
    assert relatives(play.run(waiting({}), 6))["a"] > 1
    assert relatives(play.run(waiting({}), 30))["a"] == pytest.approx(4, rel=0.05)


def test_a_line_that_only_envoys_counted_is_given_the_time_that_it_takes() -> None:
    """They do not count what they sent before the replica was alone in its tier."""

    def reported(of_a: float) -> dict[str, Serving]:
        return {
            id_: replace(each, reported=of_a if id_ == "a" else 1.0)
            for id_, each in pool(*UNLIKE).items()
        }

    play = played(reported(1.0))
    assert overloaded(play.step(reported(800.0))) == {"a"}
    held = [bool(overloaded(each)) for each in play.all_of(reported(2.0), 6)]
    assert held[0]
    assert not held[-1]


def test_a_pool_that_is_decided_long_after_has_no_line_any_more() -> None:
    play = played(waiting({}))
    play.step(waiting({"a": 400.0}))
    play.now += 20.0
    assert "overloaded" not in str(play.step(waiting({"a": 0.0})).tier_names)


def test_a_queue_of_texts_is_no_queue_of_requests() -> None:
    """One bulk request of 128 texts waits, on a replica that computes texts one after the other."""
    one = Serving(100 / 32, tokens=3_200.0, load=0.5, batch=(3_200.0, 0.04), texts=128.0)
    few = dict.fromkeys("abcd", one)

    def with_queue(of_a: float, *, are_texts: bool) -> dict[str, Serving]:
        return {
            id_: replace(each, queue=of_a if id_ == "a" else 0.0, are_texts=are_texts)
            for id_, each in few.items()
        }

    texts = played(with_queue(0.0, are_texts=True)).step(with_queue(128.0, are_texts=True))
    requests = played(with_queue(0.0, are_texts=False)).step(with_queue(128.0, are_texts=False))
    assert overloaded(texts) == set()
    assert overloaded(requests) == {"a"}
    assert texts.frame is not None
    assert requests.frame is not None
    row = texts.rows["a"]
    of_texts, of_requests = (
        float(each.frame.waits[row]) for each in (texts, requests) if each.frame
    )
    assert of_requests == pytest.approx(128 * of_texts, rel=0.05)


def test_a_gauge_that_sticks_is_disbelieved_when_envoys_have_nothing_there() -> None:
    play = played(waiting({}, reported=0.5))
    decisions = play.all_of(waiting({"a": 400.0}, reported=0.5), 15)
    assert overloaded(decisions[0]) == {"a"}
    assert overloaded(decisions[-1]) == set()
    assert relatives(decisions[-1])["a"] == pytest.approx(4, rel=0.1)


def test_a_replica_whose_gauge_does_not_move_while_nothing_is_there_is_tried() -> None:
    """Its requests end where the gauge sticks, and wait where the replica hangs."""
    play = played(waiting({}, reported=0.5))
    stuck = waiting({"a": 400.0}, reported=0.0)
    stuck["a"] = replace(stuck["a"], load=0.0)
    tried = play.run(stuck, 5)
    assert overloaded(tried) == {"a"}
    assert relatives(tried)["a"] == pytest.approx(FLOOR)
    hangs = play.step({**stuck, "a": replace(stuck["a"], reported=1.0)})
    assert relatives(hangs)["a"] < FLOOR / 10


def leaking(turn: int, seconds: float, **more: object) -> dict[str, Serving]:
    """The count of one replica never loses what was once forgotten, and moves all the same."""
    counts = waiting({"a": 400.0 + turn % 3}, reported=0.5)
    return {**counts, "a": replace(counts["a"], latency=seconds, **more)}  # type: ignore[arg-type]


def test_a_gauge_that_leaks_is_disbelieved_though_it_moves() -> None:
    play = played(waiting({}, reported=0.5))
    decisions = [play.step(leaking(turn, 0.005)) for turn in range(90)]
    assert overloaded(decisions[0]) == {"a"}
    assert overloaded(decisions[-1]) == set()
    assert relatives(decisions[-1])["a"] > 1.9
    assert "Its own count of 402 waiting requests is ignored: Envoys have 0.50" in words(
        decisions[-1], "a"
    )
    assert "not believed" not in words(decisions[-1], "b")


def test_a_line_of_clients_that_come_by_another_way_is_believed() -> None:
    """Envoys do not have them in flight, and durations tell of them."""
    play = played(waiting({}, reported=0.5))
    for turn in range(90):
        decision = play.step(leaking(turn, 2.0))
        assert "not believed" not in words(decision, "a")


def test_a_gauge_that_is_right_again_is_believed_again() -> None:
    play = played(waiting({}, reported=0.5))
    for turn in range(90):
        play.step(leaking(turn, 0.005))
    after = play.run(waiting({"a": 1.0}, reported=0.5), 5)
    assert "not believed" not in words(after, "a")
    assert overloaded(play.step(waiting({"a": 400.0}, reported=0.5))) == {"a"}


def test_a_replica_that_hangs_is_not_taken_for_one_whose_gauge_sticks() -> None:
    play = played(waiting({}, reported=0.5))
    hangs = waiting({"a": 400.0}, reported=0.5)
    hangs = {**hangs, "a": replace(hangs["a"], load=0.0)}
    assert all(overloaded(each) == {"a"} for each in play.all_of(hangs, 30))


def test_reports_that_are_missing_are_no_sign_of_an_idle_replica() -> None:
    """Nobody but the replica counts: its count is believed."""
    play = played(waiting({}))
    assert overloaded(play.run(waiting({"a": 400.0}), 5)) == {"a"}


def test_counts_of_long_ago_say_nothing() -> None:
    play = played(waiting({}))
    silent = {id_: replace(each, silent=id_ == "a") for id_, each in waiting({}).items()}
    play.step(waiting({"a": 400.0}))
    after = play.run(silent, 30 * INTERVAL)
    assert after.frame is not None
    assert str(after.frame.waits[after.rows["a"]]) == "nan"
    assert overloaded(after) == set()


def test_a_tier_with_more_work_waiting_gets_less_for_now() -> None:
    play = played(waiting({}))
    before = play.decision
    assert before is not None
    after = play.step(waiting({"a": 60.0, "b": 60.0}))
    assert overloaded(after) == set()
    assert (
        weights(after)["a"] / weights(after)["c"]
        < 0.95 * weights(before)["a"] / weights(before)["c"]
    )
    assert relatives(after) == pytest.approx(relatives(before), rel=1e-3)
    assert "waiting" in words(after, "c")
    even = play.run(waiting({}), 5)
    assert weights(even) == weights(before)


def test_a_tier_gets_three_quarters_more_or_less_at_most() -> None:
    play = played(waiting({}))
    before = play.decision
    assert before is not None
    for queues in ({"a": 40.0, "b": 40.0}, dict.fromkeys("cdef", 14.0)):
        after = play.step(waiting(queues))
        for id_, weight in weights(after).items():
            assert 0.2 <= weight / weights(before)[id_] <= 1.8
            assert 1000 * FLOOR <= weight <= 1000 * CEILING


def test_one_tier_has_nothing_to_compare() -> None:
    play = played(waiting({}, *(100.0,) * 4))
    assert weights(play.step(waiting({"a": 8.0}, *(100.0,) * 4))) == dict.fromkeys("abcd", 1000)


def test_what_is_computed_does_not_wait() -> None:
    """Slots: with four at a time, four in flight are no line."""
    four = {id_: Serving(100, slots=4, queue=4.0) for id_ in "abcd"}
    decision = Play().run(four, 10)
    assert decision.frame is not None
    assert all(decision.frame.waits[row] == 0 for row in decision.rows.values())
