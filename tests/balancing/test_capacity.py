"""What replicas are estimated to carry, from the counters of their own requests."""

import math
from dataclasses import replace

import numpy as np
import pytest

from controlplane.balancing import Decision
from controlplane.balancing.batches import Shapes
from controlplane.balancing.evidence import Counted, by_batches, by_queue, by_slots
from tests.balancing.pools import (
    INTERVAL,
    Play,
    Serving,
    capacities,
    played,
    pool,
    relatives,
    settled,
    weights,
)

TOKENS = 100.0
NAN = math.nan


def counted(rate: float, latency: float, seconds: float = 10.0, **more: float) -> Counted:
    given = {
        "requests": rate * seconds,
        "seconds": rate * seconds * latency,
        "elapsed": seconds,
        "tokens": rate * seconds * TOKENS,
        **more,
    }
    return Counted(*(np.array([given.get(name, NAN)]) for name in Counted._fields))


def by_one(rate: float, latency: float, slots: float = 1, sharing: float = 1.0) -> float:
    """Requests per second that such a replica carries."""
    some = by_slots(
        counted(rate, latency), np.array([slots]), np.array([sharing]), np.array([TOKENS])
    )
    _, busy, work = some[0]
    return float(work / busy / TOKENS)


@pytest.mark.parametrize("load", [0.01, 0.3, 0.6, 0.8, 0.95, 0.99])
def test_the_capacity_of_one_slot_does_not_depend_on_its_load(load: float) -> None:
    rate = load * 100
    assert by_one(rate, 1 / (100 - rate)) == pytest.approx(100)


def erlang(load: float, servers: int) -> tuple[float, float]:
    """An M/M/c queue of 100 requests/s and server: rate and, by Erlang's C formula, latency."""
    offered, rate = load * servers, load * servers * 100
    below = sum(offered**k / math.factorial(k) for k in range(servers))
    full = offered**servers / math.factorial(servers) / (1 - load)
    return rate, 0.01 + full / (below + full) / (servers * 100 - rate)


@pytest.mark.parametrize("slots", [2, 4, 16])
@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
def test_the_capacity_of_several_slots_hardly_depends_on_their_load(
    slots: int, load: float
) -> None:
    assert by_one(*erlang(load, slots), slots) == pytest.approx(slots * 100, rel=0.1)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
def test_replicas_behind_one_queue_are_not_taken_to_be_faster_than_they_are(load: float) -> None:
    rate, latency = erlang(load, 6)
    assert by_one(rate / 6, latency, sharing=6) == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("size", [50.0, 400.0, 4_000.0, 16_000.0])
def test_the_capacity_of_a_batching_replica_does_not_depend_on_the_size_of_its_batches(
    size: float,
) -> None:
    start, per_token, full = 0.02, 0.0001, 16_000.0
    took, batches = start + per_token * size, 100.0
    some = counted(
        10.0,
        0.1,
        batches=batches,
        batch_tokens=batches * size,
        middles=batches * size,
        squares=batches * size**2,
        billed=batches,
        batch_seconds=batches * took,
    )
    overhead = np.array([start / per_token])
    _, busy, work = by_batches(some, overhead, full, np.ones(1), np.ones(1))[0]
    assert work / busy == pytest.approx(full / (start + per_token * full), rel=0.01)


