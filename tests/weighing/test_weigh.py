from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.settings import PoolSettings
from controlplane.signals import GpuMemory, Window
from controlplane.weighing import ReplicaInput, Weighing, explain, weigh
from tests.weighing.pools import INTERVAL, SETTINGS, pool, replica, rounds, settled, weights

windows = st.builds(
    Window,
    at=st.floats(0, 10),
    seconds=st.floats(0, 60),
    samples=st.floats(0, 1e6),
    errors=st.floats(0, 1e6),
    rate=st.floats(0, 1e6),
    latency=st.one_of(st.none(), st.floats(0, 1e6)),
    p99=st.one_of(st.none(), st.floats(0, 1e6)),
    resolution=st.sampled_from(["ok", "first bucket", "last bucket"]),
    in_flight=st.floats(0, 1e6),
    error_fraction=st.floats(0, 1),
    memory=st.sampled_from(
        [(), (GpuMemory("g", 99, 100),), (GpuMemory(None, 93, 100),), (GpuMemory("h", 1, 100),)]
    ),
)
replicas = st.builds(
    ReplicaInput,
    id=st.sampled_from("abcdefgh"),
    slots=st.integers(1, 64),
    generation=st.integers(0, 1),
    window=st.one_of(st.none(), windows),
    age=st.one_of(st.none(), st.floats(0, 20 * INTERVAL)),
    gpu_uuid=st.sampled_from([None, "g", "h"]),
    ready=st.booleans(),
)
pools = st.lists(replicas, max_size=8, unique_by=lambda each: each.id)
histories = st.lists(st.tuples(st.floats(0, 3), pools), min_size=1, max_size=5)
OBJECTIVE = PoolSettings.model_validate(
    {"model": "m", "listener": {"address": "127.0.0.1:10000"}, "objective": {"p99": "250ms"}}
)


def weighed_in_turn(history: list[tuple[float, list[ReplicaInput]]]) -> Weighing:
    weighing, now = None, 0.0
    for passed, inputs in history:
        now += passed
        weighing = weigh(weighing, OBJECTIVE, inputs, now)
    assert weighing is not None
    return weighing


@given(histories)
def test_whatever_was_reported_every_weight_is_positive_and_bounded(
    history: list[tuple[float, list[ReplicaInput]]],
) -> None:
    weighing = weighed_in_turn(history)
    inputs = {each.id: each for each in history[-1][1]}
    assert weighing.replicas.keys() == inputs.keys()
    for id_, weighed in weighing.replicas.items():
        assert 50 <= weighed.weight <= 10_000
        assert weighed.share is not None
        assert 0 <= weighed.share <= 1
        assert weighed.capacity is None or 0 < weighed.capacity < float("inf")
        assert all(explain(weighed.steps)), id_
    serving = [
        weighed
        for id_, weighed in weighing.replicas.items()
        if inputs[id_].ready and not weighed.drained
    ]
    assert bool(serving) == any(each.ready for each in inputs.values())
    if serving:
        assert sum(each.share or 0 for each in weighing.replicas.values()) == pytest.approx(1)


@given(histories, st.permutations("abcdefgh"))
def test_the_order_of_replicas_does_not_matter(
    history: list[tuple[float, list[ReplicaInput]]], order: list[str]
) -> None:
    shuffled = [
        (passed, sorted(inputs, key=lambda each: order.index(each.id)))
        for passed, inputs in history
    ]
    assert weighed_in_turn(history) == weighed_in_turn(shuffled)


@given(windows, st.lists(st.floats(0, 2), min_size=1, max_size=6))
def test_equal_replicas_get_exactly_equal_weights(seen: Window, waits: list[float]) -> None:
    inputs = [ReplicaInput(id_, window=replace(seen, memory=()), age=0.0) for id_ in "abcde"]
    weighing = weighed_in_turn([(wait, inputs) for wait in waits])
    assert len(set(weights(weighing).values())) == 1
    assert len({each.tier for each in weighing.replicas.values()}) == 1


@pytest.mark.parametrize("times", [0.3, 7.0, 1e3])
@pytest.mark.parametrize("capacities", [(100, 100, 400), (25, 100, 100, 400), (100, 1000)])
def test_what_counts_is_how_replicas_compare(capacities: tuple[float, ...], times: float) -> None:
    ours = weights(settled(pool(*capacities), seconds=60))
    theirs = weights(settled(pool(*(each * times for each in capacities)), seconds=60))
    # What Envoy was told is held within the dead band, on either side.
    assert theirs == pytest.approx(ours, rel=0.12)


