"""What a replica must not be given: for errors, failing, GPU memory and silence."""

from collections.abc import Mapping
from dataclasses import replace
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.balancing import ReplicaInput
from controlplane.balancing.division import Division
from controlplane.config.replica import MemorySettings
from controlplane.telemetry.load import Failing
from tests.balancing.pools import (
    INTERVAL,
    SETTINGS,
    Play,
    Serving,
    capacities,
    drained,
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

PATIENCE = 15.0
SOFT, HARD = SETTINGS.memory.soft, SETTINGS.memory.hard


def filled(*fractions: float | None) -> dict[str, Serving]:
    """Replicas a, b, c … with so much of their memory in use."""
    return {chr(ord("a") + i): Serving(memory=each) for i, each in enumerate(fractions)}


def test_errors_take_from_a_share_at_least_what_they_are() -> None:
    failing = Serving(100, failing=0.4)
    decision = settled({**pool(100, 100, 100), "d": failing})
    assert weights(decision)["d"] < 0.75 * weights(decision)["a"]
    assert "failed" in words(decision, "d")


def test_a_replica_that_fails_fast_gets_less_than_one_that_does_not_fail() -> None:
    failing = Serving(1000, load=0.5, failing=4.0)
    found = weights(settled({**pool(100, 100, 100), "d": failing}))
    assert found["d"] < found["a"] * 10 * 0.2


def test_a_replica_of_which_everything_fails_keeps_the_least_share() -> None:
    broken = {"d": Serving(100, latency=0.001, failing=1e6)}
    assert weights(settled({**pool(100, 100, 100), **broken}))["d"] < 100


def failing(*parts: float | None, requests: float = 40.0) -> dict[str, Serving]:
    """Replicas a, b, c … of which Envoys see such a part of the requests fail; None: they had none.

    One that gets no requests shows nothing: see `left_out`.
    """
    seen = [None if part is None else Failing(part, requests) for part in parts]
    return {chr(ord("a") + i): Serving(fails=each) for i, each in enumerate(seen)}


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_a_replica_that_fails_every_second_request_is_left_out_of_a_pool_of(size: int) -> None:
    decision = Play().step(failing(0.5, *[0.0] * (size - 1)))
    assert drained(decision) == {"a"}
    assert "fail far more often than those of other replicas" in words(decision, "a")
    assert "(50 % against 0 %)" in words(decision, "a")


@pytest.mark.parametrize("policy", ["round-robin", "least-request"])
def test_it_is_left_out_by_policies_without_weights_too(policy: str) -> None:
    assert drained(Play(settings_of(policy=policy)).step(failing(0.5, 0.0, 0.0))) == {"a"}


@pytest.mark.parametrize("part", [0.05, 0.5, 1.0])
def test_a_pool_that_fails_as_a_whole_keeps_all_of_its_replicas(part: float) -> None:
    assert drained(Play().step(failing(part, part, part, part + 0.1))) == set()


def parted(play: Play, *searches: str) -> Play:
    """The same, with these replicas for searches alone and the others for bulk."""
    assert play.decision is not None
    own = Division(1000, {"": frozenset(searches)}, "bulk", begun=play.now, at=play.now)
    pool = replace(play.decision.pool, division=own)
    play.decision = replace(play.decision, pool=pool)
    return play


def test_replicas_are_compared_with_those_that_serve_the_same_class() -> None:
    # Every bulk request fails: that is no fault of the replicas for bulk.
    bulk_fails = failing(0.0, 0.0, 0.0, 0.0, 0.9, 0.9, 0.9, 0.9)
    assert drained(parted(played(pool(*[100] * 8)), *"abcd").step(bulk_fails)) == set()
    one_fails = failing(0.0, 0.0, 0.5, 0.0, 0.9, 0.9, 0.9, 0.9)
    assert drained(parted(played(pool(*[100] * 8)), *"abcd").step(one_fails)) == {"c"}


@pytest.mark.parametrize("others", [(), (None, None)])
def test_a_replica_that_nothing_can_be_compared_with_stays(others: tuple[None, ...]) -> None:
    assert drained(Play().step(failing(1.0, *others))) == set()


def test_a_few_requests_that_failed_leave_nobody_out() -> None:
    assert drained(Play().step(failing(1.0, 0.0, 0.0, requests=3.0))) == set()


@given(st.lists(st.sampled_from([0.0, 0.3, 0.6, 1.0]), min_size=1, max_size=12))
def test_no_more_are_left_out_than_a_pool_can_spare_and_never_all(parts: list[float]) -> None:
    found = drained(Play().step(failing(*parts)))
    assert len(found) <= max(floor(0.3 * len(parts)), 1)
    assert len(found) < len(parts)


def test_the_place_of_one_that_is_full_goes_to_one_that_fails() -> None:
    replicas = failing(0.5, 0.0, 0.0)
    replicas["b"] = replace(replicas["b"], memory=0.99)
    assert drained(Play().step(replicas)) == {"a"}


def left_out(play: Play, of: dict[str, Serving]) -> float:
    """Seconds until a replica that gets no requests is used again."""
    begun, shown = play.now, {**of, "a": replace(of["a"], fails=None)}
    while drained(play.step(shown)):
        assert play.now - begun < 1000
    return play.now - begun


def test_it_is_tried_again_and_left_out_for_twice_as_long_if_it_still_fails() -> None:
    play, bad = Play(), failing(0.5, 0.0, 0.0)
    times = []
    for _ in range(3):
        assert drained(play.step(bad)) == {"a"}
        times.append(left_out(play, bad))
    assert times == pytest.approx([10, 20, 40], abs=2 * INTERVAL)


def test_one_that_did_well_for_as_long_is_left_out_no_longer_than_the_first_time() -> None:
    play, bad = Play(), failing(0.5, 0.0, 0.0)
    play.step(bad)
    left_out(play, bad)
    play.run(failing(0.0, 0.0, 0.0), seconds=15)
    assert drained(play.step(bad)) == {"a"}
    assert left_out(play, bad) == pytest.approx(10, abs=2 * INTERVAL)


def test_while_one_is_left_out_the_next_decision_is_due_without_news() -> None:
    assert Play(settings_of(policy="round-robin")).step(failing(0.5, 0.0, 0.0)).moving


def test_memory_below_soft_takes_nothing() -> None:
    assert weights(settled(filled(SOFT - 0.01, 0.1, 0.5))) == dict.fromkeys("abc", 1000)


def test_between_soft_and_hard_a_share_falls_in_a_straight_line() -> None:
    middle = (SOFT + HARD) / 2
    found = relatives(settled(filled(middle, 0.5, 0.5, None)))
    assert found["a"] == pytest.approx(0.5, rel=0.02)


def test_at_hard_a_replica_is_cut_at_once_and_keeps_a_weight() -> None:
    decision = Play().step(filled(HARD, 0.5, 0.5, 0.5))
    assert drained(decision) == {"a"}
    assert shares(decision)["a"] == 0
    assert weights(decision)["a"] >= 1
    assert "hard limit" in words(decision, "a")


def test_memory_that_nobody_reports_is_neither_full_nor_empty() -> None:
    assert drained(settled(filled(None, None, 0.2, 0.2))) == set()


def test_a_cut_ends_after_three_windows_below_soft() -> None:
    play = played(filled(0.99, 0.5, 0.5))
    begin = play.now
    back = play.all_of(filled(0.8, 0.5, 0.5), 20)
    ended = next(each.at for each in back if not drained(each))
    assert ended - begin == pytest.approx(PATIENCE + INTERVAL)


def test_a_cut_does_not_end_between_soft_and_hard() -> None:
    play = played(filled(0.99, 0.5, 0.5))
    assert drained(play.run(filled(SOFT + 0.01, 0.5, 0.5))) == {"a"}


def test_a_moment_above_soft_starts_the_wait_anew() -> None:
    play = played(filled(0.99, 0.5, 0.5))
    play.run(filled(0.8, 0.5, 0.5), PATIENCE - 2)
    play.step(filled(SOFT + 0.01, 0.5, 0.5))
    assert drained(play.run(filled(0.8, 0.5, 0.5), PATIENCE - 2)) == {"a"}


def test_memory_that_is_no_longer_reported_does_not_end_a_cut() -> None:
    play = played(filled(0.99, 0.5, 0.5))
    assert drained(play.run(filled(None, 0.5, 0.5), 60)) == {"a"}


def test_a_restart_ends_a_cut() -> None:
    play = played(filled(0.99, 0.5, 0.5))
    restarted = {**filled(None, 0.5, 0.5), "a": Serving(generation=1)}
    assert drained(play.step(restarted)) == set()


def most_cuts(ready: int) -> int:
    """30 % of the ready replicas; one of two or three, and never the last."""
    return 0 if ready < 2 else max(floor(0.3 * ready), 1)


@pytest.mark.parametrize("ready", [1, 2, 3, 6, 7, 10, 40])
def test_of_a_pool_that_is_full_thirty_percent_are_cut_and_never_the_last(ready: int) -> None:
    full = {f"r{i}": Serving(memory=0.99) for i in range(ready)}
    decision = Play().step(full)
    assert len(drained(decision)) == most_cuts(ready)
    assert sum(shares(decision).values()) == pytest.approx(1)


@settings(max_examples=15)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=14))
def test_never_more_of_a_pool_is_cut_than_it_can_spare(fractions: list[float | None]) -> None:
    full = {f"r{i}": Serving(memory=each) for i, each in enumerate(fractions)}
    decision = Play().run(full, 2)
    assert len(drained(decision)) <= most_cuts(len(fractions))
    assert sum(shares(decision).values()) == pytest.approx(1)


