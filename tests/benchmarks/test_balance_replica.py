from collections.abc import Callable

import pytest

from benchmarks.balance.memory import MODEL, PER_TOKEN, Memory
from benchmarks.balance.replica import Replica
from benchmarks.balance.reports import GPU_BYTES, Durations, Orca, exposition
from benchmarks.balance.scenario import Filling
from tests.benchmarks.clock import Alarm, Clock


class Watched:
    """A replica that takes a second for a token, and when it answered each request."""

    def __init__(self, slots: int = 1, memory: Memory | None = None) -> None:
        self.clock = Clock()
        self.took: list[float] = []
        self.answers: dict[str, float] = {}
        self.replica = Replica(slots, 1.0, self.clock.call_at, self.took.append, memory)

    def admit(self, name: str, tokens: int) -> bool:
        def answer() -> None:
            self.answers[name] = self.clock.now

        return self.replica.admit(self.clock.now, tokens, answer)


def test_a_free_slot_begins_at_once() -> None:
    watched = Watched(slots=2)
    watched.admit("a", 1)
    watched.clock.wind(0.5)
    watched.admit("b", 1)
    watched.clock.wind(9)
    assert watched.answers == {"a": 1.0, "b": 1.5}


def test_a_request_waits_for_the_slot_that_is_free_first() -> None:
    watched = Watched(slots=2)
    for name, tokens in (("a", 5), ("b", 1), ("c", 1), ("d", 1)):
        watched.admit(name, tokens)
    assert watched.replica.queue == 2
    watched.clock.wind(9)
    assert watched.answers == {"a": 5.0, "b": 1.0, "c": 2.0, "d": 3.0}
    assert watched.took == [1.0, 2.0, 3.0, 5.0]


def test_a_slot_that_was_idle_does_not_catch_up() -> None:
    watched = Watched()
    watched.admit("a", 1)
    watched.clock.wind(10)
    watched.admit("b", 1)
    watched.clock.wind(20)
    assert watched.answers["b"] == 11.0


def test_a_timer_that_fires_late_delays_nothing_behind_it() -> None:
    late: list[tuple[float, object]] = []
    clock = Clock()

    def call_at(at: float, call: object) -> object:
        late.append((at, call))
        return clock.call_at(at + 0.5, call)  # type: ignore[arg-type]

    replica = Replica(1, 1.0, call_at, lambda _: None)  # type: ignore[arg-type]
    replica.admit(0.0, 1, lambda: None)
    replica.admit(0.0, 1, lambda: None)
    clock.wind(9)
    assert [at for at, _ in late] == [1.0, 2.0]


def test_a_request_does_not_begin_before_it_came_when_a_timer_fires_late() -> None:
    due: list[float] = []
    clock = Clock()

    def call_at(at: float, call: object) -> object:
        due.append(at)
        return clock.call_at(at + 0.5, call)  # type: ignore[arg-type]

    replica = Replica(1, 1.0, call_at, lambda _: None)  # type: ignore[arg-type]
    replica.admit(0.0, 1, lambda: None)
    clock.wind(1.2)
    replica.admit(1.2, 1, lambda: None)
    clock.wind(9)
    assert due == [1.0, 2.2]


def test_a_replica_that_slows_down_takes_longer_for_what_it_has_begun() -> None:
    watched = Watched()
    watched.admit("a", 1)
    watched.admit("b", 1)
    watched.clock.wind(0.5)
    watched.replica.pace(0.5, 10.0)
    watched.clock.wind(99)
    assert watched.answers == {"a": 5.5, "b": 15.5}


class Late(Clock):
    """Its timers fire half a second late."""

    def call_at(self, at: float, call: Callable[[], None]) -> Alarm:
        return super().call_at(at + 0.5, call)


def test_what_is_over_is_not_slowed_down_by_what_comes_before_a_late_timer() -> None:
    took, clock = list[float](), Late()
    replica = Replica(1, 1.0, clock.call_at, took.append)
    replica.admit(0.0, 1, lambda: None)
    clock.wind(1.2)
    replica.pace(1.2, 10.0)
    clock.wind(9)
    assert took == [1.0]


