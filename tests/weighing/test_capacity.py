import math
from dataclasses import replace

import pytest

from controlplane.weighing.capacity import TRUSTED, Change, Estimate, estimate_steps, estimated
from controlplane.weighing.evidence import Evidence
from controlplane.weighing.owed import Owed
from controlplane.weighing.record import Record
from tests.weighing.pools import window


def known(capacity: float, requests: float, **more: object) -> Estimate:
    """An estimate that rests on so many requests."""
    record = Record(0.0, 0.0, 0.0, 0.0, old=Evidence(requests, requests / capacity))
    return replace(Estimate(1, record), **more)  # type: ignore[arg-type]


def after(estimate: Estimate, capacity: float, requests: float, at: float = 5.0) -> Estimate:
    """The estimate after so many requests of a replica at half load."""
    seen = replace(window(capacity, at=at), count=requests, total=requests * 2 / capacity)
    record = replace(estimate.record, since=at - 2 * requests / capacity)
    return estimated(replace(estimate, record=record), seen, 1, 1.0, None)


def test_what_was_counted_before_it_was_watched_says_nothing() -> None:
    first = estimated(None, replace(window(), count=1e6, total=1e5), 1, 1.0, None)
    assert first.requests == 0
    assert first.capacity(None) is None


def test_twenty_requests_speak_for_themselves() -> None:
    assert after(known(100, 0.0), 400, 20).capacity(100) == pytest.approx(400)


def test_few_requests_of_a_new_replica_are_mixed_with_the_pools_median() -> None:
    assert after(known(100, 0.0), 400, 10).capacity(100) == pytest.approx(200)


def test_without_requests_a_replica_gets_the_median() -> None:
    assert known(100, 0.0).capacity(70) == 70


def test_requests_add_up() -> None:
    assert after(known(100, 300), 110, 100).capacity(None) == pytest.approx(102, rel=0.01)


def test_a_fall_counts_at_once_and_entirely() -> None:
    fallen = after(known(100, 500), 10, 10)
    assert fallen.change is not None
    assert fallen.change.factor == pytest.approx(0.1, rel=0.01)
    assert fallen.capacity(100) == pytest.approx(10)
    assert fallen.fell(6.0)
    assert not fallen.fell(20.0)


def test_a_rise_is_mixed_with_what_was_before() -> None:
    risen = after(known(10, 500), 1000, 10)
    assert risen.change is not None
    assert risen.capacity(None) == pytest.approx(100)


def test_a_replica_that_is_well_again_is_what_it_was_before_it_fell() -> None:
    fallen = after(known(100, 500), 10, 10)
    # Its counters go on from those of the reading that showed the fall.
    seen = replace(window(100, at=10.0), count=30.0, total=2.0 + 20 * 2 / 100)
    record = replace(
        fallen.record, count=10.0, total=2.0, since=9.6, old=fallen.record.all,
        recent=(), open=Evidence(),
    )  # fmt: skip
    well = estimated(replace(fallen, record=record), seen, 1, 1.0, None)
    assert well.change is not None
    assert well.change.as_before
    assert well.requests > 200
    assert well.capacity(None) == pytest.approx(100, rel=0.05)


STALLED = replace(known(100, 500), owed=Owed(in_flight=30.0))


def stalled(before: Estimate, at: float, count: float, in_flight: float) -> Estimate:
    """After a reading with so many requests since the start, of 20 ms each."""
    seen = replace(window(100, at=at), count=count, total=count * 0.02)
    return estimated(before, seen, 1, 1.0, None, in_flight=in_flight)


def test_a_replica_that_finishes_next_to_nothing_of_its_line_has_fallen() -> None:
    once = stalled(STALLED, 0.5, 1.0, 30.0)
    assert once.change is None
    fallen = stalled(once, 1.0, 2.0, 30.0)
    assert fallen.change is not None
    assert fallen.fell(1.0)
    # Two requests have ended, one may have done so nearly.
    assert fallen.capacity(100) == pytest.approx(3 / 1.0)
    assert fallen.change.factor == pytest.approx(0.03, rel=0.01)
    assert fallen.requests == 3
    assert fallen.past == once.record.all
    assert fallen.owed == Owed(in_flight=30.0)


def test_one_that_finishes_next_to_nothing_because_it_has_little_to_do_has_not() -> None:
    found = replace(STALLED, owed=Owed(in_flight=2.0))
    for tick in range(1, 20):
        found = stalled(found, tick * 0.5, tick * 2.0, 2.0)
    assert found.change is None
    assert found.capacity(100) == pytest.approx(100, rel=0.5)


