"""Where each zone sends requests: home while there is room, and no zone beyond the others."""

import math
from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.balancing import NOWHERE, Place, ZoneInput, ZonePlan
from controlplane.balancing.zones import (
    DEAD_BAND,
    FADING,
    TARGET,
    Flows,
    flows,
    plan_data,
    plan_of,
    planned,
    sentences,
)
from tests.balancing.pools import Serving, capacities, played

A, B, C, US = Place("eu", "a"), Place("eu", "b"), Place("eu", "c"), Place("us", "a")
PLACES = (A, B, C, US, Place("us", "b"), Place("", "x"), NOWHERE)
TOKENS_OF_A_REQUEST = 100.0
TOKENS = st.floats(1e-3, 1e6) | st.just(0.0)
ZONES = st.dictionaries(st.sampled_from(PLACES), st.tuples(TOKENS, TOKENS), min_size=1)


def solved(zones: Mapping[Place, tuple[float, float]]) -> dict[tuple[Place, Place], float]:
    """Tokens per second from each zone to each, of zones with demand and capacity."""
    places = [*zones]
    demand, capacity = (np.asarray([zones[place][at] for place in places]) for at in (0, 1))
    distance = np.asarray([[one.distance(other) for other in places] for one in places])
    found = flows(demand, capacity, distance)
    return {
        (one, other): float(found[i, j])
        for i, one in enumerate(places)
        for j, other in enumerate(places)
    }


def plan(
    demand: Mapping[Place, float] | None,
    capacity: Mapping[Place, float],
    before: Flows | None = None,
    nodes: Mapping[Place, int] | None = None,
    elapsed: float = 1.0,
) -> Flows:
    return planned(before, demand, capacity, nodes or {}, elapsed)


@given(ZONES)
def test_all_that_arises_goes_somewhere_and_nothing_else(
    zones: dict[Place, tuple[float, float]],
) -> None:
    found = solved(zones)
    assert min(found.values()) >= 0
    if sum(capacity for _, capacity in zones.values()) > 0:
        for place, (demand, _) in zones.items():
            sent = math.fsum(found[place, other] for other in zones)
            assert sent == pytest.approx(demand, rel=1e-6, abs=1e-3)


@given(ZONES)
def test_no_zone_is_fuller_than_the_target_while_another_has_room(
    zones: dict[Place, tuple[float, float]],
) -> None:
    found = solved(zones)
    demand, capacity = (math.fsum(zone[at] for zone in zones.values()) for at in (0, 1))
    level = max(TARGET, demand / capacity) if capacity else 0.0
    for place, (_, carried) in zones.items():
        got = math.fsum(found[other, place] for other in zones)
        assert got <= level * carried * (1 + 1e-6) + 1e-3


@given(ZONES)
def test_a_zone_sends_nothing_away_while_it_has_room(
    zones: dict[Place, tuple[float, float]],
) -> None:
    found = solved(zones)
    for place, (demand, carried) in zones.items():
        if place != NOWHERE and demand <= TARGET * carried:
            assert found[place, place] == pytest.approx(demand, rel=1e-9)


@given(ZONES)
def test_nothing_leaves_a_region_that_has_room(zones: dict[Place, tuple[float, float]]) -> None:
    found = solved(zones)
    for region in ("eu", "us"):
        inside = [zone for zone in zones if zone.region == region]
        demand, carried = (math.fsum(zones[item][at] for item in inside) for at in (0, 1))
        if demand <= TARGET * carried:
            left = math.fsum(found[each, o] for each in inside for o in zones if o.region != region)
            assert left <= 1e-6 * demand + 1e-6


@given(ZONES, st.randoms())
def test_the_order_of_zones_means_nothing(zones: dict[Place, tuple[float, float]], random) -> None:  # type: ignore[no-untyped-def]
    mixed = [*zones]
    random.shuffle(mixed)
    before, after = solved(zones), solved({place: zones[place] for place in mixed})
    for key, sent in before.items():
        assert after[key] == pytest.approx(sent, rel=1e-6, abs=1e-3)


