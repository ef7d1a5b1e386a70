"""Whoever changes the fleet tells what has changed: no more, and no less."""

from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import Config
from controlplane.fleet import (
    Applied,
    Change,
    Command,
    DeletePool,
    DeleteReplica,
    Draft,
    Drain,
    Draining,
    Fleet,
    Heartbeat,
    PutPool,
    PutReplicas,
    Refused,
    Replica,
    Undrain,
    apply,
    declare,
    discover,
    expire,
    whole,
)
from tests.fleet.fleets import (
    a_pool,
    after,
    declared,
    differences,
    file,
    pool_settings,
    put,
    replica_settings,
)


def told(applied: Applied) -> list[tuple[str, str, str | None]]:
    return [(change.kind, change.pool, change.replica) for change in applied.changes]


def test_a_fleet_as_a_whole_is_added() -> None:
    assert told(whole(a_pool(a=1))) == [("added", "p", None), ("added", "p", "a")]


def test_a_pool_takes_its_replicas_with_it_without_a_word_about_each() -> None:
    assert told(apply(a_pool(a=1, b=2), DeletePool("p"), 0.0)) == [("removed", "p", None)]


def test_a_file_tells_of_all_that_it_changes_removals_first() -> None:
    fleet = declared(file(p={"a": 1, "b": 2, "c": 3, "e": 5, "f": 6}))
    assert told(declare(fleet, file(p={"a": 4, "c": 3, "d": 7, "e": 5, "f": 6}), 0.0)) == [
        ("removed", "p", "b"),
        ("changed", "p", "a"),
        ("added", "p", "d"),
    ]


def test_settings_of_a_pool_are_its_own() -> None:
    applied = apply(a_pool(a=1), PutPool("p", pool_settings(model="x")), 0.0)
    assert told(applied) == [("changed", "p", None)]


def test_a_drained_replica_is_changed_and_says_how() -> None:
    (one,) = apply(a_pool(a=1), Drain("p", "a"), 0.0).changes
    assert isinstance(one.before, Replica)
    assert isinstance(one.after, Replica)
    assert (one.before.draining, one.after.draining) == (None, Draining.OPERATOR)


def test_the_same_again_and_a_renewed_lease_are_no_change() -> None:
    fleet = after(put("a", 1, ttl="30s"), fleet=a_pool())
    for command in (put("a", 1, ttl="30s"), Heartbeat("p", "a")):
        applied = apply(fleet, command, 20.0)
        assert applied.fleet != fleet
        assert told(applied) == []


def test_many_put_at_once_may_swap_their_addresses() -> None:
    swapped = {"a": replica_settings(2), "b": replica_settings(1)}
    applied = apply(a_pool(a=1, b=2), PutReplicas("p", swapped), 0.0)
    assert told(applied) == [("changed", "p", "a"), ("changed", "p", "b")]
    generations = {
        id_: replica.generation for id_, replica in applied.fleet.pool("p").replicas.items()
    }
    assert generations == {"a": 3, "b": 4}


IDS, PORTS, POOLS = st.sampled_from("abc"), st.integers(1, 5), st.sampled_from("pq")
STEPS = st.one_of(
    st.builds(lambda pool, port: PutPool(pool, pool_settings(port)), POOLS, PORTS),
    st.builds(lambda pool, id_, port: put(id_, port, pool=pool), POOLS, IDS, PORTS),
    st.builds(lambda pool, id_, port: put(id_, port, pool=pool, ttl="9s"), POOLS, IDS, PORTS),
    st.sampled_from([DeletePool("p"), DeletePool("q")]),
    st.builds(DeleteReplica, POOLS, IDS, st.booleans()),
    st.builds(Drain, POOLS, IDS),
    st.builds(Undrain, POOLS, IDS),
    st.builds(Heartbeat, POOLS, IDS),
    st.dictionaries(IDS, PORTS, max_size=3),
    st.floats(1.0, 20.0),
    st.sampled_from([file(), file(p={"a": 1, "b": 2}), file(p={"b": 1}, q={"a": 3})]),
)


@given(st.lists(STEPS, max_size=12))
def test_what_is_told_is_by_what_two_fleets_differ(
    steps: list[Command | Config | dict[str, int] | float],
) -> None:
    fleet, now = Fleet(), 0.0
    for step in steps:
        try:
            applied = taken(fleet, step, now)
        except Refused:
            continue
        now += step if isinstance(step, float) else 0.0
        assert set(map(id_of, applied.changes)) == set(
            map(id_of, differences(fleet, applied.fleet))
        )
        removals = [change.after is None for change in applied.changes]
        assert removals == sorted(removals, reverse=True)
        fleet = applied.fleet


def taken(fleet: Fleet, step: Command | Config | dict[str, int] | float, now: float) -> Applied:
    if isinstance(step, Config):
        return declare(fleet, step, now)
    if isinstance(step, float):
        return expire(fleet, now + step, looked=now)
    if isinstance(step, dict):
        draft = Draft(fleet)
        found = {id_: replica_settings(port) for id_, port in step.items()}
        discover(draft, "p", {"dns": found}, lambda _: True, now)
        return draft.applied()
    return apply(fleet, step, now)


def id_of(change: Change) -> tuple[str, str | None, int, int]:
    return change.pool, change.replica, id(change.before), id(change.after)
