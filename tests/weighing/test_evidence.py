import math
import random
from dataclasses import replace
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.signals import Window
from controlplane.weighing.evidence import PER_LOOK, SPREAD, Evidence, evidence_of
from controlplane.weighing.record import BATCH, MEMORY, Record, begun, changed, recorded, recovered
from tests.weighing.pools import window


def capacity(rate: float, latency: float, slots: int = 1, sharing: float = 1.0) -> float:
    """By ten seconds of it."""
    return math.exp(evidence_of(rate * 10, rate * latency * 10, 10, slots, sharing).log)


@pytest.mark.parametrize("load", [0.01, 0.3, 0.6, 0.8, 0.95, 0.99])
def test_the_capacity_of_one_slot_does_not_depend_on_its_load(load: float) -> None:
    rate = load * 100
    assert capacity(rate, 1 / (100 - rate)) == pytest.approx(100)


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
    assert capacity(*erlang(load, slots), slots) == pytest.approx(slots * 100, rel=0.1)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
def test_replicas_behind_one_line_are_not_taken_to_be_faster_than_they_are(load: float) -> None:
    rate, latency = erlang(load, 6)
    assert capacity(rate / 6, latency, sharing=6) == pytest.approx(100, rel=0.1)


@given(st.floats(1e-9, 1e15), st.floats(0, 1e15), st.floats(0, 1e9), st.integers(1, 4096))
def test_no_requests_make_a_capacity_zero_or_infinite(
    requests: float, took: float, seconds: float, slots: int
) -> None:
    found = evidence_of(requests, took, seconds, slots, 1.0)
    assert 0 < found.requests / found.busy < math.inf


def readings(capacities: list[float], seed: int = 1) -> tuple[Record, list[float | None]]:
    """A replica at 60 % load, read every half second; its record, and when it changed."""
    chance = random.Random(seed)  # noqa: S311 - a simulation, to be repeated
    now, free, came = 0.0, 0.0, 0.0
    ends: list[tuple[float, float]] = []
    record = begun(window(at=0.0))
    count = total = 0.0
    changes = []
    for mu in capacities:
        now += 0.5
        while came < now:
            free = max(free, came) + chance.expovariate(mu)
            ends.append((free, free - came))
            came += chance.expovariate(0.6 * mu)
        done = [took for end, took in ends if end <= now]
        ends = [each for each in ends if each[0] > now]
        count, total = count + len(done), total + sum(done)
        seen = replace(window(at=now), count=count, total=total)
        record, change = changed(recorded(record, seen, 1, 1.0))
        changes.append(change)
    return record, changes


def test_the_error_of_a_capacity_is_what_is_said_of_it() -> None:
    found = [readings([100.0] * 40, seed)[0].all for seed in range(60)]
    logs = [evidence.log - math.log(100) for evidence in found]
    assert abs(mean(logs)) < 0.1
    # Exponential sizes vary a little less than those that SPREAD is for.
    assert 0.5 * SPREAD < stdev(logs) * math.sqrt(found[0].requests) < 1.1 * SPREAD


@pytest.mark.parametrize("seed", range(5))
def test_steady_traffic_shows_no_change(seed: int) -> None:
    assert set(readings([100.0] * 120, seed)[1]) == {None}


@pytest.mark.parametrize("seed", range(5))
def test_a_tenth_of_the_capacity_shows_within_three_seconds(seed: int) -> None:
    record, changes = readings([100.0] * 40 + [10.0] * 8, seed)
    assert next(i for i, change in enumerate(changes) if change is not None) <= 45
    assert math.exp(record.all.log) < 25


@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_capacity_shows_within_three_windows(seed: int) -> None:
    record, _ = readings([100.0] * 60 + [50.0] * 30, seed)
    assert math.exp(record.all.log) == pytest.approx(50, rel=0.3)


def test_memory_is_bounded() -> None:
    record, _ = readings([1000.0] * 200)
    assert record.old.requests <= 60 * 1000
    slow, _ = readings([50.0] * 400)
    assert slow.all.requests > MEMORY


def test_a_sum_over_looks_counts_for_no_more_than_they_do_and_says_the_same() -> None:
    measured = evidence_of(100, 10.0, 5.0, 1, 1.0)
    looked = evidence_of(100, 10.0, 5.0, 1, 1.0, looks=5)
    assert looked.requests == 5 * PER_LOOK
    assert looked.log == pytest.approx(measured.log)
    assert looked.variance > measured.variance
    assert evidence_of(4, 10.0, 5.0, 1, 1.0, looks=50) == evidence_of(4, 10.0, 5.0, 1, 1.0)