def test_no_time_is_counted_as_busy_twice_because_a_timer_fires_late() -> None:
    clock = Late()
    replica = Replica(2, 1.0, clock.call_at, lambda _: None)
    replica.admit(0.0, 1, lambda: None)
    clock.wind(1.2)
    replica.admit(1.2, 1, lambda: None)
    clock.wind(9)
    # The slot of the first is taken for busy until somebody looked at 1.2 s, the second took one.
    assert replica.busy(9.0) == pytest.approx(2.2)


def test_replicas_on_one_gpu_are_twice_as_fast_while_the_other_idles() -> None:
    clock, answers = Clock(), dict[str, float]()
    one, other = (Replica(1, 1.0, clock.call_at, lambda _: None) for _ in range(2))
    one.share_with(other)
    other.share_with(one)
    one.admit(0.0, 4, lambda: answers.update(one=clock.now))
    clock.wind(1)
    other.admit(1.0, 1, lambda: answers.update(other=clock.now))
    clock.wind(99)
    # Two of four tokens alone, one beside the other, the last alone.
    assert answers == {"other": 2.0, "one": 2.5}


def test_a_gpu_that_was_shared_is_as_fast_as_before_once_both_are_idle() -> None:
    clock, answers = Clock(), dict[str, float]()
    one, other = (Replica(1, 1.0, clock.call_at, lambda _: None) for _ in range(2))
    one.share_with(other)
    other.share_with(one)
    for replica in (one, other, one, one):
        replica.admit(0.0, 3, lambda: None)
    clock.wind(50)
    one.admit(50.0, 4, lambda: answers.update(one=clock.now))
    clock.wind(99)
    assert answers == {"one": 52.0}


def test_requests_that_do_not_fit_into_memory_are_refused_and_counted() -> None:
    watched = Watched(memory=Memory())
    assert watched.admit("a", 6_000)
    assert not watched.admit("b", 2_001)
    assert watched.admit("c", 2_000)
    assert watched.replica.out_of_memory == 1


def test_memory_of_an_answered_request_is_free_again() -> None:
    watched = Watched(memory=Memory())
    watched.admit("a", 6_000)
    watched.clock.wind(6_001)
    assert watched.admit("b", 6_000)


def test_the_allocator_reports_what_was_needed_at_most() -> None:
    memory = Memory()
    assert memory.used(0.0) == MODEL
    memory.fits(0.0, 1_000)
    memory.fits(1.0, 10)
    assert memory.used(1.0) == pytest.approx(MODEL + 1_000 * PER_TOKEN)


def test_a_neighbour_that_grows_leaves_less_room() -> None:
    memory = Memory(Filling(0, begin=10.0, end=20.0, most=0.6))
    memory.begun = 100.0
    room = [memory.fits(100.0 + after, 1_000) for after in (10.0, 15.0, 20.0)]
    assert room == [True, True, False]
    assert memory.used(115.0) == pytest.approx(MODEL + 0.3 + 1_000 * PER_TOKEN)
    assert memory.used(120.0) == 1.0


def test_tei_is_exposed_with_memory_only_where_it_matters() -> None:
    watched, durations = Watched(memory=Memory()), Durations()
    durations.observe(0.01)
    watched.admit("a", 7)
    watched.clock.wind(8.0)
    text = exposition(watched.replica, durations, 0.0)
    assert "te_batch_next_tokens_sum 7\n" in text
    assert 'te_request_duration_bucket{le="+Inf"} 1' in text
    used = MODEL + 7 * PER_TOKEN
    assert f"te_gpu_memory_used_bytes {used * GPU_BYTES:.0f}" in text
    assert "memory" not in exposition(Watched().replica, durations, 0.0)


def test_orca_says_how_busy_a_replica_is_and_what_it_served() -> None:
    watched = Watched(slots=2)
    orca = Orca(watched.replica)
    assert orca.header(0.0) == ""
    for name in "abcd":
        watched.admit(name, 1)
    watched.clock.wind(4)
    # Two slots of two were busy for two of four seconds, and four requests were served.
    assert orca.header(4.0) == "TEXT application_utilization=0.5000,rps_fractional=1.000,eps=0.000"


def test_orca_forgets_what_is_long_ago() -> None:
    watched = Watched()
    orca = Orca(watched.replica)
    orca.header(0.0)
    watched.admit("a", 1)
    watched.clock.wind(1)
    orca.header(1.0)
    said = orca.header(40.0).partition("application_utilization=")[2].partition(",")[0]
    assert float(said) == pytest.approx(0.0, abs=0.001)
