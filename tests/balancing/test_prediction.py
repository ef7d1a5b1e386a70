"""The p99 of a class on some replicas: what must hold of it whatever its numbers are."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.balancing.prediction import NEVER, Flow, Group, fixed, percentile, wait

SEARCH = Flow(rate=100.0, mean=16.0, square=256.0, long=16.0)
BULK = Flow(rate=1.0, mean=2_000.0, square=4e6, long=2_000.0)
BATCHING = Group(4, capacity=2_700.0, start=0.015, budget=4_096.0, slots=1.0, are_batches=True)
SLOTS = Group(4, capacity=2_700.0, start=0.0, budget=1.0, slots=2.0, are_batches=False)

groups = st.builds(
    Group,
    count=st.integers(1, 40),
    capacity=st.floats(100, 1e6),
    start=st.floats(0, 0.1),
    budget=st.floats(512, 65_536),
    slots=st.sampled_from([1.0, 2.0, 8.0]),
    are_batches=st.booleans(),
)
flows = st.builds(
    lambda rate, mean, spread: Flow(rate, mean, mean**2 * spread, mean * spread),
    st.floats(0.001, 1e4),
    st.floats(1, 1e4),
    st.floats(1, 20),
)


def at(group: Group, load: float, flow: Flow) -> Flow:
    """So much of a flow that each replica of a group is so busy."""
    return replace(flow, rate=load * group.capacity / flow.mean)


def waited(group: Group, flow: Flow, dispatchers: int) -> float:
    return wait(group, flow, group.batch(flow), dispatchers)


@given(groups, flows, st.integers(1, 50))
def test_more_load_is_more_wait(group: Group, flow: Flow, dispatchers: int) -> None:
    found = [waited(group, at(group, load, flow), dispatchers) for load in (0.1, 0.4, 0.7, 0.9)]
    for less, more in pairwise(found):
        assert more >= less * (1 - 1e-9)


@given(groups, flows)
def test_next_to_no_load_is_no_wait(group: Group, flow: Flow) -> None:
    many = replace(group, count=40, slots=8.0)
    assert waited(many, at(many, 1e-30, flow), 12) == pytest.approx(0.0, abs=1e-6)


def test_a_queue_grows_without_bound_as_its_server_fills() -> None:
    """As 1 / (1 - load), beside what chance makes of its percentiles."""
    one = replace(SLOTS, count=1, slots=1.0)
    found = [waited(one, at(one, load, SEARCH), 1) for load in (0.5, 0.9, 0.96)]
    assert found[1] > 5 * found[0]
    assert found[2] > 2 * found[1]


@given(groups, flows)
def test_more_dispatchers_are_more_wait(group: Group, flow: Flow) -> None:
    each = at(group, 0.8, flow)
    found = [waited(group, each, dispatchers) for dispatchers in (1, 2, 12, 50)]
    for less, more in pairwise(found):
        assert more >= less * (1 - 1e-9)


@given(groups, flows)
def test_a_group_waits_no_longer_than_one_of_fewer_replicas(group: Group, flow: Flow) -> None:
    each = at(group, 0.8, flow)
    fewer = replace(group, count=1)
    assert waited(group, each, 1) <= waited(fewer, each, 1) * (1 + 1e-9)


@given(groups, flows)
def test_a_queue_that_only_grows_never_ends(group: Group, flow: Flow) -> None:
    assert waited(group, at(group, 1.0, flow), 1) == NEVER
    full = at(group, 1.2, flow)
    all_of_it = replace(full, rate=full.rate * group.count)
    assert percentile([group], [1.0], all_of_it, flow, 1, short=False) == NEVER


@given(groups, flows, st.booleans())
def test_a_percentile_is_a_finite_time_that_is_no_shorter_than_the_request(
    group: Group,
    flow: Flow,
    short: bool,  # noqa: FBT001
) -> None:
    each = at(group, 0.5, flow)
    all_of_it = replace(each, rate=each.rate * group.count)
    found = percentile([group], [1.0], all_of_it, flow, 1, short=short)
    assert math.isfinite(found)
    assert found >= 0.99 * min(
        fixed(group, group.batch(each), flow, short=short), group.own(flow.long)
    )


@given(groups, flows)
def test_faster_replicas_are_faster(group: Group, flow: Flow) -> None:
    each = at(group, 0.8, flow)
    faster = replace(group, capacity=2 * group.capacity, start=group.start / 2)
    assert waited(faster, each, 1) <= waited(group, each, 1)
    assert faster.own(flow.long) <= group.own(flow.long) * (1 + 1e-9)


def test_searches_among_bulk_take_longer_than_alone() -> None:
    for group in (BATCHING, SLOTS):
        together = SEARCH.plus(BULK)
        alone = percentile([group], [1.0], SEARCH, SEARCH, 4, short=True)
        mixed = percentile([group], [1.0], together, SEARCH, 4, short=True)
        assert mixed > 2 * alone


def test_groups_without_a_share_say_nothing() -> None:
    full = replace(BATCHING, capacity=1.0)
    one = percentile([BATCHING], [1.0], SEARCH, SEARCH, 1, short=True)
    two = percentile([BATCHING, full], [1.0, 0.0], SEARCH, SEARCH, 1, short=True)
    assert one == two
    assert percentile([BATCHING], [0.0], SEARCH, SEARCH, 1, short=True) == 0


def test_two_groups_are_between_the_better_and_the_worse() -> None:
    slow = replace(BATCHING, capacity=BATCHING.capacity / 4)
    (fast_p99, slow_p99), both = (
        (percentile([each], [1.0], BULK, BULK, 1, short=False) for each in (BATCHING, slow)),
        percentile([BATCHING, slow], [0.5, 0.5], replace(BULK, rate=2.0), BULK, 1, short=False),
    )
    assert fast_p99 < both <= slow_p99 * 1.01


def test_flows_add_up() -> None:
    both = SEARCH.plus(BULK)
    assert both.rate == 101
    assert both.tokens == pytest.approx(SEARCH.tokens + BULK.tokens)
    assert both.square == pytest.approx((100 * 256 + 4e6) / 101)
    assert both.part(0.5).tokens == pytest.approx(both.tokens / 2)
    nothing = replace(SEARCH, rate=0.0)
    assert nothing.plus(nothing) == nothing


def test_batches_grow_with_load_up_to_the_budget() -> None:
    sizes = [BATCHING.batch(at(BATCHING, load, SEARCH)) for load in (0.0, 0.3, 0.6, 0.9, 5.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] == pytest.approx(BATCHING.own(SEARCH.mean))
    assert sizes[-1] == pytest.approx(BATCHING.start + BATCHING.per_token * BATCHING.budget)
