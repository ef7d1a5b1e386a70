"""What holds of every decision, whatever replicas have said: whole lives of pools."""

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.balancing import Decision, decide
from controlplane.balancing.backlog import NEXT_TO_NOTHING
from controlplane.balancing.headroom import CEILING, FLOOR
from controlplane.telemetry.sizes import Sizes
from tests.balancing.pools import (
    SETTINGS,
    Play,
    Serving,
    capacities,
    played,
    pool,
    shares,
    tiers,
    weights,
)

IDS = "abcdef"
FEW = settings(max_examples=6)

servings = st.builds(
    Serving,
    capacity=st.sampled_from([1.0, 20.0, 100.0, 110.0, 400.0, 5_000.0]),
    load=st.sampled_from([0.0, 0.05, 0.5, 0.9, 0.99]),
    tokens=st.sampled_from([50.0, 100.0, 400.0]),
    latency=st.sampled_from([None, None, None, 1e-6, 30.0]),
    failing=st.sampled_from([0.0, 0.0, 0.3, 1e6]),
    memory=st.sampled_from([None, 0.5, 0.93, 0.99]),
    queue=st.sampled_from([None, 0.0, 5.0, 1_000.0]),
    are_texts=st.booleans(),
    reported=st.sampled_from([None, 0.0, 5.0, 1_000.0]),
    batch=st.sampled_from([None, None, (1_000.0, 0.05), (50.0, 0.02)]),
    texts=st.sampled_from([1.0, 20.0]),
    silent=st.sampled_from([False, False, False, True]),
    ready=st.sampled_from([True, True, True, False]),
    ready_since=st.sampled_from([None, None, 0.0, 6.0]),
    slots=st.sampled_from([None, 1, 1, 4]),
    generation=st.sampled_from([0, 0, 1]),
)
phases = st.lists(
    st.dictionaries(st.sampled_from(IDS), servings, max_size=len(IDS)), min_size=1, max_size=3
)


def sampled(bulk: bool = True) -> Sizes:  # noqa: FBT001, FBT002
    """Searches, and one request in ten that is a hundred times as large."""
    sizes = Sizes()
    sizes.add([100] * 180 + [8_000 if bulk else 100] * 20, 0.0)
    return sizes


def lived(life: Sequence[dict[str, Serving]], **play: Any) -> list[Decision]:
    found = Play(**play)
    return [decision for phase in life for decision in found.all_of(phase, 6)]


def whole(found: Any) -> None:
    """State what holds of any decision."""
    rows = [*found.rows.values()]
    serving = [
        id_ for id_, row in found.rows.items() if found.frame.ready[row] and not found.drained[row]
    ]
    assert all(1 <= weight <= 1.5 * 1000 * CEILING for weight in weights(found).values())
    assert sum(weights(found).values()) < 2**32
    given_ = shares(found)
    assert all(0 <= share <= 1 for share in given_.values())
    assert sum(given_.values()) == pytest.approx(1 if serving else 0)
    # A replica new to the set for searches first does what it had before.
    settling = found.division.joined
    assert all(given_[id_] > 0 for id_ in serving if id_ not in settling)
    assert all(given_[id_] == 0 for id_ in given_ if id_ not in serving)
    assert all(0 < each < np.inf for each in capacities(found).values())
    relative = found.state.relative[rows]
    least = np.where(np.isnan(found.state.line[rows]), FLOOR, NEXT_TO_NOTHING)
    assert ((relative >= least) & (relative <= CEILING)).all()
    for each in found.classes:
        if serving:
            assert each.weights[[found.rows[id_] for id_ in serving]].max() > 0
            assert each.shares[rows].sum() == pytest.approx(1)
        assert (each.weights[rows] >= 0).all()
        assert each.weights[rows].sum() < 2**32
        assert 0 <= each.part <= 1
    if found.classes:
        assert sum(each.part for each in found.classes) == pytest.approx(1)
    assert all(tiers(found).values())
    for id_ in found.rows:
        assert all(step.words and np.isfinite(step.after) for step in found.of(id_).steps)


@FEW
@given(phases, st.sampled_from([None, 1, 12]), st.booleans())
def test_whatever_was_reported_a_decision_is_whole(
    life: list[dict[str, Serving]],
    envoys: int | None,
    parts: bool,  # noqa: FBT001
) -> None:
    for decision in lived(life, envoys=envoys, sizes=sampled() if parts else None):
        whole(decision)


@FEW
@given(phases, st.permutations(IDS), st.permutations(IDS))
def test_neither_the_order_of_replicas_nor_their_rows_matter(
    life: list[dict[str, Serving]], one: list[str], other: list[str]
) -> None:
    ours, theirs = (
        lived(
            [{id_: phase[id_] for id_ in order if id_ in phase} for phase in life], sizes=sampled()
        )
        for order in (one, other)
    )
    for mine, their in zip(ours, theirs, strict=True):
        assert weights(mine) == pytest.approx(weights(their), rel=1e-3)
        assert capacities(mine) == pytest.approx(capacities(their))
        assert tiers(mine) == tiers(their)
        assert mine.equal == their.equal
        assert [each.name for each in mine.classes] == [each.name for each in their.classes]


@FEW
@given(st.lists(st.sampled_from([20.0, 50.0, 100.0, 240.0, 400.0]), min_size=2, max_size=8))
def test_names_do_not_matter(found: list[float]) -> None:
    def named(ids: Sequence[str]) -> list[int]:
        replicas = {id_: Serving(each) for id_, each in zip(ids, found, strict=True)}
        decision = Play().run(replicas, 10)
        return [weights(decision)[id_] for id_ in ids]

    ids = [f"r{number}" for number in range(len(found))]
    assert named(ids) == named(ids[::-1])