def test_when_too_many_are_full_the_fullest_are_cut() -> None:
    assert drained(Play().step(filled(0.98, 0.99, 0.975, 0.98))) == {"b"}


def test_a_cut_replica_is_not_exchanged_for_a_fuller_one() -> None:
    play = played(filled(0.98, 0.5, 0.5, 0.5))
    assert drained(play.run(filled(0.98, 0.99, 0.5, 0.5))) == {"a"}


def test_replicas_that_are_not_ready_are_no_reserve() -> None:
    """One of the two that serve is full: of the six that do not, none can take its place."""
    waiting = {f"r{i}": Serving(ready=False) for i in range(6)}
    full = filled(0.99, 0.99)
    assert len(drained(Play().step({**full, **waiting}))) == 1


def test_one_that_may_not_be_cut_keeps_little() -> None:
    decision = settled(filled(0.98, 0.99, 0.5, 0.5))
    assert drained(decision) == {"b"}
    assert weights(decision)["a"] <= 100


def test_replicas_on_one_gpu_are_as_full_as_it_is() -> None:
    play = Play()
    play.gpus = {"GPU-1": 0.99}
    on_gpu = {"a": Serving(gpu="GPU-1", memory=0.2), "b": Serving(gpu="GPU-1")}
    rest = {f"r{i}": Serving() for i in range(8)}
    assert drained(play.step({**on_gpu, **rest})) == {"a", "b"}
    play.gpus = {"GPU-2": 0.99}
    assert drained(Play().step({**on_gpu, **rest})) == set()


