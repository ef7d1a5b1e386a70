"""Rows of replicas that come and go."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.balancing import ENVOYS, InFlight, ReplicaInput, Table
from tests.balancing.pools import Play, Serving, capacities, pool, tiers, weights

IDS = "abcdefghijkl"


def test_a_row_is_used_again_and_nothing_is_left_in_it() -> None:
    table = Table()
    row = table.put(ReplicaInput("a", slots=4, gpu_uuid="g", in_flight=_bulk(5.0)))
    table.remove("a")
    assert table.put(ReplicaInput("b", slots=None)) == row
    assert np.isnan(table.column("slots")[row])
    assert table.in_flight("bulk")[row] == 0
    assert [*table.with_memory()] == []
    assert "a" not in table
    assert len(table) == 1


def _bulk(count: float) -> tuple[InFlight, ...]:
    return (InFlight(ENVOYS, count, 1.0, by_class={"bulk": count}),)


def test_a_class_that_is_reported_no_more_is_nothing_in_flight() -> None:
    table = Table([ReplicaInput("a", in_flight=_bulk(5.0))])
    assert table.in_flight("bulk").sum() == 5
    table.put(ReplicaInput("a", in_flight=(InFlight(ENVOYS, 5.0, 1.0),)))
    assert table.in_flight("bulk").sum() == 0


def _ended(id_: str, at: float, **ended: float) -> ReplicaInput:
    return ReplicaInput(id_, in_flight=(InFlight(ENVOYS, 0.0, at, ended=ended),))


def test_each_replica_has_the_length_of_the_classes_that_it_serves() -> None:
    table = Table([_ended(id_, 1.0, a=100, b=100) for id_ in "xyz"])
    for id_, ended in (("x", {"a": 150, "b": 100}), ("y", {"a": 110, "b": 110})):
        table.put(_ended(id_, 2.0, **ended))
    lengths = table.mean_by_class({"a": 10.0, "b": 1_000.0})
    assert lengths[table.rows["x"]] == 10
    assert lengths[table.rows["y"]] == 505
    assert np.isnan(lengths[table.rows["z"]])
    assert np.isnan(table.mean_by_class({"a": 10.0})).all()


def test_a_replica_that_serves_another_class_now_has_its_length_soon() -> None:
    table = Table([_ended("x", 1.0, a=0, b=0)])
    table.put(_ended("x", 2.0, a=1_000, b=0))
    table.put(_ended("x", 3.0, a=1_000, b=20))
    assert table.mean_by_class({"a": 10.0, "b": 1_000.0})[table.rows["x"]] > 950


def test_requests_have_come_when_they_are_in_flight() -> None:
    table = Table([ReplicaInput("x", in_flight=(InFlight(ENVOYS, 5.0, 1.0, ended={"": 100}),))])
    table.put(ReplicaInput("x", in_flight=(InFlight(ENVOYS, 45.0, 2.0, ended={"": 110}),)))
    assert table.come() == {"": 50}


def test_requests_that_an_envoy_forgets_with_its_host_have_come_all_the_same() -> None:
    table = Table([ReplicaInput("x", in_flight=(InFlight(ENVOYS, 5.0, 1.0, ended={"": 100}),))])
    table.put(ReplicaInput("x", in_flight=(InFlight(ENVOYS, 45.0, 2.0, ended={"": 110}),)))
    table.put(ReplicaInput("x", in_flight=(InFlight(ENVOYS, 0.0, 3.0, ended={"": 110}),)))
    table.put(ReplicaInput("x", in_flight=(InFlight(ENVOYS, 3.0, 4.0, ended={"": 112}),)))
    assert table.come() == {"": 55}


def test_what_was_counted_before_a_class_appears_at_a_replica_has_not_just_come() -> None:
    table = Table([_ended(id_, 1.0, a=100) for id_ in "xy"])
    for at, id_ in ((2.0, "x"), (3.0, "y")):
        table.put(_ended(id_, at, a=100, b=500))
    assert table.come() == {"a": 0, "b": 0}
    table.remove("x")
    table.put(_ended("y", 4.0, a=101, b=502))
    assert table.come() == {"a": 1, "b": 2}


def test_nothing_is_mixed_of_a_replica_that_began_anew() -> None:
    table = Table([_ended("x", 1.0, a=5, b=5)])
    table.put(_ended("x", 2.0, a=9, b=9)._replace(generation=1))
    assert np.isnan(table.mean_by_class({"a": 1.0, "b": 2.0})).all()


def test_a_table_grows_and_keeps_what_is_in_it() -> None:
    table = Table(ReplicaInput(f"r{i}", slots=i + 1) for i in range(100))
    assert len(table) == 100
    slots = table.column("slots")
    assert all(slots[table.rows[f"r{i}"]] == i + 1 for i in range(100))
    assert table.alive.sum() == 100


def test_a_copy_is_changed_apart() -> None:
    table = Table([ReplicaInput("a", slots=1, in_flight=_bulk(1.0))])
    other = table.copy()
    other.put(ReplicaInput("a", slots=2, in_flight=_bulk(2.0)))
    other.put(ReplicaInput("b"))
    other.remove("a")
    assert table.rows.keys() == {"a"}
    assert table.column("slots")[0] == 1
    assert table.in_flight("bulk")[0] == 1


def test_removing_whom_nobody_knows_is_nothing() -> None:
    table = Table()
    table.remove("a")
    assert len(table) == 0


@given(st.lists(st.tuples(st.sampled_from(IDS), st.booleans()), max_size=60))
def test_each_replica_has_a_row_of_its_own(steps: list[tuple[str, bool]]) -> None:
    table, present = Table(), {}
    for number, (id_, stays) in enumerate(steps):
        if stays:
            present[id_] = number
            table.put(ReplicaInput(id_, slots=number + 1))
        else:
            present.pop(id_, None)
            table.remove(id_)
        assert table.rows.keys() == present.keys()
        assert len({*table.rows.values()}) == len(present)
        assert int(table.alive.sum()) == len(present)
        for each, slots in present.items():
            assert table.column("slots")[table.rows[each]] == slots + 1


servings = st.builds(
    Serving,
    capacity=st.sampled_from([20.0, 100.0, 400.0]),
    memory=st.sampled_from([None, 0.5, 0.93, 0.99]),
    queue=st.sampled_from([None, 1.0, 500.0]),
    failing=st.sampled_from([0.0, 0.0, 0.3]),
    batch=st.sampled_from([None, None, (1_000.0, 0.05)]),
)


@settings(max_examples=12)
@given(
    st.lists(st.dictionaries(st.sampled_from(IDS), servings, max_size=8), min_size=2, max_size=5)
)
def test_nothing_of_a_row_is_passed_on_to_its_next_replica(
    phases: list[dict[str, Serving]],
) -> None:
    """Replicas come and go at random; those of the end, all of them new, decide as if alone."""
    old, fresh = Play(), Play()
    for phase in phases:
        old.run(phase, 4)
    # All have left, and the pool as a whole has forgotten: what remains is in rows.
    old.run({}, 1)
    assert old.decision is not None
    first = fresh.step({})
    old.decision = replace(old.decision, pool=first.pool)
    fresh.now = old.now
    fresh.decision = replace(first, at=old.now)
    last = pool(100, 50, 400, 100, memory=0.5, queue=1.0)
    for _ in range(10):
        ours, theirs = old.step(last), fresh.step(last)
        assert weights(ours) == weights(theirs)
        assert capacities(ours) == capacities(theirs)
        assert tiers(ours) == tiers(theirs)
    for id_ in "abcd":
        assert ours.of(id_) == theirs.of(id_)


def test_the_state_of_a_row_is_of_the_replica_that_has_it() -> None:
    """A newcomer in the row of one that was cut, slow and overloaded is a usual replica."""
    play = Play()
    ill = Serving(5, memory=0.99, queue=900.0, failing=0.5)
    play.run({**pool(100, 100, 100, queue=1.0), "x": ill}, 20)
    assert play.decision is not None
    row = play.decision.rows["x"]
    play.step({**pool(100, 100, 100, queue=1.0), "y": Serving(load=0.0)})
    assert play.decision.rows["y"] == row
    assert play.decision.of("y").weight == 1000
    assert not play.decision.of("y").drained
    assert play.decision.of("y").tier == play.decision.of("a").tier