START, PER_TOKEN, FULL = 0.03, 0.0001, 16_000.0


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_batches_that_nobody_counts_follow_from_durations(part: float) -> None:
    """Of a server that computes what came during a batch in the next one."""
    tokens = part / PER_TOKEN
    takes = max(START / (1 - part), START + PER_TOKEN * TOKENS)
    busy = min(tokens * takes / TOKENS, 1.0)
    some = counted(tokens / TOKENS, takes * (1 + busy / 2)).completed()
    assert some.are_batches
    assert some.duration == pytest.approx(takes, rel=0.01)
    assert some.size == pytest.approx(max(tokens * takes, TOKENS), rel=0.01)
    overhead = np.array([START / PER_TOKEN])
    _, time, work = by_batches(some, overhead, FULL, np.ones(1), np.ones(1))[0]
    assert work / time == pytest.approx(FULL / (START + PER_TOKEN * FULL), rel=0.05)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_the_durations_of_counted_batches_follow_from_how_long_requests_take(part: float) -> None:
    """vLLM counts its steps and their tokens, and does not time them."""
    tokens = part / PER_TOKEN
    takes = max(START / (1 - part), START + PER_TOKEN * TOKENS)
    busy = min(tokens * takes / TOKENS, 1.0)
    some = of_counted_batches(tokens, takes * (1 + busy / 2), busy * 10.0 / takes)
    assert some.duration == pytest.approx(takes, rel=0.01)
    assert some.size == pytest.approx(max(tokens * takes, TOKENS), rel=0.01)


def test_a_counted_batch_takes_no_longer_than_there_was_time_for() -> None:
    """Of a saturated server, where requests wait for many batches."""
    takes = START + PER_TOKEN * FULL
    some = of_counted_batches(FULL / takes, latency=20 * takes, batches=10.0 / takes)
    assert some.duration == pytest.approx(takes, rel=0.01)
    assert some.size == pytest.approx(FULL, rel=0.01)


def of_counted_batches(tokens: float, latency: float, batches: float) -> Counted:
    """What was counted in ten seconds with so many tokens per second, and worked out."""
    total = {"batch_tokens": tokens * 10, "middles": tokens * 10}
    squares = (tokens * 10) ** 2 / batches
    return counted(tokens / TOKENS, latency, batches=batches, squares=squares, **total).completed()


def test_a_saturated_server_speaks_for_itself_though_nobody_counts_its_batches() -> None:
    """Requests wait ever longer there, which looks like ever fewer, ever larger batches."""
    fast, slow = Serving(200, load=0.5, latency=0.05, slots=None), Serving(20, load=1.0, slots=None)
    play = Play()
    for second in range(40):
        waiting = replace(slow, latency=1.0 + second / 2)
        play.run({"a": fast, "b": fast, "c": waiting}, 1.0)
    assert play.decision is not None
    assert capacities(play.decision)["c"] == pytest.approx(20 * TOKENS, rel=0.15)


def test_what_a_server_says_of_its_batches_is_not_worked_out() -> None:
    """Triton times batches and counts them, but nobody counts their tokens."""
    some = counted(10.0, 0.5, batches=20.0, billed=100.0, batch_seconds=20.0).completed()
    assert some.duration == pytest.approx(0.2)
    assert some.size == pytest.approx(10.0 * 10 * TOKENS / 20)