def test_memory_that_was_reported_long_ago_says_nothing() -> None:
    play = played(filled(0.8, 0.5, 0.5, 0.5))
    silent = replace(Serving(memory=0.99), silent=True)
    assert drained(play.run({**filled(None, 0.5, 0.5, 0.5), "a": silent}, 30)) == set()
    full = Play()
    full.run(filled(0.93, 0.5, 0.5, 0.5), 10)
    assert full.decision is not None
    assert relatives(full.decision)["a"] < 0.7
    full.run({**filled(None, 0.5, 0.5, 0.5), "a": replace(silent, memory=0.93)}, 30)
    assert relatives(full.decision)["a"] == 1


def test_what_a_replica_would_get_does_not_change_while_it_is_cut() -> None:
    play = played(filled(0.96, 0.5, 0.5, 0.5))
    assert play.decision is not None
    before, tier = relatives(play.decision)["a"], tiers(play.decision)["a"]
    after = play.run(filled(0.99, 0.5, 0.5, 0.5))
    assert (relatives(after)["a"], tiers(after)["a"]) == (before, tier)


def test_a_replica_may_have_limits_of_its_own() -> None:
    own = Serving(memory=0.975, limits=MemorySettings(soft=0.98, hard=0.99))
    decision = settled({**filled(own.memory, 0.975, 0.5, 0.5, 0.5, 0.5, 0.5), "a": own})
    assert drained(decision) == {"b"}
    assert weights(decision)["a"] == weights(decision)["c"]