def test_long_requests_are_as_much_work_as_they_have_tokens() -> None:
    def after_a_second(tokens: float) -> Estimate:
        record = replace(STALLED.record, tokens=0.0)
        seen = replace(window(100, at=1.0), count=10.0, total=10.0, tokens=tokens)
        before = replace(STALLED, record=record)
        return estimated(before, seen, 1, 1.0, None, tokens=100.0, in_flight=30.0)

    assert after_a_second(10 * 100.0).change is not None
    assert after_a_second(10 * 500.0).change is None


def test_where_tokens_are_not_counted_more_must_be_owed() -> None:
    def after_two_readings(tokens: float | None) -> Estimate:
        found = replace(STALLED, record=replace(STALLED.record, tokens=tokens))
        for at, count in ((0.5, 1.0), (0.8, 2.0)):
            total = None if tokens is None else tokens + 100.0 * count
            seen = replace(window(100, at=at), count=count, total=count * 0.02, tokens=total)
            found = estimated(found, seen, 1, 1.0, None, tokens=100.0, in_flight=30.0)
        return found

    assert after_two_readings(0.0).change is not None
    assert after_two_readings(None).change is None


def test_a_replica_of_which_little_is_known_owes_nothing() -> None:
    few = replace(known(100, TRUSTED - 1), owed=Owed(in_flight=30.0))
    assert stalled(few, 1.0, 1.0, 30.0).change is None


def test_what_a_process_owed_its_next_one_does_not() -> None:
    behind = replace(
        STALLED, record=replace(STALLED.record, count=50.0, newest=50.0), owed=Owed(20.9, 1.0)
    )
    assert stalled(behind, 10.0, 0.0, 30.0).owed == Owed(in_flight=30.0)
    other = estimated(behind, replace(window(100, at=10.0), count=60.0), 8, 1.0, None)
    assert other.owed == Owed()


def test_a_replica_that_only_stood_still_for_a_moment_is_soon_what_it_was() -> None:
    found = stalled(stalled(STALLED, 0.4, 0.0, in_flight=30.0), 0.5, 1.0, 30.0)
    record = found.record
    for tick in range(1, 3):
        ended, at = 25.0 * tick, 1.0 + 0.25 * tick
        # Each took what the line before it took, and no longer.
        seen = replace(
            window(100, at=at), count=record.count + ended, total=record.total + ended * 0.3
        )
        found = estimated(found, seen, 1, 1.0, None, in_flight=5.0)
    assert found.change is not None
    assert found.change.as_before
    assert found.capacity(None) == pytest.approx(100, rel=0.1)


def test_a_reading_counts_once() -> None:
    once = after(known(100, 300), 60, 30)
    again = replace(window(60, at=5.0), count=30.0, total=1.0)
    assert estimated(once, again, 1, 1.0, None) is once


def test_with_other_slots_the_record_begins_anew() -> None:
    before = known(100, 300)
    changed = estimated(before, window(at=1.0), 4, 1.0, None)
    assert changed.requests == 0
    assert changed.capacity(None) == pytest.approx(100)


def test_an_operator_reads_where_an_estimate_comes_from() -> None:
    seen = replace(window(100), latency=0.024, in_flight=1.02)
    (step,) = estimate_steps(known(70, 212), seen, None, 0.0)
    assert step.words == (
        "estimated 70.0 requests/s from 212 requests; in the last 5.0 s mean latency 24 ms at 1.02"
        " in flight of 1 slot"
    )


def test_an_operator_reads_of_a_change_for_a_minute() -> None:
    changed = known(10, 30, change=Change(5.0, 0.1))
    _, step = estimate_steps(changed, window(), None, 8.0)
    assert step.words == (
        "3 s ago it was seen to be 10.0 × slower than before: what was before is forgotten"
    )
    assert len(estimate_steps(changed, window(), None, 66.0)) == 1
    assert math.isclose(step.after, 10)


def test_a_replica_that_was_just_seen_to_be_slower_is_compared_with_others_later() -> None:
    fallen = Change(5.0, 0.1)
    assert known(10, 5).is_settled
    assert not known(10, 49, change=fallen).is_settled
    assert known(10, 50, change=fallen).is_settled


def test_what_was_seen_with_other_slots_is_forgotten_even_without_a_new_reading() -> None:
    seen = window(at=5.0)
    before = estimated(None, seen, 1, 1.0, None)
    assert estimated(before, seen, 1, 1.0, None) is before
    assert estimated(before, seen, 4, 1.0, None).slots == 4
