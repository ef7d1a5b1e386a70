from dataclasses import replace

import pytest

from controlplane.weighing import InFlight, ReplicaInput, Weighing, explain, weigh
from controlplane.weighing.damping import FLOOR
from controlplane.weighing.replica import state_of
from controlplane.weighing.staleness import FROZEN
from controlplane.weighing.veto import (
    LEFT,
    SLACK,
    TIMES,
    explained,
    line_to_serve,
    most,
    usual_wait,
)
from tests.weighing.pools import INTERVAL, SETTINGS, later, pool, settled, weights


def queueing(requests: float, at: float, source: str = "queue") -> tuple[InFlight, ...]:
    return (InFlight(source, requests, at),)


def after_one_scrape(requests: float) -> tuple[Weighing, Weighing]:
    """A pool of two tiers before and after a fast replica is seen with so many in flight."""
    before = settled(pool(400, 400, 100, 100, 100, 100))
    now = before.at + INTERVAL
    inputs = [later(each, before, now) for each in pool(400, 400, 100, 100, 100, 100)]
    inputs = [
        replace(each, in_flight=queueing(requests if each.id == "a" else 2, now)) for each in inputs
    ]
    return before, weigh(before, SETTINGS, inputs, now)


def inputs_with(requests: float, before: Weighing) -> list[ReplicaInput]:
    """Readings of before, and so many in flight at the first replica."""
    inputs = [
        replace(each, age=0.0, in_flight=queueing(2, before.at + 1000 * INTERVAL))
        for each in pool(400, 400, 100, 100, 100, 100)
    ]
    line = queueing(requests, before.at + 1000 * INTERVAL)
    return [replace(each, in_flight=line) if each.id == "a" else each for each in inputs]


def test_far_more_in_flight_than_explained_leaves_next_to_nothing_at_the_next_scrape() -> None:
    before, after = after_one_scrape(200)
    assert before.replicas["a"].share > 0.3  # type: ignore[operator]
    assert after.replicas["a"].state.relative == FLOOR
    assert after.replicas["a"].share < 0.01  # type: ignore[operator]
    assert any("200 requests in flight (queue) would take it" in s for s in
               explain(after.replicas["a"].steps))  # fmt: skip


def test_as_much_as_chance_explains_is_no_veto() -> None:
    before, after = after_one_scrape(4 * SLACK)
    for id_, weighed in after.replicas.items():
        assert weighed.tier == before.replicas[id_].tier
        assert weighed.state.relative == pytest.approx(before.replicas[id_].state.relative)
    assert after_one_scrape(6 * SLACK + 20)[1].replicas["a"].state.relative == FLOOR


def test_chance_explains_as_much_as_is_served_in_the_same_time() -> None:
    assert explained(100.0, 1, 0.0, 1.0, over=False) == 1 + SLACK
    assert explained(10.0, 1, 0.0, 0.1, over=False) == 1 + SLACK / 10
    assert explained(400.0, 8, 0.0, 4.0, over=False) == 8 + 4 * SLACK
    assert explained(100.0, 1, 0.5, 1.0, over=False) == 1 + SLACK + TIMES * 50


def test_a_replica_with_a_veto_is_alone_in_a_tier_and_the_others_stay_as_they_are() -> None:
    # In a tier all weights are equal: there its line would be everybody's.
    before, after = after_one_scrape(200)
    assert after.replicas["a"].tier == "vetoed-a"
    for id_ in "bcdef":
        assert after.replicas[id_].tier == before.replicas[id_].tier
        assert after.replicas[id_].weight == before.replicas[id_].weight
    assert after.replicas["a"].state.placement == before.replicas["a"].state.placement


def test_a_veto_lasts_until_the_line_is_an_ordinary_one() -> None:
    facts = (100.0, 1, 0.02, 1.0)
    line = explained(*facts, over=False)
    end = explained(*facts, over=True)
    assert end == 1 + LEFT * SLACK + 2 < line == 1 + SLACK + 6
    for requests, new, old in ((line + 1, True, True), (line, False, True), (end, False, False)):
        count = InFlight("queue", requests, 10.0)
        assert (line_to_serve(None, count, *facts, 10.0) is not None) is new
        before = InFlight("queue", 1000.0, 9.0)
        assert (line_to_serve(before, count, *facts, 10.0) is not None) is old