def filling(play: Play, *fractions: float, others: int = 3) -> None:
    """The memory of `a` is read so, once an interval."""
    for fraction in fractions:
        play.step(filled(fraction, *[0.5] * others))


def test_a_replica_whose_memory_fills_gets_less_before_it_is_full() -> None:
    play, steady = Play(), Play()
    filling(play, *(SOFT - 0.2 + 0.025 * n for n in range(9)))
    filling(steady, *[SOFT] * 9)
    assert play.decision is not None
    assert steady.decision is not None
    assert drained(play.decision) == set()
    assert relatives(play.decision)["a"] < 0.5 * relatives(steady.decision)["a"]


def test_memory_that_will_be_full_is_not_cut_before_it_is() -> None:
    play = Play()
    filling(play, *(0.50 + 0.05 * n for n in range(9)))
    assert play.decision is not None
    assert drained(play.decision) == set()
    # It stops growing below the limit, as models do that have taken what they need.
    filling(play, *[0.85] * 40)
    assert weights(play.decision)["a"] == weights(play.decision)["b"]


def test_a_jump_of_memory_is_not_growth() -> None:
    play = Play()
    for fraction in (*[0.1] * 10, *[SOFT - 0.01] * 10):
        filling(play, fraction)
        assert play.decision is not None
        assert relatives(play.decision)["a"] == 1


def test_decisions_between_two_readings_of_memory_are_no_readings() -> None:
    """A pool that is decided ten times in an interval sees no slower growth."""
    often, once = Play(), Play()
    for n in range(9):
        for each in (often, once):
            filling(each, SOFT - 0.2 + 0.025 * n)
        for _ in range(3):
            often.now += INTERVAL / 10
            often.decide()
        often.now -= 3 * INTERVAL / 10
    assert often.decision is not None
    assert once.decision is not None
    assert relatives(often.decision)["a"] == pytest.approx(relatives(once.decision)["a"], rel=0.2)


CAPACITIES = (100.0, 100.0, 100.0, 100.0, 400.0)


def silent(ids: str, capacities: tuple[float, ...] = CAPACITIES) -> Mapping[str, Serving]:
    return {id_: replace(each, silent=id_ in ids) for id_, each in pool(*capacities).items()}


def test_for_three_intervals_of_silence_nothing_changes() -> None:
    play = played(pool(*CAPACITIES))
    assert play.decision is not None
    before = weights(play.decision)
    after = play.run(silent("e"), 3 * INTERVAL)
    assert weights(after) == before
    assert not after.of("e").stale


def test_after_three_intervals_a_share_moves_towards_the_median() -> None:
    after = played(pool(*CAPACITIES)).run(silent("e"), 6 * INTERVAL)
    assert after.of("e").stale
    assert 1.0 < relatives(after)["e"] < 4.0


def test_by_ten_intervals_a_silent_replica_is_on_its_way_to_exactly_the_median() -> None:
    after = played(pool(*CAPACITIES)).run(silent("e"), 16 * INTERVAL)
    assert weights(after) == dict.fromkeys("abcde", 1000)
    assert not after.suspect
    assert "No successful scrape" in words(after, "e")


def test_a_silent_replica_that_speaks_again_gets_back_what_it_had() -> None:
    play = played(pool(*CAPACITIES))
    play.run(silent("e"), 40 * INTERVAL)
    assert relatives(play.run(pool(*CAPACITIES)))["e"] == pytest.approx(4, rel=0.06)


