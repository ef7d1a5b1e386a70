"""A pool of which nothing is measured is weighed in one pass, to the same end as by every rule."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.settings import PoolSettings
from controlplane.weighing import InFlight, ReplicaInput, Weighing, explain, weigh
from controlplane.weighing.guard import Guard
from controlplane.weighing.round import Round
from controlplane.weighing.slots import Learned
from controlplane.weighing.tiers import Placement
from controlplane.weighing.unmeasured import unmeasured
from tests.weighing.pools import SETTINGS, pool, replica, rounds, window
from tests.weighing.test_policies import TIERS, WEIGHTED

plain = st.builds(
    ReplicaInput,
    id=st.sampled_from("abcdefgh"),
    slots=st.one_of(st.none(), st.integers(1, 64)),
    generation=st.integers(0, 1),
    ready=st.booleans(),
    ready_since=st.one_of(st.none(), st.floats(0, 100)),
)
measured = st.builds(
    ReplicaInput,
    id=st.sampled_from("abcdefgh"),
    slots=st.one_of(st.none(), st.integers(1, 64)),
    window=st.builds(window, st.floats(1, 1000), samples=st.sampled_from([0, 10, 200])),
    age=st.floats(0, 3),
    ready=st.booleans(),
)
pools = st.lists(plain, min_size=1, max_size=8, unique_by=lambda each: each.id)
any_pools = st.lists(st.one_of(plain, plain, measured), max_size=8, unique_by=lambda each: each.id)
settings = st.sampled_from([TIERS, WEIGHTED])


def in_turn(
    given_settings: PoolSettings, history: Sequence[tuple[float, list[ReplicaInput]]]
) -> tuple[Weighing | None, float]:
    weighing, now = None, 0.0
    for passed, inputs in history:
        now += passed
        weighing = weigh(weighing, given_settings, inputs, now)
    return weighing, now


def by_every_rule(
    previous: Weighing | None, of: PoolSettings, inputs: list[ReplicaInput], now: float
) -> Weighing:
    replicas = {it.id: it for it in inputs}
    ready = {it.id for it in inputs if it.ready}
    return Round(previous, of, replicas, ready, now, None).weighing({}, suspect=False)


def in_one_pass(
    previous: Weighing | None, of: PoolSettings, inputs: list[ReplicaInput], now: float
) -> Weighing | None:
    ready = {it.id for it in inputs if it.ready}
    return unmeasured(previous, of, {it.id: it for it in inputs}, ready, now)


@given(settings, st.lists(st.tuples(st.floats(0, 40), any_pools), max_size=4), pools)
def test_it_is_what_every_rule_makes_of_it(
    of: PoolSettings, history: list[tuple[float, list[ReplicaInput]]], inputs: list[ReplicaInput]
) -> None:
    previous, now = in_turn(of, history)
    found = in_one_pass(previous, of, inputs, now)
    assert found is None or found == by_every_rule(previous, of, inputs, now)


@given(settings, st.lists(st.tuples(st.floats(0, 40), pools), max_size=4), pools)
def test_where_nothing_was_ever_measured_one_pass_is_enough(
    of: PoolSettings, history: list[tuple[float, list[ReplicaInput]]], inputs: list[ReplicaInput]
) -> None:
    previous, now = in_turn(of, history)
    assert in_one_pass(previous, of, inputs, now) == by_every_rule(previous, of, inputs, now)


def test_all_that_get_traffic_get_alike_and_are_told_so() -> None:
    inputs = [ReplicaInput("a"), ReplicaInput("b", slots=None), ReplicaInput("c", ready=False)]
    weighing = weigh(None, SETTINGS, inputs, 0.0)
    assert {id_: it.share for id_, it in weighing.replicas.items()} == {"a": 0.5, "b": 0.5, "c": 0}
    assert explain(weighing.replicas["b"].steps) == (
        "slots are not declared and not learned yet: taken for 1",
        "1.00 × the pool's median, and so are all, near enough: all are equal",
        "in tier-8 with 2 others, at their mean of 1.00 × the median",
    )


@pytest.mark.parametrize(
    "known",
    [
        replica("b"),
        ReplicaInput("b", age=0.0),
        ReplicaInput("b", gpu_uuid="GPU-1"),
        ReplicaInput("b", in_flight=(InFlight("envoys", 3.0, 100.0),)),
    ],
    ids=["a window", "known before a restart", "a GPU", "in flight"],
)
def test_with_anything_known_of_one_the_rules_are_gone_through(known: ReplicaInput) -> None:
    others = [ReplicaInput("a"), ReplicaInput("c")]
    assert in_one_pass(None, SETTINGS, [*others, known], 100.0) is None
    assert in_one_pass(None, SETTINGS, [*others, ReplicaInput("b")], 100.0) is not None


def test_what_was_learned_holds_on_when_nobody_measures_any_more() -> None:
    *_, before = rounds(pool(100, 25), 30)
    silent = [ReplicaInput("a"), ReplicaInput("b")]
    assert in_one_pass(before, SETTINGS, silent, before.at) is None
    again = weigh(before, SETTINGS, silent, before.at)
    assert again.replicas["a"].capacity == before.replicas["a"].capacity


MEASURED = rounds(pool(100, 25), 30)[-1]


@pytest.mark.parametrize(
    "kept",
    [
        {"estimate": MEASURED.replicas["a"].state.estimate},
        {"learned": Learned(2, (), 0.0, 0.0, 0.0, 0.0)},
        {"kind": "a"},
        {"line": InFlight("envoys", 3.0, 0.0)},
        {"guard": Guard(wanted=True, cut=True)},
        {"guard": Guard(fraction=0.5)},
        {"placement": Placement(band=1)},
        {"placement": Placement(earned=True)},
    ],
    ids=lambda it: next(iter(it)),
)
def test_one_thing_that_is_still_known_of_one_replica_is_enough_to_go_through_the_rules(
    kept: dict[str, Any],
) -> None:
    inputs = [ReplicaInput("a"), ReplicaInput("b")]
    plainly = weigh(None, SETTINGS, inputs, 0.0)
    assert in_one_pass(plainly, SETTINGS, inputs, 1.0) is not None
    state = replace(plainly.replicas["a"].state, **kept)
    known = {**plainly.replicas, "a": plainly.replicas["a"]._replace(state=state)}
    assert in_one_pass(replace(plainly, replicas=known), SETTINGS, inputs, 1.0) is None


@pytest.mark.parametrize("of", [TIERS, WEIGHTED], ids=["tiers", "weights"])
def test_those_that_join_start_slowly_step_by_step_as_by_every_rule(of: PoolSettings) -> None:
    # One that is soon drained, and one that never gets anything.
    others = [ReplicaInput(id_) for id_ in "abcde"] + [ReplicaInput("idle", ready=False)]
    previous, now = weigh(None, of, others, 0.0), 1.0
    shares = []
    while previous.is_moving or now < 5.0:
        late = [
            ReplicaInput("late", ready_since=1.0),
            ReplicaInput("later", ready_since=2.25, slots=None),
            ReplicaInput("drained", ready_since=1.0, ready=now < 4.0),
        ]
        inputs = others + late[: 3 if now >= 2.25 else 1]
        found = in_one_pass(previous, of, inputs, now)
        assert found is not None
        assert found == by_every_rule(previous, of, inputs, now)
        shares.append(found.replicas["late"].share or 0.0)
        previous, now = found, now + 0.25
    assert shares[0] < 0.05
    assert shares[-1] == pytest.approx(1 / 7)
    assert now > 12.0


def test_how_busy_the_pool_was_is_not_forgotten_in_one_pass() -> None:
    inputs = [ReplicaInput("a"), ReplicaInput("b")]
    busy = replace(weigh(None, SETTINGS, inputs, 0.0), used=0.8)
    assert in_one_pass(busy, SETTINGS, inputs, 1.0) is None
    assert weigh(busy, SETTINGS, inputs, 1.0).used == 0.8