def test_a_batch_of_looks_is_as_long_as_they_ask_for_and_keeps_its_pace() -> None:
    record = begun(replace(window(at=0.0), looks=0.0))
    for tick in range(1, 5):
        seen = replace(window(at=tick / 2), count=50.0 * tick, total=5.0 * tick, looks=2.0 * tick)
        record = recorded(record, seen, 1, 1.0)
        assert record.pace == pytest.approx(100.0)
        assert len(record.recent) == (2 * tick * PER_LOOK >= BATCH)
    assert record.all.requests == 8 * PER_LOOK
    assert record.capacity == pytest.approx(math.exp(evidence_of(200, 20.0, 2.0, 1, 1.0).log))


def steady(mu: float, requests: float) -> Evidence:
    return Evidence(requests, requests / mu)


def test_few_requests_show_that_a_replica_is_what_it_was() -> None:
    slow = Record(0, 0, 0, 0, old=steady(10, 40), open=steady(100, 6))
    found = recovered(slow, math.log(100))
    assert found is not None
    assert found.all.requests == 6
    assert recovered(replace(slow, open=steady(100, 3)), math.log(100)) is None


def test_what_is_nearer_to_before_than_to_a_first_guess_may_be_neither() -> None:
    # A collapse is first known by one request, and any few lucky ones are better than that.
    guess = Record(0.0, 0.0, 0.0, 0.0, old=Evidence(1.0, 1.0), open=Evidence(5.0, 0.4))
    assert recovered(guess, math.log(60)) is None
    assert recovered(guess, math.log(30)) is not None


def test_a_replica_that_is_still_slow_has_not_recovered() -> None:
    slow = Record(0, 0, 0, 0, old=steady(10, 40), open=steady(10, 19))
    assert recovered(slow, math.log(100)) is None


def test_long_durations_that_end_at_a_healthy_pace_are_no_fall() -> None:
    """One long request holds up fifteen others, which then end together."""
    before = Record(0, 0, 0, 0, old=steady(100, 400), open=steady(8, 16), pace=16 / 0.5)
    assert changed(before)[1] is not None
    assert changed(replace(before, pace=60.0))[1] is None


def test_envoys_that_report_anew_begin_a_new_record_though_there_had_been_no_requests() -> None:
    """Their sums begin anew: more requests than there were, but fewer looks."""
    record = begun(replace(window(at=0.0), count=0.0, total=0.0, looks=50.0))
    anew = replace(window(at=1.0), count=3.0, total=0.1, looks=1.0)
    assert recorded(record, anew, 1, 1.0) == begun(anew)


def test_counters_that_went_down_begin_a_new_record() -> None:
    seen = replace(window(at=1.0), count=50.0, total=1.0)
    record = recorded(begun(window(at=0.0)), seen, 1, 1.0)
    again = recorded(record, replace(window(at=2.0), count=10.0, total=0.1), 1, 1.0)
    assert again == begun(replace(window(at=2.0), count=10.0, total=0.1))


def test_a_rest_before_the_first_request_of_a_batch_says_nothing_about_the_work() -> None:
    """A pool that waits a minute for its first requests is not slow for that."""

    def seen(at: float, count: float) -> Window:
        return replace(window(at=at), count=count, total=count * 0.3)

    rested = recorded(begun(seen(0.0, 0.0)), seen(60.0, 0.0), 1, 1.0, idle=True)
    assert rested == begun(seen(60.0, 0.0))
    after = recorded(rested, seen(61.0, 40.0), 1, 1.0)
    assert after.capacity == pytest.approx(1 / 0.3 + 40)
    # At work on one request that takes long it is busy, though none has ended.
    busy = recorded(begun(seen(0.0, 0.0)), seen(60.0, 0.0), 1, 1.0)
    assert recorded(busy, seen(61.0, 40.0), 1, 1.0).capacity == pytest.approx(1 / 0.3 + 40 / 61)
    # And so is one that rests in the middle of a batch: its load is what it is on average.
    part = recorded(begun(seen(0.0, 0.0)), seen(1.0, 10.0), 1, 1.0)
    rests = recorded(part, seen(2.0, 10.0), 1, 1.0, idle=True)
    assert recorded(rests, seen(3.0, 20.0), 1, 1.0).capacity == pytest.approx(1 / 0.3 + 20 / 3)


def test_readings_that_were_missed_lose_nothing() -> None:
    def seen(at: float) -> Window:
        return replace(window(at=at), count=10 * at, total=at)

    one = begun(seen(0))
    for at in (1.0, 2.0):
        one = recorded(one, seen(at), 1, 1.0)
    assert one == replace(recorded(begun(seen(0)), seen(2.0), 1, 1.0), pace=10.0)
    assert one.all.requests == BATCH