def test_a_zone_with_too_much_shares_it_with_the_region_by_room_and_then_with_the_rest() -> None:
    zones = {A: (180.0, 100.0), B: (40.0, 100.0), C: (60.0, 100.0), US: (0.0, 100.0)}
    found = solved(zones)
    assert [found[A, to] for to in (A, B, C, US)] == pytest.approx([70, 30, 10, 70])
    assert found[B, B] == 40


def test_two_zones_that_spill_do_not_fill_a_third_beyond_what_it_carries() -> None:
    found = solved({A: (150.0, 100.0), B: (150.0, 100.0), C: (0.0, 100.0)})
    assert [found[A, C], found[B, C]] == pytest.approx([50, 50])
    assert found[A, A] == pytest.approx(100)


def test_a_zone_that_is_lost_goes_to_the_nearest_that_have_room() -> None:
    found = solved({A: (40.0, 0.0), B: (20.0, 100.0), US: (0.0, 100.0)})
    assert [found[A, to] for to in (A, B, US)] == pytest.approx([0, 40, 0])


def test_who_runs_nowhere_uses_the_room_that_all_zones_have() -> None:
    found = solved({A: (50.0, 100.0), B: (10.0, 100.0), NOWHERE: (40.0, 0.0)})
    assert [found[NOWHERE, to] for to in (A, B)] == pytest.approx([10, 30])


def test_until_requests_are_counted_zones_are_filled_in_proportion_by_the_envoys_there() -> None:
    found = plan(None, {A: 100.0, B: 100.0, US: 100.0}, nodes={A: 4, B: 1, US: 1})
    assert found.told[A] == {A: 0.5, B: 0.25, US: 0.25}
    assert found.told[B] == {B: 1.0}
    assert not found.is_counted


def test_a_zone_without_requests_would_send_home() -> None:
    found = plan({A: 300.0}, {A: 100.0, B: 100.0}, nodes={A: 1, B: 1})
    assert found.told[B] == {B: 1.0}
    assert plan({A: 10.0}, {A: 100.0}, nodes={A: 1, B: 1}).told[B] == {A: 1.0}


def test_where_nothing_can_carry_anything_nobody_is_told_anything() -> None:
    assert plan({A: 10.0}, {A: 0.0, B: 0.0}).told == {}


@given(st.dictionaries(st.sampled_from(PLACES), st.floats(0.0, 500.0), min_size=1))
def test_what_is_told_adds_up_to_all(demand: dict[Place, float]) -> None:
    found = plan(demand, {A: 100.0, B: 50.0, US: 200.0})
    for parts in found.told.values():
        assert math.fsum(parts.values()) == pytest.approx(1, abs=1e-3)
        assert all(part > 0 for part in parts.values())


def test_envoys_are_not_told_of_noise() -> None:
    capacity = {A: 100.0, B: 100.0}
    found = plan({A: 120.0, B: 0.0}, capacity)
    for step in range(200):
        noisy = plan({A: 120.0 + 4 * (-1) ** step, B: 3.0 * (step % 2)}, capacity, found)
        assert noisy.told[A] is found.told[A]
        found = noisy


def test_a_zone_spills_at_once_and_takes_its_requests_back_slowly() -> None:
    capacity = {A: 100.0, B: 100.0}
    calm = plan({A: 50.0, B: 10.0}, capacity)
    full = plan({A: 160.0, B: 10.0}, capacity, calm)
    assert full.told[A][A] < 0.7
    over, later = full, 0
    while A not in over.told[A] or over.told[A][A] < 1.0:
        over = plan({A: 50.0, B: 10.0}, capacity, over)
        later += 1
        assert later < 2 * FADING
    assert later > FADING / 4


def test_what_goes_to_a_zone_that_is_lost_is_told_anew_however_little_it_is() -> None:
    found = plan({A: 85.0, B: 10.0}, {A: 100.0, B: 100.0})
    assert B in found.told[A]
    lost = plan({A: 85.0, B: 10.0}, {A: 100.0, B: 0.0}, found)
    assert lost.told[A] == {A: 1.0}