def test_a_line_that_only_envoys_count_is_given_the_time_that_it_takes() -> None:
    # They do not count what they sent before the replica was alone in a tier.
    facts = (10.0, 1, 0.0, 1.0)
    line = InFlight("load reports", 50, 100.0)
    assert line_to_serve(None, line, *facts, 100.1) == line
    unseen = InFlight("load reports", 0, 104.0)
    assert line_to_serve(line, unseen, *facts, 104.9) == line
    assert line_to_serve(line, unseen, *facts, 105.0) is None
    assert line_to_serve(None, unseen, *facts, 104.0) is None
    assert line_to_serve(line, InFlight("queue", 0, 104.0), *facts, 104.0) is None
    later = InFlight("load reports", 30, 104.0)
    assert line_to_serve(line, later, *facts, 104.0) == later
    assert line_to_serve(line, InFlight("load reports", 30, 101.0), *facts, 101.0) == line


def test_a_pool_with_a_veto_is_weighed_again_though_nobody_says_anything() -> None:
    _, vetoed = after_one_scrape(200)
    assert vetoed.is_moving
    later_on = weigh(vetoed, SETTINGS, inputs_with(200, vetoed), vetoed.at + 1000 * INTERVAL)
    assert later_on.replicas["a"].state.line is not None
    assert later_on.is_moving


def test_what_a_replica_counts_itself_is_held_against_what_it_finishes() -> None:
    before = settled(pool(100, 100, 100))
    now = before.at + INTERVAL
    counts = (*queueing(7, now, "load reports"), *queueing(5, now))
    inputs = [replace(later(each, before, now), in_flight=counts) for each in pool(100, 100, 100)]
    estimate = weigh(before, SETTINGS, inputs, now).replicas["a"].state.estimate
    assert estimate is not None
    assert estimate.owed.in_flight == 5


def test_another_line_is_another_state() -> None:
    _, vetoed = after_one_scrape(200)
    known = vetoed.replicas["a"].state
    facts = (known.estimate, known.learned, known.kind, known.relative, known.guard)
    same = state_of(known, known.generation, *facts, known.placement, known.line)
    assert same is known
    assert state_of(known, known.generation, *facts, known.placement, None).line is None


def test_a_replica_that_turns_out_to_be_fast_has_served_its_line_sooner() -> None:
    line, unseen = InFlight("load reports", 50, 100.0), InFlight("load reports", 0, 101.0)
    assert line_to_serve(line, unseen, 10.0, 1, 0.0, 1.0, 101.0) == line
    assert line_to_serve(line, unseen, 50.0, 1, 0.0, 1.0, 101.0) is None


def test_what_is_told_says_when_a_line_is_only_given_time() -> None:
    before, vetoed = after_one_scrape(200)
    now = vetoed.at + INTERVAL
    inputs = [
        replace(later(each, before, now), in_flight=queueing(0, now, "load reports"))
        for each in pool(400, 400, 100, 100, 100, 100)
    ]
    line = InFlight("load reports", 800, vetoed.at)
    state = replace(vetoed.replicas["a"].state, line=line)
    held = replace(
        vetoed, replicas={**vetoed.replicas, "a": vetoed.replicas["a"]._replace(state=state)}
    )
    after = weigh(held, SETTINGS, inputs, now)
    assert after.replicas["a"].tier == "vetoed-a"
    words = explain(after.replicas["a"].steps)
    assert any(
        "its line of before is given time; 0 requests in flight by now" in each for each in words
    )


def test_when_it_is_over_the_share_comes_back_a_step_at_a_time() -> None:
    _, vetoed = after_one_scrape(200)
    now = vetoed.at + INTERVAL
    inputs = [later(each, vetoed, now) for each in pool(400, 400, 100, 100, 100, 100)]
    after = weigh(vetoed, SETTINGS, inputs, now)
    assert after.replicas["a"].state.relative == pytest.approx(
        1.5 * vetoed.replicas["a"].state.relative
    )


