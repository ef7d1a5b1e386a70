"""After a restart the fleet is what it was, and what the file says by now."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import Config, PoolSettings, validated
from controlplane.fleet import (
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    Draining,
    Fleet,
    PutPool,
    PutReplica,
    Refused,
    Registered,
    Source,
    Undrain,
    keys_of_rows,
    registered,
    restored,
    rows,
)
from tests.fleet.fleets import (
    after,
    applied,
    declared,
    differences,
    discovered,
    expired,
    file,
    pool_settings,
    ports,
    put,
    replica,
    replica_settings,
)

POOL = {"model": "m", "listener": {"address": "127.0.0.1:10000"}}
FILE = file(p={"a": 1, "b": 2})
FOUND = file(p={"a": 1, "b": 2}, sources={"p": ("one", "two")})
"""The same with two folders in which more are found."""


def again(fleet: Fleet, config: Config = FILE, now: float = 0.0) -> Fleet:
    """The fleet after a restart."""
    return restored(registered(fleet), config, now)


def test_without_anything_kept_it_is_the_file() -> None:
    assert restored(Registered(), FILE, 0) == declared(FILE)


def test_what_the_api_added_and_overrode_is_there_again() -> None:
    fleet = after(
        put("a", 1, slots=4),
        put("c", 3),
        PutPool("q", pool_settings(10001)),
        put("x", 9, pool="q"),
        fleet=declared(FILE),
    )
    assert again(fleet) == fleet


def test_a_drained_replica_is_drained_again() -> None:
    fleet = after(Drain("p", "a"), fleet=declared(FILE))
    assert replica(again(fleet)).draining is Draining.OPERATOR


def test_generations_stay_and_go_on() -> None:
    fleet = after(put("c", 3), DeleteReplica("p", "c"), fleet=declared(FILE))
    restarted = again(fleet)
    assert replica(restarted).generation == replica(fleet).generation
    assert replica(after(put("d", 4), fleet=restarted), "d").generation == fleet.generations + 1


def test_a_replica_that_the_file_has_moved_meanwhile_is_another_process() -> None:
    fleet = after(Drain("p", "a"), fleet=declared(FILE))
    moved = again(fleet, file(p={"a": 7, "b": 2}))
    assert (replica(moved).generation, replica(moved).draining) == (fleet.generations + 1, None)
    assert replica(moved, "b").generation == replica(fleet, "b").generation


def test_what_the_file_no_longer_declares_is_gone_however_much_it_is() -> None:
    assert ports(again(declared(FILE), file(p={}))) == {}


def test_an_override_survives_a_file_that_has_changed_meanwhile() -> None:
    fleet = after(put("a", 1, slots=4), fleet=declared(FILE))
    restarted = again(fleet, file(p={"a": 7, "b": 2}))
    assert (ports(restarted)["a"], replica(restarted).settings.slots) == (7, 4)


def test_every_lease_begins_anew() -> None:
    fleet = after(put("c", 3, ttl="30s"), fleet=declared(FILE), now=0)
    assert replica(again(fleet, now=1000), "c").lease_until == 1030


def test_a_lease_that_had_run_out_has_time_for_a_heartbeat() -> None:
    fleet = expired(after(put("c", 3, ttl="30s"), fleet=declared(FILE)), 30)
    restarted = again(fleet, now=5)
    assert replica(restarted, "c").draining is Draining.LEASE
    assert expired(restarted, 34) is restarted


def found(fleet: Fleet, now: float = 0.0, **more: object) -> Fleet:
    """With a replica f that a folder has."""
    sets = {"directory one": {"f": replica_settings(6, **more)}, "directory two": {}}
    return discovered(fleet, "p", sets, lambda _: True, now).fleet


def test_what_was_discovered_is_there_until_its_source_answers() -> None:
    fleet = after(Drain("p", "f"), fleet=found(declared(FOUND), slots=4, instance="x"))
    restarted = again(fleet, FOUND)
    assert restarted == fleet
    assert replica(restarted, "f").found_by == "directory one"
    assert found(restarted, slots=4, instance="x") is restarted
    assert replica(found(restarted, instance="y"), "f").draining is None


def test_what_was_discovered_is_gone_with_its_source() -> None:
    config = file(p={"a": 1, "b": 2}, sources={"p": ("two",)})
    assert ports(again(found(declared(FOUND)), config)) == {"a": 1, "b": 2}
    assert again(found(declared(FOUND)), file()).pools == {}


def test_what_was_discovered_makes_room_for_what_the_file_declares_by_now() -> None:
    fleet = found(declared(FOUND))
    named = file(p={"a": 1, "f": 6}, sources={"p": ("one",)})
    assert replica(again(fleet, named), "f").source is Source.FILE
    assert replica(again(fleet, named), "f").generation == replica(fleet, "f").generation
    moved = file(p={"a": 1, "x": 6}, sources={"p": ("one",)})
    assert ports(again(fleet, moved)) == {"a": 1, "x": 6}


def test_what_was_leaving_goes_on_leaving_and_has_the_time_to_finish() -> None:
    fleet = found(declared(FOUND))
    leaving = discovered(fleet, "p", {"directory one": {}}, lambda _: True, 50.0).fleet
    restarted = again(leaving, FOUND, now=100.0)
    assert replica(restarted, "f").draining is Draining.DISCOVERY
    assert "f" in ports(expired(restarted, 109.0))
    assert "f" not in ports(expired(restarted, 110.0))
    # Once it is declared, no source can have lost it.
    named = file(p={"a": 1, "f": 6})
    assert replica(again(leaving, named), "f").draining is None


def test_another_process_at_the_same_address_is_another_one_after_a_restart_too() -> None:
    def config(instance: str) -> Config:
        (entry,) = file(p={"a": 1}).pools
        named = entry.replicas[0].model_copy(update={"instance": instance})
        return Config(pools=(entry.model_copy(update={"replicas": (named,)}),))

    fleet = after(Drain("p", "a"), fleet=declared(config("x")))
    assert replica(again(fleet, config("x"))) == replica(fleet)
    restarted = replica(again(fleet, config("y")))
    assert (restarted.generation, restarted.draining) == (fleet.generations + 1, None)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (file(p={"c": 9}, r={}, listeners={"p": 10000, "r": 10001}), "listener address"),
        (file(p={"x": 3}, listeners={"p": 10000}), "address 127.0.0.1:3 is that of replica"),
        (file(), "pool 'p' is no longer in the file, but replica 'c' was added to it"),
    ],
)
def test_a_file_that_contradicts_what_the_api_said_is_refused(config: Config, says: str) -> None:
    fleet = after(put("c", 3), PutPool("q", pool_settings(10001)), fleet=declared(FILE))
    with pytest.raises(Refused, match=says):
        again(fleet, config)


POOLS, IDS = st.sampled_from("pqr"), st.sampled_from("abcd")
ANSWERS = st.dictionaries(IDS, st.integers(1, 6), max_size=3).filter(
    lambda this: len(set(this.values())) == len(this)
)
"""Ports by id, as a folder may have them."""
COMMANDS: st.SearchStrategy[Command | Config | dict[str, int]] = st.one_of(
    ANSWERS,
    st.builds(PutPool, POOLS, st.builds(pool_settings, st.integers(10000, 10002))),
    st.builds(DeletePool, POOLS),
    st.builds(
        lambda id_, port, slots, pool: put(id_, port, pool=pool, slots=slots),
        *(IDS, st.integers(1, 4), st.integers(1, 2), POOLS),
    ),
    st.builds(DeleteReplica, POOLS, IDS, st.booleans()),
    st.builds(Drain, POOLS, IDS),
    st.builds(Undrain, POOLS, IDS),
    st.sampled_from(
        [
            FOUND,
            file(p={"a": 2, "b": 1}, sources={"p": ("one",)}),
            file(p={"a": 1}, q={"c": 1}, sources={"p": ("one",)}),
        ]
    ),
)


@given(st.lists(COMMANDS, max_size=12))
def test_whatever_happened_a_restart_changes_nothing_and_each_change_is_written(
    steps: list[Command | Config | dict[str, int]],
) -> None:
    fleet, config, kept = declared(FOUND), FOUND, registered(declared(FOUND))
    for step in steps:
        before = fleet
        try:
            if isinstance(step, Config):
                fleet = declared(step, fleet)
                config = step
            elif isinstance(step, dict):
                answer = {id_: replica_settings(port) for id_, port in step.items()}
                sets = {"directory one": answer}
                fleet = discovered(fleet, "p", sets, lambda _: True, 0.0).fleet
            else:
                fleet = applied(fleet, step, 0.0)
        except Refused:
            assert fleet is before
        kept = written(kept, before, fleet)
        assert kept == registered(fleet)
        assert contents(restored(kept, config, 0.0)) == contents(fleet)
    everything = rows(fleet, None)
    assert everything.everything
    assert (everything.pools, everything.replicas) == (
        registered(fleet).pools,
        registered(fleet).replicas,
    )


def written(kept: Registered, before: Fleet, after: Fleet) -> Registered:
    """What is kept once the changes are written."""
    found = rows(after, set(keys_of_rows(tuple(differences(before, after)))))
    return Registered(
        found.generations,
        {key: item for key, item in {**kept.pools, **found.pools}.items() if item is not None},
        {
            key: each
            for key, each in {**kept.replicas, **found.replicas}.items()
            if each is not None
        },
    )


def contents(fleet: Fleet) -> dict[str, object]:
    """A fleet without the order of things and without what is not meant to be kept."""
    return {
        name: (
            *(pool.settings, pool.source, pool.layers),
            {
                id_: (
                    item.settings,
                    item.generation,
                    item.draining,
                    item.layers,
                    item.source,
                    item.found_by,
                )
                for id_, item in pool.replicas.items()
            },
        )
        for name, pool in fleet.pools.items()
    }


def test_a_heartbeat_is_nothing_to_write() -> None:
    fleet = after(put("c", 3, ttl="30s"), fleet=declared(FILE))
    renewed = after(PutReplica("p", "c", replica(fleet, "c").settings), fleet=fleet, now=10)
    assert renewed is not fleet
    assert not set(keys_of_rows(tuple(differences(fleet, renewed))))


def test_which_process_it_was_is_known_though_nobody_says_so_any_more() -> None:
    fleet = after(
        put("a", 1, instance="one"),
        Drain("p", "a"),
        DeleteReplica("p", "a"),
        fleet=declared(FILE),
    )
    restarted = again(fleet)
    assert replica(restarted).draining is Draining.OPERATOR
    assert replica(after(put("a", 1, instance="two"), fleet=restarted)).draining is None


def test_all_that_the_api_said_of_a_pool_counts_once_the_file_says_nothing() -> None:
    said = validated(PoolSettings, {**POOL, "objective": {"p99": "1s"}})
    fleet = after(PutPool("p", said), fleet=declared(FILE))
    assert fleet.pool("p").layers.sources()["model"] == "file"
    restarted = again(fleet, file())
    assert restarted.pool("p").source is Source.API
    assert restarted.pool("p").layers.sources()["model"] == "api"


def test_a_lease_that_there_is_no_longer_has_drained_nobody() -> None:
    body = {"id": "a", "address": "127.0.0.1:1", "ttl": "30s"}
    leased = validated(Config, {"pools": [{"name": "p", **POOL, "replicas": [body]}]})
    fleet = expired(declared(leased), 31)
    assert replica(again(fleet, leased)).draining is Draining.LEASE
    assert replica(again(fleet)).draining is None