@pytest.mark.parametrize("offered", [0.3, 0.7, 0.95, 1.3])
def test_a_closed_loop_comes_to_rest(offered: float) -> None:
    """Capacities are seen with an error that depends on what a zone gets, as real ones are."""
    true = {A: 100.0, B: 100.0, US: 100.0}
    demand = {A: 200.0 * offered, B: 70.0 * offered, US: 30.0 * offered}
    found: Flows | None = None
    changes = []
    seen = dict(true)
    for step in range(120):
        last, found = found, plan(demand, seen, found)
        if last is not None and last.told != found.told:
            changes.append(step)
        load = dict.fromkeys(true, 0.0)
        for here, tokens in demand.items():
            for there, part in found.told[here].items():
                load[there] += tokens * part
        seen = {
            place: 0.7 * seen[place]
            + 0.3 * true[place] * (1.1 - 0.2 * min(load[place] / true[place], 1))
            for place in true
        }
    assert len(changes) <= 3
    assert not changes or changes[-1] < 20


def test_a_zone_keeps_less_where_its_target_is_lower() -> None:
    demand, capacity = {A: 60.0, US: 60.0}, {A: 100.0, B: 100.0, US: 100.0}
    found = planned(None, demand, capacity, {}, 1.0, targets={A: 0.3})
    assert found.told[A] == {A: 0.67, B: 0.33}
    assert found.told[US] == {US: 1.0}


@pytest.mark.parametrize(
    ("serving", "stays"),
    [
        (Serving(), 1.0),
        (Serving(slots=None), 0.58),
        (Serving(slots=None, batch=(2000.0, 0.1)), 1.0),
    ],
    ids=["slots", "latency", "batches"],
)
def test_a_zone_keeps_half_as_much_where_capacity_is_worked_out_from_latency(
    serving: Serving, stays: float
) -> None:
    replicas = {"a": serving, "b": serving}
    play = played(replicas)
    assert play.decision is not None
    rate = 0.6 * capacities(play.decision)["a"] / TOKENS_OF_A_REQUEST
    start = play.now
    for _ in range(20):
        come = {("", A): rate * (play.now - start)}
        play.zones = ZoneInput({"a": A, "b": B}, (), {A: 1, B: 1}, come, {})
        found = play.step(replicas)
    assert found.pool.zones is not None
    assert found.pool.zones.told[""][A].get(A) == pytest.approx(stays, abs=0.02)


def test_what_envoys_were_told_outlives_the_control_plane() -> None:
    found = ZonePlan({"": plan({A: 160.0, B: 10.0}, {A: 100.0, B: 100.0})})
    again = plan_of(plan_data(found))
    assert again is not None
    assert again.told == found.told
    assert plan_of(plan_data(None)) is None


def test_people_read_what_arises_what_stays_and_what_goes_where() -> None:
    found = plan({A: 160.0}, {A: 100.0, B: 100.0}, nodes={A: 3})
    assert sentences(ZonePlan({"": found}, {A: 3}), {}) == (
        "Zone eu/a: 3 Envoys send 160 tokens/s, its replicas carry 100 tokens/s; 50 % stays and"
        " 50 % goes to eu/b.",
        "Zone eu/b: its replicas carry 100 tokens/s.",
    )
    (first, *_) = sentences(ZonePlan({"bulk": found}, {A: 1}), {"bulk": "bulk"})
    assert first.startswith("Class bulk, zone eu/a: 1 Envoy sends 160 tokens/s")


def test_people_read_that_nothing_was_counted_yet() -> None:
    *_, last = sentences(ZonePlan({"": plan(None, {A: 1.0}, nodes={A: 1})}, {A: 1}), {})
    assert last.startswith("Until requests are counted")


def test_zones_are_compared_by_region_and_name() -> None:
    assert [A.distance(item) for item in (A, B, US, NOWHERE)] == [0, 1, 2, 2]
    assert NOWHERE.distance(NOWHERE) == 2
    assert Place("", "a").distance(Place("", "a")) == 0
    assert Place("", "a").distance(Place("", "b")) == 2
    for one, other in permutations(PLACES, 2):
        assert one.distance(other) == other.distance(one)
    assert 0 < DEAD_BAND < 1 - TARGET