@FEW
@given(
    st.lists(st.sampled_from([20.0, 50.0, 100.0, 240.0, 400.0]), min_size=1, max_size=8),
    st.sampled_from([0.01, 0.1, 0.5, 3.0, 1e3]),
)
def test_replicas_that_are_all_so_many_times_as_fast_get_the_same(
    found: list[float], times: float
) -> None:
    """By tokens that are so many times as many: as many requests a second count as much."""

    def decided(factor: float) -> Decision:
        replicas = {
            f"r{number}": Serving(each, tokens=100.0 * factor) for number, each in enumerate(found)
        }
        return Play().run(replicas, 10)

    ours, theirs = decided(1.0), decided(times)
    assert weights(ours) == pytest.approx(weights(theirs), rel=1e-6)
    assert tiers(ours) == tiers(theirs)
    scaled = {id_: each * times for id_, each in capacities(ours).items()}
    assert capacities(theirs) == pytest.approx(scaled)


@FEW
@given(
    st.integers(1, 12),
    st.sampled_from([1.0, 100.0, 1e4]),
    st.sampled_from([0.05, 0.5, 0.95]),
    st.sampled_from([None, (1_000.0, 0.05)]),
)
def test_equal_replicas_are_exactly_equal(
    count: int, capacity: float, load: float, batch: tuple[float, float] | None
) -> None:
    same = Serving(capacity, load=load, batch=batch, queue=1.0, memory=0.5)
    for decision in Play().all_of({f"r{number}": same for number in range(count)}, 20):
        assert {*weights(decision).values()} == {1000}
        assert len({*shares(decision).values()}) == 1
        assert len({*tiers(decision).values()}) == 1


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, columns and NaN included."""
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if is_dataclass(one):
        names = [each.name for each in fields(one) if each.name != "frame"]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(each, other[key]) for key, each in one.items()
        )
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))


@FEW
@given(phases)
def test_a_decision_is_a_function_that_changes_nothing_it_was_given(
    life: list[dict[str, Serving]],
) -> None:
    play = Play(sizes=sampled())
    for phase in life:
        play.run(phase, 6)
    before = play.decision
    assert before is not None
    kept = deepcopy(replace(before, frame=None))
    values, sizes = play.table.copy(), sampled()
    play.now += 0.5
    found = [
        decide(before, SETTINGS, play.table, play.now, envoys=4, sizes=sizes) for _ in range(2)
    ]
    assert same(*found)
    assert same(replace(before, frame=None), kept)
    assert play.table.rows == values.rows
    for name in ("requests", "read_at", "queue", "scraped_at"):
        assert same(play.table.column(name), values.column(name))


@FEW
@given(
    st.lists(st.sampled_from([100.0, 200.0, 400.0]), min_size=3, max_size=6),
    st.integers(0, 2),
    st.sampled_from([0.1, 0.5, 2.0]),
)
def test_a_step_is_followed_within_three_windows(
    found: list[float], which: int, factor: float
) -> None:
    replicas = {f"r{number}": Serving(each) for number, each in enumerate(found)}
    play = played(replicas, 20)
    changed = Serving(found[which] * factor)
    decision = play.run({**replicas, f"r{which}": changed}, 15)
    wanted = 100 * found[which] * factor
    assert capacities(decision)[f"r{which}"] == pytest.approx(wanted, rel=0.25)


@FEW
@given(st.lists(st.sets(st.sampled_from(IDS)), min_size=2, max_size=5))
def test_replicas_that_come_and_go_leave_the_others_as_they_are(present: list[set[str]]) -> None:
    speeds = dict(zip("stuv", (100.0, 100.0, 100.0, 400.0), strict=True))
    stay = {id_: Serving(each) for id_, each in speeds.items()}
    play = played(stay)
    assert play.decision is not None
    before, places = capacities(play.decision), tiers(play.decision)
    for ids in present:
        decision = play.run({**stay, **{id_: Serving(100.0) for id_ in ids}}, 3)
        for id_ in stay:
            assert capacities(decision)[id_] == pytest.approx(before[id_], rel=0.02)
            assert tiers(decision)[id_] == places[id_]
        assert decision.rows.keys() == stay.keys() | ids


def test_a_decision_costs_what_its_columns_cost() -> None:
    """Thirty times as many replicas take less than thirty times as long."""

    def seconds(count: int) -> float:
        replicas = {
            f"r{number}": Serving(100.0 * (1 + number % 4), queue=1.0) for number in range(count)
        }
        play = Play()
        for _ in range(4):
            play.step(replicas)
        found = []
        for _ in range(3):
            play.now += 0.5
            begin = time.process_time()
            play.decide()
            found.append(time.process_time() - begin)
        return min(found)

    few, many = seconds(100), seconds(3_000)
    assert many < 30 * few


def test_a_pool_that_parts_its_requests_is_parted_only_where_it_may_be() -> None:
    from tests.balancing.pools import settings_of

    fast_and_slow = pool(400, 400, *(100.0,) * 6, batch=(1_000.0, 0.05), texts=10.0)
    allowed = Play(sizes=sampled()).run(fast_and_slow, 30)
    assert {each.name for each in allowed.classes} == {"", "bulk"}
    assert Play(sizes=sampled(bulk=False)).run(fast_and_slow, 30).classes == ()
    for balancing in (
        {"long_requests": "any-replica"},
        {"policy": "weighted-least-request"},
    ):
        play = Play(settings_of(**balancing), sizes=sampled())
        assert play.run(fast_and_slow, 30).classes == ()