@pytest.mark.parametrize("used", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("burst", [TOKENS, 20 * TOKENS])
def test_the_capacity_follows_from_how_long_requests_wait_for_each_other(
    used: float, burst: float
) -> None:
    capacity = 1_000.0
    waits = used * burst / (2 * capacity * (1 - used))
    # A request that comes to a busy server is computed with half a burst of others.
    batch = TOKENS + used * burst / 2
    some = counted(used * capacity / TOKENS, batch / capacity + waits)
    found = by_queue(some, np.array([burst]), np.ones(1))
    assert found == pytest.approx(capacity, rel=0.05)


def test_where_the_size_of_requests_is_unknown_waiting_tells_nothing() -> None:
    assert np.isnan(by_queue(counted(5.0, 0.5), np.array([NAN]), np.ones(1)))


def test_requests_count_by_their_tokens() -> None:
    """Two replicas that take as long for a token, one of them with requests twice as long."""
    short, long = Serving(100, tokens=100.0), Serving(50, tokens=200.0)
    found = capacities(settled({"a": short, "b": short, "c": short, "d": long}))
    assert found["d"] == pytest.approx(found["a"], rel=0.02)
    assert found["a"] == pytest.approx(100 * TOKENS, rel=0.02)


def test_where_nobody_counts_tokens_requests_are_alike() -> None:
    decision = settled(pool(100, 100, 50, tokens=None))
    found = capacities(decision)
    assert found["c"] == pytest.approx(found["a"] / 2, rel=0.02)
    assert decision.of("a").tokens is None
    assert decision.of("a").capacity == pytest.approx(100, rel=0.02)


def test_what_was_counted_before_a_replica_was_watched_says_nothing() -> None:
    decision = Play().step(pool(100, 1), seconds=1000.0)
    assert not decision.is_measured
    assert weights(decision) == {"a": 1000, "b": 1000}


def test_a_replica_without_requests_gets_the_median() -> None:
    idle = Serving(100, load=0.0)
    found = capacities(settled({**pool(100, 100, 400), "d": idle}))
    assert found["d"] == pytest.approx(100 * TOKENS, rel=0.01)


def test_few_requests_of_a_newcomer_are_mixed_with_the_median() -> None:
    play = played(pool(100, 100, 100))
    few = Serving(400, load=10 / 400)
    everyone = {**pool(100, 100, 100), "d": few}
    play.step(everyone)
    found = capacities(play.run(everyone, 1.0))["d"] / TOKENS
    assert 110 < found < 380


def test_enough_requests_speak_for_themselves() -> None:
    play = played(pool(100, 100, 100))
    found = capacities(play.run(pool(100, 100, 100, 400), 2.0))
    assert found["d"] == pytest.approx(400 * TOKENS, rel=0.05)


def test_a_reading_counts_once_however_often_it_is_decided() -> None:
    play, once = played(pool(100, 70), 5.0), played(pool(100, 70), 5.0)
    for _ in range(10):
        play.decide()
    for each in (play, once):
        each.step(pool(100, 70))
    for mine, theirs in zip(_columns(play.decision), _columns(once.decision), strict=True):
        assert np.array_equal(mine, theirs, equal_nan=True)


def _columns(decision: Decision | None) -> tuple[np.ndarray, ...]:
    assert decision is not None
    records = decision.state.records
    return records.parts, records.base, records.last, records.at


def test_readings_that_were_missed_lose_no_request() -> None:
    often, seldom = played(pool(100, 70), 1.0), played(pool(100, 70), 1.0)
    often.run(pool(100, 70), 1.0)
    seldom.run(pool(100, 70, silent=True), 1.0 - INTERVAL)
    seldom.step(pool(100, 70))
    both = [each.decision.state.records.worth for each in (often, seldom) if each.decision]
    assert both[0] == pytest.approx(both[1])


def test_a_rest_says_nothing_about_the_work() -> None:
    """A pool that waits a minute for its first requests is not slow for that."""
    play = played(pool(100, 100, load=0.0, queue=0.0, reported=0.0), 60)
    # Mean durations of 300 ms with 12 of them in flight: 1/0.3 + 40 requests/s.
    busy = pool(40, 40, load=1.0, latency=0.3, queue=5.0, reported=5.0)
    found = play.run(busy, 3.0)
    assert capacities(found)["a"] == pytest.approx((1 / 0.3 + 40) * TOKENS, rel=0.05)


def test_a_long_while_without_requests_lets_an_estimate_fade() -> None:
    """A replica that others overtake by far is tried again with the median."""
    play = played(pool(100, 100, 100, 20))
    found = capacities(play.run({**pool(100, 100, 100), "d": Serving(20, load=0.0)}, 120))
    assert found["d"] > 2 * 20 * TOKENS


def test_idle_requests_show_what_a_replica_carries_at_least() -> None:
    """It was slow, and has few requests since; these take a hundredth of the time."""
    play = played(pool(100, 100, 100, 2))
    quick = Serving(200, load=2 / 200, latency=1 / 200)
    found = capacities(play.run({**pool(100, 100, 100), "d": quick}, 10))
    assert found["d"] > 50 * TOKENS


@pytest.mark.parametrize("factor", [0.1, 0.05])
def test_a_collapse_is_followed_within_three_seconds(factor: float) -> None:
    play = played(pool(100, 100, 100, 100))
    found = play.run(pool(100, 100, 100, 100 * factor), 3.0)
    assert capacities(found)["d"] < 2.5 * factor * 100 * TOKENS
    assert weights(found)["d"] < 300
    assert "slower" in str([step.words for step in found.of("d").steps])


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_step_is_followed_within_three_windows(factor: float) -> None:
    play = played(pool(100, 100, 100, 100))
    found = play.run(pool(100, 100, 100, 100 * factor), 15)
    assert capacities(found)["d"] == pytest.approx(100 * factor * TOKENS, rel=0.2)


def test_a_replica_that_recovers_is_what_it_was() -> None:
    play = played(pool(100, 100, 100, 100))
    play.run(pool(100, 100, 100, 10), 10)
    found = play.run(pool(100, 100, 100, 100), 3.0)
    assert capacities(found)["d"] == pytest.approx(100 * TOKENS, rel=0.1)


def test_steady_traffic_shows_no_change() -> None:
    assert np.isnan(settled(pool(100, 50, 25)).state.records.changed_at).all()


def test_requests_that_become_longer_are_no_change_where_tokens_are_counted() -> None:
    play = played(pool(100, 100))
    play.run(pool(25, 25, tokens=400.0), 20)
    assert play.decision is not None
    assert np.isnan(play.decision.state.records.changed_at).all()
    assert capacities(play.decision)["a"] == pytest.approx(100 * TOKENS, rel=0.05)


def test_long_durations_that_end_at_a_healthy_pace_are_no_fall() -> None:
    """One long request holds up fifty others, which then end together."""
    play = played(pool(100, 100, 100, 100))
    held_up = replace(Serving(100), load=1.0, latency=0.5)
    found = play.run({**pool(100, 100, 100), "d": held_up}, 2.0)
    assert capacities(found)["d"] > 50 * TOKENS


def test_counters_that_begin_anew_do_not_count_twice() -> None:
    """An exposition whose counters went down without a new generation."""
    play = played(pool(100, 100, 50))
    play._counters["c"].requests = play._counters["c"].total = play._counters["c"].tokens = 0.0
    decisions = play.all_of(pool(100, 100, 50), 10)
    for decision in decisions:
        assert capacities(decision)["c"] == pytest.approx(50 * TOKENS, rel=0.05)
    row = decisions[-1].rows["c"]
    assert decisions[-1].state.records.worth[row] <= 25 * (play.now - INTERVAL)


def test_a_restart_forgets_all() -> None:
    play = played(pool(100, 100, 100, 10))
    found = play.step({**pool(100, 100, 100), "d": Serving(10, generation=1)})
    assert found.of("d").capacity == pytest.approx(100, rel=0.02)
    assert weights(found)["d"] == 1000


def test_looks_are_worth_less_than_measured_durations_and_say_the_same() -> None:
    """Load reports alone: what is in flight, summed over looks."""
    looked, measured = pool(400, 400, 100), pool(400, 400, 100)
    looked = {id_: replace(each, looks=2.0, tokens=None) for id_, each in looked.items()}
    measured = {id_: replace(each, tokens=None) for id_, each in measured.items()}
    ours, theirs = played(looked, 3.0).decision, played(measured, 3.0).decision
    assert ours is not None
    assert theirs is not None
    row = ours.rows["a"]
    assert ours.state.records.worth[row] < 0.2 * theirs.state.records.worth[row]
    assert ours.state.records.capacity[row] == pytest.approx(
        theirs.state.records.capacity[row], rel=0.05
    )


def test_looks_that_saw_nothing_make_no_replica_infinitely_fast() -> None:
    """Fifteen requests came and went between five looks, a tenth of a second apart."""
    some = counted(30.0, 0.0, seconds=0.5, looks=5.0)
    worth, busy, work = by_slots(some, np.ones(1), np.ones(1), np.array([TOKENS]))[0]
    assert worth == 15
    assert work / busy / TOKENS < 15 / 0.05 + 30 + 1


def test_the_usual_length_of_a_request_stays_what_it_was() -> None:
    play = played(pool(100, 100))
    assert play.decision is not None
    assert play.decision.pool.length == pytest.approx(TOKENS)
    longer = play.run(pool(25, 25, tokens=400.0), 30)
    assert longer.pool.length == pytest.approx(TOKENS)


def test_a_replica_with_no_known_slots_is_measured_too() -> None:
    assert weights(settled(pool(100, 100, 50, slots=None)))["c"] < 600


def test_a_server_that_says_it_has_computed_nothing_yet_is_not_slow() -> None:
    """It computes batches, and none has ended since the last reading."""
    replicas = pool(100, 100, 100, batch=(1_000.0, 0.05))
    play = played(replicas)
    before = capacities(play.step(replicas))
    pause = {**replicas, "c": replace(replicas["c"], load=0.0)}
    after = capacities(play.run(pause, 2.0))
    assert after["c"] == pytest.approx(before["c"])


def test_a_server_is_measured_by_its_batches_from_the_first_that_it_has_timed() -> None:
    """Its first requests, which were alone, took a hundredth of what a full batch takes."""
    few = pool(10, 10, 10)
    batched = {id_: replace(each, batch=(1_000.0, 0.5)) for id_, each in few.items()}
    play = Play()
    play.run(few, 1)
    decision = play.run(batched, 2.5)
    assert decision.state.records.shapes.batched[decision.rows["a"]]


def test_shares_follow_capacities_when_they_have_settled() -> None:
    found = relatives(settled(pool(400, 400, 100, 100, 100, 100, 50)))
    assert found["a"] == pytest.approx(4, rel=0.03)
    assert found["g"] == pytest.approx(0.5, rel=0.03)


def test_small_batches_say_little_while_nobody_knows_what_a_start_costs() -> None:
    """A fast newcomer has had a few searches: each of its batches is all start."""
    long = Serving(slots=None, tokens=2_000.0, capacity=8.0, batch=(4_000.0, 0.03 + 0.24))
    short = Serving(slots=None, tokens=34.0, capacity=24.0, batch=(34.0, 0.03 + 0.0005))
    found = capacities(Play().run({**dict.fromkeys("abc", long), "d": short}, 1.0))
    assert found["d"] > 0.8 * found["a"]


def shapes_of(*replicas: list[tuple[float, float]]) -> Shapes:
    """Replicas with these chunks of batches of n tokens and T seconds."""
    sums = []
    for chunks in replicas:
        n, took = np.array(chunks).T
        sums.append([len(n), n.sum(), took.sum(), (n * n).sum(), (n * took).sum()])
    return replace(Shapes.empty(len(sums)), sums=np.array(sums))


def test_batches_of_about_one_size_say_little_of_what_a_start_costs() -> None:
    # The line through these meets no tokens at no time.
    alike = [(1_600.0 + 80 * i, 0.1 * (1 + 0.05 * i)) for i in range(-3, 4)]
    unlike = [(1_600.0 + 500 * i, 0.02 + 0.00005 * (1_600 + 500 * i)) for i in range(-3, 4)]
    (little,), told = shapes_of(alike).overhead()
    assert little > 100
    (found,), told_by_unlike = shapes_of(unlike).overhead()
    assert found == pytest.approx(400, rel=0.2)
    assert told < 0.5 < told_by_unlike


def test_replicas_whose_batches_are_of_one_size_start_them_as_others_of_the_pool_do() -> None:
    start = 0.005
    various = [(16.0 * i, start + 0.0004 * 16 * i) for i in range(1, 8)]
    singles = [(16.0, start + 0.0013 * 16)] * 7
    (fast, slow), _ = shapes_of(various, singles).overhead()
    assert fast == pytest.approx(start / 0.0004, rel=0.35)
    assert slow == pytest.approx(start / 0.0013, rel=0.35)
