"""What was declared otherwise before."""

from controlplane.fleet import (
    DeletePool,
    DeleteReplica,
    Drain,
    Draining,
    Fleet,
    Heartbeat,
    PutPool,
    PutReplicas,
    Replica,
    differences,
)
from tests.fleet.fleets import a_pool, after, pool_settings, put, replica_settings


def found(before: Fleet, after_: Fleet) -> list[tuple[str, str, str | None]]:
    return [(it.kind, it.pool, it.replica) for it in differences(before, after_)]


def test_a_new_pool_and_its_replicas_are_added() -> None:
    assert found(Fleet(), a_pool(a=1)) == [("added", "p", None), ("added", "p", "a")]


def test_a_pool_takes_its_replicas_with_it_without_a_word_about_each() -> None:
    fleet = a_pool(a=1, b=2)
    assert found(fleet, after(DeletePool("p"), fleet=fleet)) == [("removed", "p", None)]


def test_only_what_differs_is_named() -> None:
    fleet = a_pool(a=1, b=2, c=3)
    changed = after(put("d", 4), put("a", 1, slots=2), DeleteReplica("p", "b"), fleet=fleet)
    assert found(fleet, changed) == [
        ("removed", "p", "b"),
        ("changed", "p", "a"),
        ("added", "p", "d"),
    ]


def test_settings_of_a_pool_are_its_own() -> None:
    fleet = a_pool(a=1)
    changed = after(PutPool("p", pool_settings(model="x")), fleet=fleet)
    assert found(fleet, changed) == [("changed", "p", None)]


def test_a_drained_replica_differs_and_says_how() -> None:
    fleet = a_pool(a=1)
    (one,) = differences(fleet, after(Drain("p", "a"), fleet=fleet))
    assert isinstance(one.before, Replica)
    assert isinstance(one.after, Replica)
    assert (one.before.draining, one.after.draining) == (None, Draining.OPERATOR)


def test_the_same_again_and_a_renewed_lease_are_no_difference() -> None:
    fleet = after(put("a", 1, ttl="30s"), fleet=a_pool())
    again = after(put("a", 1, ttl="30s"), Heartbeat("p", "a"), fleet=fleet, now=20.0)
    assert again != fleet
    assert found(fleet, again) == []


def test_many_put_at_once_may_swap_their_addresses() -> None:
    fleet = a_pool(a=1, b=2)
    swapped = {"a": replica_settings(2), "b": replica_settings(1)}
    changed = after(PutReplicas("p", swapped), fleet=fleet)
    assert found(fleet, changed) == [("changed", "p", "a"), ("changed", "p", "b")]
    generations = {id_: it.generation for id_, it in changed.pool("p").replicas.items()}
    assert generations == {"a": 3, "b": 4}
