"""How much work is in line, and that traffic leans away from it in whole weighings."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from controlplane.signals.reporting import ENDPOINTS, REPORTS
from controlplane.weighing import (
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
from controlplane.weighing.lines import HORIZON, horizon, waits
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


def waiting(*inputs: ReplicaInput, oldest: float = 0.0) -> dict[str, float]:
    replicas = {it.id: it for it in inputs}
    return waits(replicas, known(inputs), replicas, oldest)


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


def test_a_replica_counts_for_itself_and_envoys_only_where_it_does_not() -> None:
    (one,) = pool(100)
    capacity = known([one]).carried["a"]
    both = (InFlight("load reports", 50, 0.0), InFlight(OWN, 11, 0.0))
    assert waiting(replace(one, in_flight=both)) == pytest.approx({"a": 10 / capacity})
    assert waiting(replace(one, in_flight=both[:1])) == pytest.approx({"a": 49 / capacity})
    old = (both[0], InFlight(OWN, 11, -1.0))
    assert waiting(replace(one, in_flight=old)) == pytest.approx({"a": 49 / capacity})


def test_who_is_not_counted_or_was_too_long_ago_has_no_line_that_is_known() -> None:
    (one,) = pool(100)
    assert waiting(one) == {}
    assert waiting(in_flight(one, 50, -1.0)) == {}


def test_the_horizon_is_two_looks_at_all_lines() -> None:
    inputs = {it.id: in_flight(it, 3, 0.0) for it in pool(*KINDS)}
    assert horizon(inputs, 5.0, 2000) == HORIZON * 5.0
    by_envoys = {**inputs, "a": in_flight(inputs["a"], 3, 0.0, "load reports")}
    assert horizon(by_envoys, 5.0, 12) == HORIZON * 5.0
    # Two thousand Envoys are asked more rarely, so what they say is older.
    assert horizon(by_envoys, 5.0, 2000) == HORIZON * 2000 / REPORTS
    many = {f"{n}": in_flight(inputs["a"], 3, 0.0, "load reports") for n in range(1000)}
    assert horizon(many, 5.0, 100) == HORIZON * 100 * 1000 / ENDPOINTS
    assert horizon(by_envoys, 5.0, None) == HORIZON * 5.0


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


@pytest.mark.parametrize("source", [OWN, "load reports"])
def test_traffic_leans_away_from_a_tier_with_longer_lines_and_estimates_stay(source: str) -> None:
    before, after = after_a_scrape(16, source=source)
    # 15 in line at 100 a second, where the fast ones have none: 0.15 s, in the pool a third of it.
    lean = 1 - (0.15 - 0.05) / (HORIZON * INTERVAL)
    assert weights(after)["c"] / weights(before)["c"] == pytest.approx(lean, abs=0.02)
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


def test_long_requests_are_made_up_for_by_what_a_tier_gets_for_now() -> None:
    before = None
    for scrape in range(80):
        before = weigh(before, SETTINGS, counting(before, scrape * INTERVAL), scrape * INTERVAL)
    assert before is not None
    parted = Sizes(1000, frozenset("ab"), part=0.3, begun=0.0, since=0.0)
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