def test_a_pool_without_any_samples_is_equal() -> None:
    weighing = weigh(None, SETTINGS, [ReplicaInput(id_) for id_ in "abc"], 0.0)
    assert weights(weighing) == dict.fromkeys("abc", 1000)
    assert {each.capacity for each in weighing.replicas.values()} == {None}


def test_a_new_replica_without_samples_gets_the_pools_median() -> None:
    weighing = settled(pool(100, 100, 100))
    weighed = weigh(
        weighing, SETTINGS, [*pool(100, 100, 100), ReplicaInput("z")], weighing.at
    ).replicas["z"]
    assert weighed.weight == 1000
    assert weighed.capacity == pytest.approx(100)
    assert "no requests were measured: it gets the pool's median" in explain(weighed.steps)


def test_a_restarted_replica_starts_from_the_median() -> None:
    slow = settled(pool(100, 100, 100, 10))
    inputs = [*pool(100, 100, 100), ReplicaInput("d", generation=1, age=0.0)]
    assert weigh(slow, SETTINGS, inputs, slow.at + INTERVAL).replicas["d"].weight == 1000


def test_a_replica_that_is_not_ready_gets_no_share_and_moves_no_median() -> None:
    inputs = [replace(replica(f"x{i}", 1), ready=False) for i in range(5)]
    weighing = settled([*pool(100, 100), *inputs])
    assert weights(weighing)["a"] == 1000
    assert weighing.replicas["x0"].share == 0
    assert weighing.replicas["a"].share == 0.5


def test_a_replica_ten_times_slower_is_near_a_tenth_within_three_windows() -> None:
    before = settled(pool(100, 100, 100, 100))
    slow = rounds(pool(100, 100, 100, 10), int(15 / INTERVAL), before)[-1]
    assert 50 <= weights(slow)["d"] <= 100


def test_a_replica_that_fails_is_weighed_less_than_one_that_does_not() -> None:
    failing = replica("d", 1000)
    assert failing.window is not None
    failing = replace(failing, window=replace(failing.window, errors=800, error_fraction=0.8))
    weighing = settled([*pool(100, 100, 100), failing])
    assert weights(weighing)["d"] < weights(weighing)["a"] * 10 * 0.2


def test_an_empty_pool_has_an_empty_weighing() -> None:
    assert weigh(None, SETTINGS, [], 0.0).replicas == {}


def test_an_operator_reads_every_step_that_mattered() -> None:
    inputs = [*pool(100, 100, 100), replica("d", 40, memory=0.93)]
    sentences = explain(settled(inputs).replicas["d"].steps)
    assert sentences[0].startswith("estimated 40.0 requests/s from ")
    assert sentences[0].endswith("mean latency 50 ms at 1.00 in flight of 1 slot")
    assert "GPU memory 93 % is between soft 90 % and hard 97 %: ×0.57" in sentences
    assert "0.23 × the pool's median" in sentences
    assert any("the faster a replica, the less it keeps in reserve: ×0." in it for it in sentences)
    assert sentences[-1] == "in tier-10"


def test_a_replica_that_is_said_to_be_absurdly_fast_gets_little_more_and_a_bounded_share() -> None:
    before = settled(pool(100, 100, 100, 100))
    lying = rounds(pool(100, 100, 100, 1e6), 120, before)
    for old, new in pairwise([before, *lying]):
        assert weights(new)["d"] <= 1.5 * weights(old)["d"] * 1.01
    assert weights(lying[-1])["d"] <= 10_000
    ten = settled(pool(*(100.0,) * 9, 1e6), seconds=90).replicas["j"]
    assert ten.share is not None
    assert ten.share <= 0.53


def test_a_tier_of_one_is_not_said_to_have_others() -> None:
    (alone,) = weigh(None, SETTINGS, pool(100), 0.0).replicas.values()
    assert alone.steps[-1].words == f"in {alone.tier}"
    one, _ = weigh(None, SETTINGS, pool(100, 100), 0.0).replicas.values()
    assert "with 1 other, at their mean" in one.steps[-1].words
