"""How long a change takes until every client has answered for it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controlplane.xds import PushLatency
from controlplane.xds.push_latency import MAX_OPEN


def begun(*streams: str, revision: int = 1, noticed_at: float = 10.0) -> PushLatency:
    convergence = PushLatency()
    convergence.begin(revision, streams, noticed_at)
    return convergence


def test_a_change_is_complete_when_the_last_of_its_streams_has_answered() -> None:
    changes = begun("a", "b")
    assert changes.settled("a", 1, 11.0) == ()
    assert changes.settled("b", 1, 12.5) == (2.5,)


def test_an_answer_counts_once() -> None:
    changes = begun("a", "b")
    changes.settled("a", 1, 11.0)
    assert changes.settled("a", 1, 12.0) == ()


def test_an_answer_to_the_newest_covers_the_changes_before_it() -> None:
    changes = begun("a")
    changes.begin(2, ["a"], 20.0)
    assert changes.settled("a", 2, 21.0) == (11.0, 1.0)


def test_an_answer_to_an_old_change_leaves_the_newer_one_open() -> None:
    changes = begun("a")
    changes.begin(2, ["a"], 20.0)
    assert changes.settled("a", 1, 21.0) == (11.0,)
    assert changes.oldest(30.0) == 10.0


def test_a_stream_that_connected_later_is_not_waited_for() -> None:
    changes = begun("a")
    assert changes.settled("late", 1, 10.5) == ()
    assert changes.settled("a", 1, 11.0) == (1.0,)


def test_a_stream_that_leaves_is_no_longer_waited_for() -> None:
    changes = begun("a", "b")
    assert changes.settled("a", 1, 11.0) == ()
    assert changes.gone("b", 13.0) == (3.0,)
    assert changes.streams_behind == 0


def test_a_change_that_all_left_before_answering_has_no_duration() -> None:
    changes = begun("a", "b")
    assert changes.gone("a", 11.0) == ()
    assert changes.gone("b", 12.0) == ()
    assert changes.oldest(99.0) == 0.0


def test_a_change_that_concerns_nobody_is_not_measured() -> None:
    assert begun().oldest(99.0) == 0.0


def test_a_stream_named_twice_answers_once() -> None:
    assert begun("a", "a").settled("a", 1, 11.0) == (1.0,)


def test_only_the_streams_of_a_change_are_concerned_by_it() -> None:
    changes = begun("a")
    changes.begin(2, ["b"], 20.0)
    assert [changes.concerns(item, 2) for item in ("a", "b", "late")] == [False, True, False]
    changes.settled("b", 2, 21.0)
    assert not changes.concerns("b", 2)


def test_a_revision_must_follow_the_last() -> None:
    with pytest.raises(ValueError, match="revision 1 does not follow 1"):
        begun("a").begin(1, ["a"], 11.0)


def test_for_a_client_that_never_answers_only_so_much_is_kept() -> None:
    changes = PushLatency()
    for revision in range(10 * MAX_OPEN):
        changes.begin(revision, ["stuck", "quick"], float(revision))
        assert changes.settled("quick", revision, revision + 1.0) == ()
    assert changes.given_up == 9 * MAX_OPEN
    assert changes.oldest(10.0 * MAX_OPEN) == MAX_OPEN
    assert len(changes._behind["stuck"]) <= MAX_OPEN + 1
    assert len(changes.settled("stuck", 10 * MAX_OPEN, 0.0)) == MAX_OPEN


@dataclass
class Expected:
    """One change in the plainest way there is."""

    revision: int
    noticed_at: float
    waiting: set[str]
    answered: bool = field(default=False)


STREAMS = st.sampled_from("abcd")


class Compared(RuleBasedStateMachine):
    """Any sequence of calls, against a model that looks at everything each time."""

    def __init__(self) -> None:
        super().__init__()
        self.real = PushLatency()
        self.open: list[Expected] = []
        self.given_up = 0
        self.revision = 0
        self.now = 0.0

    @rule(streams=st.lists(STREAMS, max_size=6), skipped=st.integers(1, 3), ago=st.floats(0, 5))
    def begin(self, streams: list[str], skipped: int, ago: float) -> None:
        self.revision += skipped
        self.real.begin(self.revision, streams, self.now - ago)
        if streams:
            self.open.append(Expected(self.revision, self.now - ago, set(streams)))
        if len(self.open) > MAX_OPEN:
            self.given_up += 1
            self.open.pop(0)

    @rule(stream=STREAMS, count=st.integers(MAX_OPEN - 1, MAX_OPEN + 3))
    def stay_silent(self, stream: str, count: int) -> None:
        for _ in range(count):
            self.begin([stream], 1, 0.0)

    @rule(stream=STREAMS, back=st.integers(0, 5))
    def settle(self, stream: str, back: int) -> None:
        self.now += 1
        revision = self.revision - back
        touched = [
            item for item in self.open if item.revision <= revision and stream in item.waiting
        ]
        for each in touched:
            each.answered = True
        assert self.real.settled(stream, revision, self.now) == self.left(stream, touched)

    @rule(stream=STREAMS)
    def leave(self, stream: str) -> None:
        self.now += 1
        touched = [item for item in self.open if stream in item.waiting]
        assert self.real.gone(stream, self.now) == self.left(stream, touched)

    def left(self, stream: str, touched: Iterable[Expected]) -> tuple[float, ...]:
        done = []
        for item in touched:
            item.waiting.discard(stream)
            if not item.waiting:
                self.open.remove(item)
                if item.answered:
                    done.append(self.now - item.noticed_at)
        return tuple(done)

    @invariant()
    def the_same_is_under_way(self) -> None:
        oldest = self.now - self.open[0].noticed_at if self.open else 0.0
        assert self.real.oldest(self.now) == oldest
        assert self.real.given_up == self.given_up
        assert self.real.streams_behind >= len(
            {name for item in self.open for name in item.waiting}
        )


TestCompared = Compared.TestCase
TestCompared.settings = settings(max_examples=12, stateful_step_count=30)