@pytest.mark.parametrize("ids", ["abe", "abcde"])
def test_when_more_than_half_are_silent_everything_freezes(ids: str) -> None:
    play = played(pool(*CAPACITIES))
    before = play.decision
    assert before is not None
    after = play.run(silent(ids), 200 * INTERVAL)
    assert after.suspect
    assert weights(after) == weights(before)
    assert tiers(after) == tiers(before)
    assert shares(after) == pytest.approx(shares(before))


def test_half_of_a_pool_that_is_silent_is_not_suspect() -> None:
    play = played(pool(100, 100, 100, 100))
    assert not play.run(silent("ab", (100.0,) * 4), 50 * INTERVAL).suspect


def test_a_pool_that_was_never_scraped_is_not_suspect() -> None:
    play = Play()
    for id_ in "abc":
        play.table.put(ReplicaInput(id_))
    decision = play.decide()
    assert not decision.suspect
    assert weights(decision) == dict.fromkeys("abc", 1000)
    assert decision.of("a").capacity is None


def test_replicas_that_are_not_ready_say_nothing_about_the_control_plane() -> None:
    play = played(pool(*CAPACITIES))
    gone = {
        id_: replace(each, silent=id_ in "cde", ready=id_ in "ab")
        for id_, each in pool(*CAPACITIES).items()
    }
    assert not play.run(gone, 50 * INTERVAL).suspect


def test_a_newcomer_to_a_frozen_pool_is_a_usual_replica() -> None:
    play = played(pool(*CAPACITIES))
    everyone = {**silent("abcde"), "z": Serving(silent=True)}
    after = play.run(everyone, 50 * INTERVAL)
    assert after.suspect
    assert weights(after)["z"] == pytest.approx(1000, abs=60)
    assert capacities(after)["z"] == pytest.approx(capacities(after)["a"], rel=0.1)


def test_a_replica_that_leaves_a_frozen_pool_gets_nothing_any_more() -> None:
    play = played(pool(*CAPACITIES))
    play.run(silent("abcde"), 50 * INTERVAL)
    rest = {id_: each for id_, each in silent("abcde").items() if id_ != "e"}
    after = play.step(rest)
    assert after.rows.keys() == set("abcd")
    assert sum(shares(after).values()) == pytest.approx(1)
    unready = {**rest, "a": replace(rest["a"], ready=False)}
    assert shares(play.step(unready))["a"] == 0


def test_a_frozen_pool_thaws_when_replicas_speak_again() -> None:
    play = played(pool(*CAPACITIES))
    play.run(silent("abcde"), 30 * INTERVAL)
    after = play.run(pool(100, 100, 100, 100, 100))
    assert not after.suspect
    assert weights(after) == dict.fromkeys("abcde", 1000)


def test_a_replica_that_is_cut_stays_cut_while_the_pool_is_frozen() -> None:
    play = played(filled(0.99, 0.5, 0.5))
    frozen = {id_: replace(each, silent=True) for id_, each in filled(0.1, 0.5, 0.5).items()}
    after = play.run(frozen, 60 * INTERVAL)
    assert after.suspect
    assert drained(after) == {"a"}


def test_a_held_pool_changes_nothing_for_whom_it_knows() -> None:
    play = played(pool(*CAPACITIES))
    before = play.decision
    assert before is not None
    for _ in range(40):
        after = play.step(pool(100, 100, 100, 10, 400), hold="Starting up")
    assert weights(after) == weights(before)
    assert tiers(after) == tiers(before)
    assert capacities(after) == pytest.approx(capacities(before))
    assert "Starting up" in words(after, "a")
    gone = play.run(pool(100, 100, 100, 10, 400), 15)
    assert weights(gone)["d"] < 200


def test_the_first_decision_of_a_held_pool_is_made_all_the_same() -> None:
    decision = Play().step(pool(100, 400), hold="Starting up")
    assert sum(shares(decision).values()) == pytest.approx(1)