def test_when_all_have_long_lines_nobody_is_vetoed() -> None:
    before = settled(pool(100, 100, 100))
    now = before.at + INTERVAL
    inputs = [
        replace(later(each, before, now), in_flight=queueing(300, now))
        for each in pool(100, 100, 100)
    ]
    assert weights(weigh(before, SETTINGS, inputs, now)) == weights(before)


def test_every_source_can_object_and_old_ones_cannot() -> None:
    counts = (InFlight("queue", 3, 10.0), InFlight("load reports", 50, 10.0))
    assert most(counts, 9.0) == counts[1]
    assert most((*counts, InFlight("load reports", 900, 1.0)), 9.0) == counts[1]
    assert most((), 0.0) is None


def with_lines(lines: dict[str, tuple[float, float]], *idle: str) -> tuple[float, float]:
    """What `a` has before and after a scrape, relative to the median.

    Args:
        lines: Requests in flight by replica, and how many seconds ago they were counted.
        idle: Replicas that may get no traffic meanwhile.
    """
    before = settled(pool(100, 100, 100, 100))
    now = before.at + INTERVAL
    inputs = []
    for each in pool(100, 100, 100, 100):
        requests, age = lines[each.id]
        counts = queueing(requests, now - age)
        seen = later(each, before, now)
        inputs.append(replace(seen, in_flight=counts, ready=each.id not in idle))
    after = weigh(before, SETTINGS, inputs, now)
    return before.replicas["a"].state.relative, after.replicas["a"].state.relative


NOW, LATELY, LONG_AGO = 0.0, FROZEN * INTERVAL, (FROZEN + 0.1) * INTERVAL


def test_a_line_counted_long_ago_is_no_reason_for_a_veto() -> None:
    others = dict.fromkeys("bcd", (2.0, NOW))
    before, after = with_lines({"a": (300.0, LATELY), **others})
    assert after < 0.5 * before
    before, after = with_lines({"a": (300.0, LONG_AGO), **others})
    assert after == before


def test_lines_counted_long_ago_excuse_no_line_of_now() -> None:
    lines = {"a": (300.0, NOW), "b": (2.0, NOW)}
    before, after = with_lines({**lines, **dict.fromkeys("cd", (300.0, LATELY))})
    assert after == before, "most have a long line"
    before, after = with_lines({**lines, **dict.fromkeys("cd", (300.0, LONG_AGO))})
    assert after < 0.5 * before


def test_lines_at_replicas_that_get_no_traffic_excuse_no_line() -> None:
    lines = {"a": (300.0, NOW), "b": (2.0, NOW), **dict.fromkeys("cd", (300.0, NOW))}
    before, after = with_lines(lines)
    assert after == before
    before, after = with_lines(lines, "c", "d")
    assert after < 0.5 * before


def test_the_usual_line_is_that_of_the_median_replica_and_of_two_the_shorter() -> None:
    def usual(*requests: float) -> float:
        counts = {str(i): InFlight("queue", it, 0) for i, it in enumerate(requests)}
        return usual_wait(counts, dict.fromkeys(counts, 10.0), dict.fromkeys(counts, 1))

    assert usual() == usual(0.0) == 0.0
    assert usual(21.0) == 2.0
    assert usual(1.0, 101.0) == 0.0
    assert usual(101.0, 21.0, 11.0) == 2.0


def test_nothing_counted_is_unknown_and_no_veto() -> None:
    inputs = [ReplicaInput(id_) for id_ in "abc"]
    assert weights(weigh(None, SETTINGS, inputs, 0.0)) == dict.fromkeys("abc", 1000)


def test_a_fast_replica_may_have_more_in_line() -> None:
    counts = {"a": InFlight("queue", 41, 0), "b": InFlight("queue", 11, 0)}
    usual = usual_wait(counts, {"a": 400, "b": 100}, {"a": 1, "b": 1})
    assert usual == pytest.approx(0.1)
    assert explained(400, 1, usual, 4.0, over=True) >= 41
