"""What is true of all models of servers, whatever comes."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.worlds.memory import Filling, Memory
from benchmarks.worlds.server import NOT_READY, OUT_OF_MEMORY, TAKEN, Curve
from benchmarks.worlds.slots import Slots
from benchmarks.worlds.tei import Limits, Tei
from tests.benchmarks.clock import Alarm, Clock
from tests.benchmarks.worlds.played import BATCHING, CURVE, SERVERS, Played, reading

REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 3, allow_nan=False),
        st.lists(st.integers(1, 100), min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=25,
)
PROFILES = {name: "tei" if name == "slots" else name.split(" ")[0] for name in SERVERS}


@pytest.mark.parametrize("kind", SERVERS)
@given(requests=REQUESTS)
def test_all_that_is_taken_in_is_answered_once_and_counted(
    kind: str, requests: list[tuple[float, list[int]]]
) -> None:
    played = Played(SERVERS[kind])
    played.send(requests)
    server, tokens = played.server, sum(sum(texts) for _, texts in requests)
    assert played.answers.keys() == set(range(len(requests)))
    assert (server.in_flight, server.tokens_in_flight) == (0, 0)
    assert (server.answered, server.tokens_answered) == (len(requests), tokens)


@pytest.mark.parametrize("kind", SERVERS)
@given(requests=REQUESTS)
def test_nothing_is_faster_than_its_own_tokens_allow_and_no_time_is_busy_twice(
    kind: str, requests: list[tuple[float, list[int]]]
) -> None:
    played = Played(SERVERS[kind])
    for name, came in enumerate(played.send(requests)):
        texts = requests[name][1]
        alone = 0.01 * sum(texts) if kind == "slots" else 1 + 0.01 * max(texts)
        assert played.answers[name] - came >= alone - 1e-9
    slots = 2 if kind == "slots" else 1
    assert played.server.busy(played.clock.now) <= slots * max(played.answers.values()) + 1e-6


@pytest.mark.parametrize("kind", BATCHING)
@given(requests=REQUESTS)
def test_it_was_busy_as_long_as_its_batches_take(
    kind: str, requests: list[tuple[float, list[int]]]
) -> None:
    played = Played(BATCHING[kind])
    played.send(requests)
    seconds = sum(CURVE.seconds(tokens) for tokens in played.computed)
    assert played.server.busy(played.clock.now) == pytest.approx(seconds)


@pytest.mark.parametrize("kind", [kind for kind in BATCHING if kind.startswith(("tei", "vllm"))])
@given(requests=REQUESTS)
def test_no_batch_has_more_tokens_than_its_budget(
    kind: str, requests: list[tuple[float, list[int]]]
) -> None:
    played = Played(BATCHING[kind])
    played.send(requests)
    assert max(played.computed) <= 100
    assert sum(played.computed) == sum(sum(texts) for _, texts in requests)


@pytest.mark.parametrize("kind", ["tei", "tei that does not prefetch", "vllm", "triton"])
@given(requests=REQUESTS)
def test_who_came_first_is_answered_first(
    kind: str, requests: list[tuple[float, list[int]]]
) -> None:
    played = Played(SERVERS[kind])
    played.send(requests)
    ends = [played.answers[name] for name in range(len(requests))]
    assert ends == sorted(ends)


@pytest.mark.parametrize("kind", SERVERS)
def test_the_control_plane_reads_what_it_exposes(kind: str) -> None:
    played = Played(SERVERS[kind])
    played.send([(0.0, [50] * 3), (0.2, [7]), (9.0, [20])])
    seen = reading(played.server, PROFILES[kind])
    assert seen.latency is not None
    assert seen.latency.count == (5 if PROFILES[kind] == "vllm" else 3)
    assert seen.queue in (0.0, None)
    if PROFILES[kind] in ("tei", "vllm"):
        assert seen.tokens == 177


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_slows_down_takes_longer_for_what_it_has_begun(kind: str) -> None:
    calm, slowed = Played(SERVERS[kind]), Played(SERVERS[kind])
    for played in (calm, slowed):
        played.admit(4)
        played.clock.wind(0.01)
    slowed.server.pace(0.01, 10.0)
    for played in (calm, slowed):
        played.clock.wind(99)
    took = calm.answers[0] - 0.01
    assert slowed.answers[0] == pytest.approx(0.01 + 10 * took, abs=5)


def test_what_is_left_of_a_batch_takes_so_many_times_as_long() -> None:
    played = Played(BATCHING["tei"])
    played.admit(100)
    played.clock.wind(0.5)
    played.server.pace(0.5, 10.0)
    played.clock.wind(99)
    assert played.answers == {0: 0.5 + 1.5 * 10}


@pytest.mark.parametrize("kind", SERVERS)
def test_no_answer_comes_before_the_model_is_loaded(kind: str) -> None:
    played = Played(SERVERS[kind])
    played.server.ready = False
    assert played.admit(4) == NOT_READY
    played.server.ready = True
    assert played.admit(4) == TAKEN
    assert played.server.refused == {NOT_READY: 1}


def test_servers_on_one_gpu_are_twice_as_fast_while_the_other_idles() -> None:
    clock, answers = Clock(), dict[str, float]()
    one, other = (Tei(Curve(0, 1), Limits(), clock.call_at) for _ in range(2))
    one.share_with(other)
    other.share_with(one)
    one.admit(0.0, [4], partial(answers.__setitem__, "one"))
    clock.wind(1)
    other.admit(1.0, [1], partial(answers.__setitem__, "other"))
    clock.wind(99)
    # Two of four tokens alone, one beside the other, the last alone.
    assert answers == {"other": 2.0, "one": 2.5}


def test_requests_that_do_not_fit_into_memory_are_refused() -> None:
    clock = Clock()
    server = Tei(CURVE, Limits(), clock.call_at, Memory())
    assert server.admit(0.0, [3_000] * 2, lambda _: None) == TAKEN
    assert server.admit(0.0, [2_001], lambda _: None) == OUT_OF_MEMORY
    assert server.admit(0.0, [2_000], lambda _: None) == TAKEN
    clock.wind(999)
    assert server.admit(999.0, [6_000], lambda _: None) == TAKEN
    assert server.refused == {OUT_OF_MEMORY: 1}


def test_a_neighbour_that_grows_leaves_less_room_and_shows_in_the_metrics() -> None:
    memory = Memory(Filling(0, begin=10.0, end=20.0, most=0.6))
    memory.begun = 100.0
    server = Tei(CURVE, Limits(), Clock().call_at, memory)
    took = [server.admit(100.0 + after, [450], lambda _: None) for after in (10.0, 15.0, 20.0)]
    assert took == [TAKEN, TAKEN, OUT_OF_MEMORY]
    (seen,) = reading(server, "tei", 120.0).memory
    assert seen.used / seen.total == pytest.approx(1.0, abs=0.001)


class Late(Clock):
    """Its timers fire half a second late."""

    def call_at(self, at: float, call: object) -> Alarm:
        return super().call_at(at + 0.5, call)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["tei", "tei that does not prefetch", "vllm", "triton", "slots"])
@given(requests=REQUESTS)
def test_timers_that_fire_late_delay_no_answer_by_the_servers_own_reckoning(
    kind: str, requests: list[tuple[float, list[int]]]
) -> None:
    # Half a second is less than any request takes. And none comes at the very time at which another
    # one does or a batch ends: which of the two is first then nobody can say.
    requests = [
        (0.99937 * after + 0.00131, [max(60, text) for text in texts]) for after, texts in requests
    ]
    timely, late = Played(SERVERS[kind]), Played(SERVERS[kind], Late())
    timely.send(requests)
    late.send(requests)
    assert late.answers == pytest.approx(timely.answers)


@pytest.mark.parametrize("kind", [kind for kind in SERVERS if kind != "slots"])
def test_what_came_before_a_timer_fired_late_begins_when_it_came(kind: str) -> None:
    # The first is done at 1.6 s by the server's reckoning, and its timer fires at 2.1 s.
    requests = [(0.0, [60]), (1.7, [60]), (0.2, [60])]
    timely, late = Played(SERVERS[kind]), Played(SERVERS[kind], Late())
    timely.send(requests)
    late.send(requests)
    began = 2.2 if kind == "triton that waits" else 1.7
    assert late.answers[1] == pytest.approx(timely.answers[1])
    assert late.answers[1] >= began + 1.6 - 1e-9
    assert late.answers == pytest.approx(timely.answers)


def test_a_slot_that_is_free_begins_at_once() -> None:
    clock, answers = Clock(), dict[str, float]()
    server = Slots(2, 1.0, clock.call_at)
    for name, tokens in (("a", 5), ("b", 1), ("c", 1), ("d", 1)):
        server.admit(0.0, [tokens], partial(answers.__setitem__, name))
    assert server.queue == 2
    clock.wind(9)
    assert answers == {"a": 5.0, "b": 1.0, "c": 2.0, "d": 3.0}
