"""How much work is in line, and that traffic leans away from it in whole weighings."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from controlplane.signals.reporting import ENDPOINTS, REPORTS
from controlplane.weighing import (
    ENVOYS,
    OWN,
    InFlight,
    ReplicaInput,
    Weighing,
    explain,
    pool_data,
    replica_data,
    restored_replica,
    restored_weighing,
    weigh,
)
from controlplane.weighing.capacities import Capacities
from controlplane.weighing.lines import HORIZON, SOONEST, horizon, waits
from controlplane.weighing.sizes import Sizes
from tests.weighing.pools import INTERVAL, SETTINGS, later, pool, settled, weights, window

KINDS = (400, 400, 100, 100, 100, 100)


def in_flight(each: ReplicaInput, requests: float, at: float, source: str = OWN) -> ReplicaInput:
    return replace(each, in_flight=(InFlight(source, requests, at),))


def known(inputs: Sequence[ReplicaInput]) -> Capacities:
    """As a weighing knows them."""
    replicas = {it.id: it for it in inputs}
    found = Capacities(None, {}, replicas, set(replicas), set(replicas))
    found.measure(None, 0.0, {id_: [] for id_ in replicas})
    return found


def waiting(*inputs: ReplicaInput, oldest: float = 0.0, now: float = 0.0) -> dict[str, float]:
    replicas = {it.id: it for it in inputs}
    return waits(replicas, known(inputs), replicas, oldest, now)


def test_a_line_is_what_waits_behind_those_that_are_computed() -> None:
    (one,) = pool(100)
    capacity = known([one]).carried["a"]
    assert waiting(in_flight(one, 21, 0.0)) == pytest.approx({"a": 20 / capacity})
    assert waiting(in_flight(one, 1, 0.0)) == waiting(in_flight(one, 0, 0.0)) == {"a": 0.0}
    four = replace(one, slots=4)
    capacity = known([four]).carried["a"]
    assert waiting(in_flight(four, 24, 0.0)) == pytest.approx({"a": 20 / capacity})


def test_requests_count_by_their_length_where_it_is_known() -> None:
    usual = replace(pool(100)[0], window=replace(window(), count=200, tokens=2e4, tokens_in=2e4))
    long = replace(usual, id="b", window=replace(window(), count=200, tokens=2e4, tokens_in=6e4))
    found = waiting(in_flight(usual, 11, 0.0), in_flight(long, 11, 0.0))
    capacities = known([usual, long])
    assert capacities.tokens == 100
    assert found["a"] == pytest.approx(10 / capacities.carried["a"])
    assert found["b"] == pytest.approx(30 / capacities.carried["b"])


@pytest.mark.parametrize(
    ("reported", "own", "ago", "found"),
    [
        (50, None, 0.0, 50),
        (None, 11, 3.0, 11),
        (50, 11, 0.0, 11),
        (20, 40, 0.0, 40),
        (25, 21, 10.0, 25),
        (15, 21, 10.0, 15),
        (99, 21, 10.0, 31),
        (0, 21, 10.0, 11),
        (50, 11, 16.0, 50),
    ],
    ids=[
        "only Envoys count",
        "only it counts",
        "Envoys count more at the same moment",
        "Envoys have forgotten some",
        "more have come since",
        "some were served since",
        "an Envoy is stuck",
        "Envoys have forgotten all",
        "its own count is too old",
    ],
)
def test_envoys_count_as_far_as_the_replica_s_own_count_can_have_become_it_since(
    reported: float | None, own: float | None, ago: float, found: float
) -> None:
    (one,) = pool(100)
    # Before anything was measured.
    assert known([one]).carried["a"] == 1.0
    counts = (
        *((InFlight(ENVOYS, reported, 20.0),) if reported is not None else ()),
        *((InFlight(OWN, own, 20.0 - ago),) if own is not None else ()),
    )
    line = waiting(replace(one, in_flight=counts), oldest=5.0, now=20.0)["a"]
    assert line == pytest.approx(found - 1)


def test_who_is_not_counted_or_was_too_long_ago_has_no_line_that_is_known() -> None:
    (one,) = pool(100)
    assert waiting(one) == {}
    assert waiting(in_flight(one, 50, -1.0)) == {}


def test_the_horizon_is_two_looks_at_all_lines() -> None:
    own = {it.id: in_flight(it, 3, 0.0) for it in pool(*KINDS)}
    assert horizon(own, own, 5.0, 2000) == HORIZON * 5.0
    # Decisions are not made more often than four times a second.
    assert horizon(own, own, 0.01, 1) == HORIZON * SOONEST
    by_envoys = {id_: in_flight(it, 3, 0.0, ENVOYS) for id_, it in own.items()}
    assert horizon(by_envoys, by_envoys, 5.0, 12) == HORIZON * SOONEST
    assert horizon(by_envoys, by_envoys, 5.0, None) == HORIZON * SOONEST
    # Two thousand Envoys are asked more rarely, so what they say is older.
    assert horizon(by_envoys, by_envoys, 5.0, 2000) == HORIZON * 2000 / REPORTS
    many = {f"{n}": in_flight(own["a"], 3, 0.0, ENVOYS) for n in range(1000)}
    assert horizon(many, many, 5.0, 100) == HORIZON * 100 * 1000 / ENDPOINTS
    both = {
        id_: replace(it, in_flight=(InFlight(OWN, 3, 0.0), *it.in_flight))
        for id_, it in by_envoys.items()
    }
    assert horizon(both, both, 5.0, 12) == HORIZON * SOONEST
    assert horizon(both, both, 5.0, 2000) == HORIZON * 5.0


def test_where_neither_counts_at_all_replicas_the_horizon_is_that_of_who_is_later() -> None:
    own = {it.id: in_flight(it, 3, 0.0) for it in pool(*KINDS)}
    some = {**own, "a": in_flight(own["a"], 3, 0.0, ENVOYS)}
    assert horizon(some, some, 5.0, 12) == HORIZON * 5.0
    assert horizon(some, some, 5.0, 2000) == HORIZON * 2000 / REPORTS


def after_a_scrape(slow: float, *, fast: float = 1, source: str = OWN) -> tuple[Weighing, Weighing]:
    """A pool of two tiers before and after its slow replicas are seen with so many in flight."""
    before = settled(pool(*KINDS))
    now = before.at + INTERVAL
    inputs = [later(each, before, now) for each in pool(*KINDS)]
    inputs = [in_flight(it, fast if it.id in "ab" else slow, now, source) for it in inputs]
    return before, weigh(before, SETTINGS, inputs, now)


def shares(weighing: Weighing) -> float:
    """Of the traffic, what the fast replicas get."""
    return sum(weighing.replicas[id_].share or 0.0 for id_ in "ab")


@pytest.mark.parametrize(("source", "read"), [(OWN, INTERVAL), (ENVOYS, SOONEST)])
def test_traffic_leans_away_from_a_tier_with_longer_lines_and_estimates_stay(
    source: str, read: float
) -> None:
    before, after = after_a_scrape(16, source=source)
    # 15 in line at 100 a second, where the fast ones have none: 0.15 s, in the pool a third of it.
    lean = 1 - (0.15 - 0.05) / (HORIZON * read)
    assert weights(after)["c"] / weights(before)["c"] == pytest.approx(lean, abs=0.03)
    assert shares(after) > shares(before) + 0.02
    for id_, weighed in after.replicas.items():
        assert weighed.tier == before.replicas[id_].tier
        assert weighed.state.relative == pytest.approx(before.replicas[id_].state.relative)
    assert any("of work in line, the pool" in it for it in explain(after.replicas["c"].steps))


def test_it_leans_back_when_the_lines_are_served() -> None:
    before, leaning = after_a_scrape(16)
    now = leaning.at + INTERVAL
    inputs = [in_flight(later(it, leaning, now), 1, now) for it in pool(*KINDS)]
    assert weights(weigh(leaning, SETTINGS, inputs, now)) == weights(before)


def test_nothing_leans_while_nothing_is_heard_of_lines() -> None:
    before, leaning = after_a_scrape(16)
    now = leaning.at + INTERVAL
    inputs = [later(it, leaning, now) for it in pool(*KINDS)]
    assert weights(weigh(leaning, SETTINGS, inputs, now)) == weights(before)


def test_what_was_leaned_is_taken_back_when_most_of_the_pool_falls_silent() -> None:
    before, leaning = after_a_scrape(16)
    silent = [replace(it, age=60.0) for it in pool(*KINDS)]
    found = weigh(leaning, SETTINGS, silent, leaning.at + 60.0)
    assert found.suspect
    assert weights(found) == weights(before)
    assert found.leans == {}


def test_who_starts_slowly_or_has_a_veto_neither_leans_nor_counts() -> None:
    before = settled(pool(*KINDS))
    now = before.at + INTERVAL

    def told(own: float, others: float, ready_since: float | None = None) -> Weighing:
        inputs = [in_flight(later(it, before, now), others, now) for it in pool(*KINDS)]
        inputs = [
            replace(in_flight(it, own, now), ready_since=ready_since) if it.id == "c" else it
            for it in inputs
        ]
        return weigh(before, SETTINGS, inputs, now)

    vetoed = told(200, 1)
    assert vetoed.replicas["c"].tier == "vetoed-c"
    assert vetoed.leans == {}
    starting = told(1, 15, now - 1)
    assert starting.replicas["c"].tier.startswith("warming-")
    assert set(starting.leans) == {"tier-8"}


def counting(previous: Weighing | None, now: float) -> list[ReplicaInput]:
    """Replicas that count tokens, a hundred in each request."""
    found = []
    for it in (later(each, previous, now) for each in pool(*KINDS)):
        assert it.window is not None
        tokens = 100 * it.window.count
        seen = replace(it.window, tokens=tokens, tokens_in=100 * it.window.samples)
        found.append(in_flight(replace(it, window=seen), 1, now))
    return found


def settled_counting() -> Weighing:
    """What is decided of them once they have been watched for a while."""
    before = None
    for scrape in range(80):
        before = weigh(before, SETTINGS, counting(before, scrape * INTERVAL), scrape * INTERVAL)
    assert before is not None
    return before


def test_long_requests_are_made_up_for_by_what_a_tier_gets_for_now() -> None:
    before = settled_counting()
    parted = Sizes(1000, frozenset("ab"), part=0.3, assumed=0.3, begun=0.0, since=0.0)
    now = before.at + INTERVAL
    inputs = counting(before, now)
    leaning = [in_flight(it, 1 if it.id in "ab" else 16, now) for it in inputs]
    straight = weigh(replace(before, sizes=parted), SETTINGS, inputs, now)
    found = weigh(replace(before, sizes=parted), SETTINGS, leaning, now)
    held = weigh(found, SETTINGS, inputs, now, held="nothing is known yet")
    assert shares(found) > shares(straight) + 0.02
    for weighing in (straight, found, held):
        told = weights(weighing)
        of_short = (told["a"] + told["b"]) / sum(told.values())
        assert 0.3 + 0.7 * of_short == pytest.approx(shares(weighing), abs=0.005)
    assert shares(held) == pytest.approx(shares(found), abs=0.005)


def test_what_leans_for_a_moment_moves_no_threshold() -> None:
    before = settled_counting()
    # Nearly all that the fast replicas can do, two thirds of the pool, is long: that may be.
    parted = Sizes(1000, frozenset("ab"), part=0.62, assumed=0.62, begun=0.0, since=0.0)
    now = before.at + INTERVAL
    inputs = [in_flight(it, 60 if it.id in "ab" else 1, now) for it in counting(before, now)]
    found = weigh(replace(before, sizes=parted), SETTINGS, inputs, now)
    assert found.leans
    assert shares(found) < 0.65
    assert found.sizes is not None
    assert (found.sizes.threshold, found.sizes.since) == (1000, 0.0)


def test_replicas_that_are_as_good_as_equal_have_equal_weights_whatever_is_in_line() -> None:
    before = settled(pool(100, 101, 99, 100))
    now = before.at + INTERVAL
    inputs = [later(it, before, now) for it in pool(100, 101, 99, 100)]
    inputs = [in_flight(it, 15 if it.id == "a" else 1, now) for it in inputs]
    assert weights(weigh(before, SETTINGS, inputs, now)) == weights(before)


def test_a_restart_changes_no_weight_that_leans() -> None:
    _, leaning = after_a_scrape(16)
    kept = {
        id_: restored_replica(replica_data(it), it.state.generation, counted=True)
        for id_, it in leaning.replicas.items()
    }
    restored = restored_weighing(pool_data(leaning), kept, 0.0)
    inputs = [replace(it, window=None, age=None) for it in pool(*KINDS)]
    held = weigh(restored, SETTINGS, inputs, 1.0, held="nothing is known yet")
    assert weights(held) == weights(leaning)
    assert held.leans == leaning.leans


@pytest.mark.parametrize(
    ("counts", "capacity"),
    [({OWN: 0}, 43.3), ({}, 4.0), ({OWN: 0, ENVOYS: 1}, 4.0), ({OWN: 1, ENVOYS: 0}, 4.0)],
    ids=["at rest", "nobody counts", "at work by Envoys", "at work by its own count"],
)
def test_only_a_replica_with_nothing_in_flight_rests(
    counts: dict[str, float], capacity: float
) -> None:
    """All forty requests come in the last of sixty-one seconds."""
    (one,), weighing = pool(100), None
    for at, ended in ((0.0, 0.0), (60.0, 0.0), (61.0, 40.0)):
        seen = replace(window(at=at, samples=ended), count=ended, total=0.3 * ended)
        in_flight = tuple(InFlight(source, count, at) for source, count in counts.items())
        given = replace(one, window=seen, in_flight=in_flight)
        weighing = weigh(weighing, SETTINGS, [given], at)
    assert weighing is not None
    assert weighing.replicas["a"].capacity == pytest.approx(capacity, rel=0.02)


def test_who_may_not_have_requests_yet_makes_nobody_lean_more_slowly() -> None:
    before = settled(pool(*KINDS))
    now = before.at + INTERVAL
    inputs = [in_flight(later(it, before, now), 16, now, ENVOYS) for it in pool(*KINDS)]
    loading = replace(pool(100)[0], id="loading", ready=False, window=None, in_flight=())
    alone = weigh(before, SETTINGS, inputs, now, envoys=1)
    beside = weigh(before, SETTINGS, [*inputs, loading], now, envoys=1)
    assert alone.leans
    assert beside.leans == alone.leans
