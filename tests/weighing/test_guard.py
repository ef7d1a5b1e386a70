from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.settings import PoolSettings
from controlplane.settings.memory import MemorySettings
from controlplane.signals import GpuMemory
from controlplane.weighing import ReplicaInput, explain, gpu_use, weigh
from controlplane.weighing.guard import most_cuts
from tests.weighing.pools import INTERVAL, SETTINGS, replica, rounds, settled, weights, window

PATIENCE = 15.0


def with_memory(fractions: dict[str, float | None]) -> list[ReplicaInput]:
    return [replica(id_, memory=fraction) for id_, fraction in fractions.items()]


def cut(fractions: dict[str, float | None]) -> set[str]:
    weighing = settled(with_memory(fractions))
    return {id_ for id_, weighed in weighing.replicas.items() if weighed.drained}


def test_full_weight_below_soft() -> None:
    assert weights(settled(with_memory({"a": 0.89, "b": 0.1}))) == {"a": 1000, "b": 1000}


def test_between_soft_and_hard_the_weight_falls_in_a_straight_line() -> None:
    weighing = settled(with_memory({"a": 0.93, "b": 0.5, "c": 0.5, "d": None}))
    assert weighing.replicas["a"].state.relative < 4 / 7
    assert "GPU memory 93 % is between soft 90 % and hard 97 %: ×0.57" in explain(
        weighing.replicas["a"].steps
    )


def test_at_hard_a_replica_is_cut_at_once_and_keeps_a_weight() -> None:
    inputs = with_memory({"a": 0.99, "b": 0.5, "c": 0.5, "d": 0.5})
    weighed = weigh(None, SETTINGS, inputs, 0.0).replicas["a"]
    assert weighed.drained
    assert weighed.share == 0
    assert weighed.weight >= 1


def test_memory_that_is_not_reported_is_neither_full_nor_empty() -> None:
    assert cut({"a": None, "b": None, "c": 0.2, "d": 0.2}) == set()


def test_a_cut_ends_after_three_windows_below_soft() -> None:
    full = settled(with_memory({"a": 0.99, "b": 0.5, "c": 0.5}))
    back = rounds(with_memory({"a": 0.8, "b": 0.5, "c": 0.5}), 40, full)
    returned = next(w.at for w in back if not w.replicas["a"].drained)
    assert returned - back[0].at == PATIENCE


def test_a_cut_does_not_end_between_soft_and_hard() -> None:
    full = settled(with_memory({"a": 0.99, "b": 0.5, "c": 0.5}))
    assert settled(with_memory({"a": 0.91, "b": 0.5, "c": 0.5}), full).replicas["a"].drained


def test_a_window_above_soft_starts_the_wait_anew() -> None:
    low, high = with_memory({"a": 0.8, "b": 0.5}), with_memory({"a": 0.91, "b": 0.5})
    weighing = settled(with_memory({"a": 0.99, "b": 0.5}))
    weighing = rounds(high, 1, rounds(low, 25, weighing)[-1])[-1]
    assert rounds(low, 25, weighing)[-1].replicas["a"].drained


def test_memory_that_is_no_longer_reported_does_not_end_a_cut() -> None:
    full = settled(with_memory({"a": 0.99, "b": 0.5}))
    assert settled(with_memory({"a": None, "b": 0.5}), full).replicas["a"].drained


def test_a_restart_ends_a_cut() -> None:
    full = settled(with_memory({"a": 0.99, "b": 0.5}))
    inputs = with_memory({"a": None, "b": 0.5})
    inputs[0] = replace(inputs[0], generation=1)
    assert not weigh(full, SETTINGS, inputs, full.at + INTERVAL).replicas["a"].drained


@pytest.mark.parametrize(
    ("ready", "most"), [(0, 0), (1, 0), (2, 1), (3, 1), (6, 1), (7, 2), (10, 3), (100, 30)]
)
def test_of_so_many_replicas_at_most_so_many_are_cut(ready: int, most: int) -> None:
    assert most_cuts(ready) == most


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=14))
def test_never_more_of_a_pool_is_cut_than_it_can_spare(fractions: list[float | None]) -> None:
    inputs = with_memory({f"r{i}": fraction for i, fraction in enumerate(fractions)})
    weighing = rounds(inputs, 3)[-1]
    assert sum(each.drained for each in weighing.replicas.values()) <= most_cuts(len(fractions))
    assert sum(each.share or 0 for each in weighing.replicas.values()) == pytest.approx(1)


def test_when_too_many_are_full_the_fullest_are_cut() -> None:
    assert cut({"a": 0.98, "b": 0.99, "c": 0.975, "d": 0.98}) == {"b"}


def test_one_that_may_not_be_cut_is_left_with_little() -> None:
    weighing = settled(with_memory({"a": 0.98, "b": 0.99, "c": 0.5, "d": 0.5}))
    assert weights(weighing)["a"] == 50


def test_replicas_on_one_gpu_share_its_guard() -> None:
    on_gpu = replace(window(), memory=(GpuMemory("GPU-1", 99, 100),))
    inputs = [
        ReplicaInput("a", window=on_gpu, age=0.0),
        *(ReplicaInput(id_, window=window(), age=0.0, gpu_uuid="GPU-1") for id_ in "b"),
        *(replica(f"r{i}") for i in range(8)),
    ]
    weighing = weigh(None, SETTINGS, inputs, 0.0)
    assert {id_ for id_, each in weighing.replicas.items() if each.drained} == {"a", "b"}


def test_a_gpu_is_as_full_as_a_replica_of_another_pool_reports() -> None:
    other = PoolSettings.model_validate({"model": "n", "listener": {"address": "127.0.0.1:10001"}})
    reporting = replace(window(), memory=(GpuMemory("GPU-1", 99, 100),))
    theirs = [ReplicaInput("x", window=reporting, age=0.0)]
    ours = [ReplicaInput("a", window=window(), age=0.0, gpu_uuid="GPU-1"), replica("b")]
    use = gpu_use([(SETTINGS, ours), (other, theirs)])
    assert use == {"GPU-1": 0.99}
    assert weigh(None, SETTINGS, ours, 0.0, use).replicas["a"].drained
    assert not weigh(None, SETTINGS, ours, 0.0).replicas["a"].drained


def test_memory_that_was_reported_long_ago_says_nothing() -> None:
    inputs = [replace(each, age=INTERVAL * 11) for each in with_memory({"a": 0.99})]
    assert (
        not weigh(None, SETTINGS, [*inputs, replica("b"), replica("c")], 0.0).replicas["a"].drained
    )


def test_what_a_replica_would_get_does_not_change_while_it_is_cut() -> None:
    others: dict[str, float | None] = {"b": 0.5, "c": 0.5, "d": 0.5}
    nearly = settled(with_memory({"a": 0.96, **others}))
    full = settled(with_memory({"a": 0.99, **others}), nearly)
    assert full.replicas["a"].state.relative == nearly.replicas["a"].state.relative


def test_a_replica_may_have_limits_of_its_own() -> None:
    own = MemorySettings(soft=0.98, hard=0.99)
    inputs = with_memory({"a": 0.975, "b": 0.975, "c": 0.5, "d": 0.5, "e": 0.5, "f": 0.5, "g": 0.5})
    inputs[0] = replace(inputs[0], memory=own)
    weighing = settled(inputs)
    assert {id_ for id_, each in weighing.replicas.items() if each.drained} == {"b"}
    assert weights(weighing)["a"] == weights(weighing)["c"]
    assert not any("memory" in sentence for sentence in explain(weighing.replicas["a"].steps))
