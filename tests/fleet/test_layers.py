"""What the file and the API say of one thing: who wins, who is named, and what is left of whom."""

import pytest

from controlplane.config import Config, PoolSettings, validated
from controlplane.fleet import (
    DeletePool,
    DeleteReplica,
    Drain,
    Draining,
    Fleet,
    PutPool,
    PutReplicas,
    Refused,
    Source,
)
from tests.fleet.fleets import (
    after,
    applied,
    declared,
    discovered,
    file,
    pool_settings,
    ports,
    put,
    refusal,
    replica,
    replica_settings,
)

POOL = {"name": "p", "model": "m", "listener": {"address": "127.0.0.1:10000"}}


def file_with(**entry: object) -> Config:
    """Pool p with replica a, of which the file says this and its address."""
    body = {"id": "a", "address": "127.0.0.1:1", **entry}
    return validated(Config, {"pools": [{**POOL, "replicas": [body]}]})


def test_the_api_overrides_what_the_file_says_and_the_rest_stays_the_files() -> None:
    fleet = after(put("a", 1, slots=4), fleet=declared(file_with(slots=2, labels={"k": "v"})))
    assert replica(fleet).settings.slots == 4
    assert replica(fleet).settings.labels == {"k": "v"}


def test_each_value_says_where_it_comes_from() -> None:
    fleet = after(put("a", 1, slots=4), fleet=declared(file_with(slots=2)))
    sources = replica(fleet).layers.sources()
    assert (sources["slots"], sources["address"], sources["ttl"]) == ("api", "file", "default")


def test_a_put_leaves_what_the_file_declares_the_files() -> None:
    fleet = after(put("a", 1, slots=4), fleet=declared(file_with()))
    assert replica(fleet).source is Source.FILE


def test_a_put_that_says_what_the_file_says_overrides_nothing() -> None:
    fleet = declared(file_with(slots=2))
    assert after(put("a", 1, slots=2), fleet=fleet) == fleet


def test_a_put_takes_the_place_of_all_that_the_api_said_before() -> None:
    fleet = after(put("a", 1, slots=4), put("a", 1, ttl="9s"), fleet=declared(file_with(slots=2)))
    assert (replica(fleet).settings.slots, replica(fleet).settings.ttl) == (2, 9)


def test_a_deleted_override_shows_the_files_value_again() -> None:
    fleet = declared(file_with(slots=2))
    assert after(put("a", 1, slots=4), DeleteReplica("p", "a"), fleet=fleet) == fleet


def test_a_deleted_override_leaves_a_drained_replica_drained() -> None:
    fleet = after(put("a", 1, slots=4), Drain("p", "a"), fleet=declared(file_with(slots=2)))
    assert replica(after(DeleteReplica("p", "a"), fleet=fleet)).draining is Draining.OPERATOR


def test_an_override_of_the_address_is_another_process_and_so_is_its_end() -> None:
    before = declared(file_with())
    moved = after(put("a", 7), fleet=before)
    back = after(DeleteReplica("p", "a"), fleet=moved)
    generations = {replica(fleet).generation for fleet in (before, moved, back)}
    assert (ports(moved), ports(back), len(generations)) == ({"a": 7}, {"a": 1}, 3)


def test_what_only_the_file_declares_cannot_be_deleted_through_the_api() -> None:
    assert str(refusal(DeleteReplica("p", "a"), declared(file_with()))) == (
        "replica 'a' is declared in the config file, and the API overrides nothing of it; take it"
        " out of the file, or drain it"
    )
    assert str(refusal(DeletePool("p"), declared(file_with()))) == (
        "pool 'p' is declared in the config file, and the API overrides nothing of it; take it out"
        " of the file"
    )


def test_an_override_survives_a_reload_of_the_file() -> None:
    fleet = after(put("a", 1, slots=4), fleet=declared(file_with(slots=2)))
    reloaded = declared(file_with(slots=3, labels={"k": "v"}), fleet)
    assert (replica(reloaded).settings.slots, replica(reloaded).settings.labels) == (4, {"k": "v"})


def test_what_was_put_as_the_file_says_follows_the_file() -> None:
    fleet = after(put("a", 1, slots=4), fleet=declared(file(p={"a": 1})))
    assert ports(declared(file(p={"a": 2}), fleet)) == {"a": 2}
    assert replica(declared(file(p={"a": 2}), fleet)).settings.slots == 4


def test_an_overridden_replica_that_the_file_moves_is_another_process() -> None:
    fleet = after(put("a", 1, slots=4), fleet=declared(file(p={"a": 1, "b": 2})))
    swapped = declared(file(p={"a": 2, "b": 1}), fleet)
    assert ports(swapped) == {"a": 2, "b": 1}
    assert replica(swapped).generation not in (replica(fleet).generation, 0)


def test_an_overridden_replica_that_the_file_drops_stays_as_the_api_said_it() -> None:
    fleet = after(put("b", 2, slots=4), fleet=declared(file(p={"a": 1, "b": 2})))
    left = replica(declared(file(p={"a": 1}), fleet), "b")
    assert (left.source, left.settings.slots, left.layers.sources()["address"]) == (
        *(Source.API, 4),
        "api",
    )


def test_what_the_api_added_stays_the_apis_values_once_the_file_declares_it() -> None:
    fleet = declared(file_with(slots=2), after(put("a", 1, slots=4), fleet=declared(file(p={}))))
    assert (replica(fleet).source, replica(fleet).settings.slots) == (Source.FILE, 4)
    assert replica(after(DeleteReplica("p", "a"), fleet=fleet)).settings.slots == 2


def test_an_overridden_pool_stays_a_pool_of_the_file_and_keeps_its_replicas() -> None:
    fleet = after(PutPool("p", pool_settings(model="other")), fleet=declared(file(p={"a": 1})))
    pool = fleet.pool("p")
    assert (pool.source, pool.settings.model, list(pool.replicas)) == (Source.FILE, "other", ["a"])
    assert after(DeletePool("p"), fleet=fleet).pool("p").settings.model == "m"


def test_an_overridden_pool_that_the_file_drops_stays_as_the_api_said_it() -> None:
    fleet = after(
        PutPool("p", pool_settings(model="other")),
        put("b", 2),
        put("c", 3),
        fleet=declared(file(p={"a": 1})),
    )
    left = declared(file(), fleet)
    assert (left.pool("p").source, left.pool("p").settings.model) == (Source.API, "other")
    assert set(ports(left)) == {"b", "c"}


def test_another_profile_brings_its_own_health_check_unless_the_file_said_one() -> None:
    def merged(**said: object) -> PoolSettings:
        config = validated(Config, {"pools": [{**POOL, "metrics": {"profile": "triton"}, **said}]})
        body = {key: POOL[key] for key in ("model", "listener")}
        over = validated(PoolSettings, {**body, "metrics": {"profile": "localai"}})
        return applied(declared(config), PutPool("p", over), 0).pool("p").settings

    assert merged().health_check.path == "/readyz"
    assert merged(health_check={"interval": "2s"}).health_check.path == "/readyz"
    assert merged(health_check={"path": "/mine"}).health_check.path == "/mine"


def pool_of(count: int) -> Fleet:
    fleet = after(PutPool("p", pool_settings()))
    return after(*(put(f"r{number}", 1 + number) for number in range(count)), fleet=fleet)


def deleted(fleet: Fleet, count: int, step: float = 0.0) -> Fleet:
    for number in range(count):
        fleet = applied(fleet, DeleteReplica("p", f"r{number}"), number * step)
    return fleet


@pytest.mark.parametrize(("count", "may"), [(1, 1), (2, 1), (3, 1), (4, 2), (7, 3), (8, 4)])
def test_no_more_than_half_of_a_pool_can_be_removed_in_quick_succession(
    count: int, may: int
) -> None:
    left = deleted(pool_of(count), may)
    if may < count:
        with pytest.raises(Refused, match="drain them first, wait, or force it"):
            applied(left, DeleteReplica("p", f"r{may}"), 0)


def test_slowly_a_whole_pool_can_be_removed() -> None:
    assert ports(deleted(pool_of(4), 4, step=10.0)) == {}


def test_drained_replicas_can_be_removed_all_at_once() -> None:
    fleet = after(*(Drain("p", f"r{number}") for number in range(4)), fleet=pool_of(4))
    assert ports(deleted(fleet, 4)) == {}


def moved(fleet: Fleet, *numbers: int, force: bool = False) -> Fleet:
    """Those replicas of pool p at other addresses, in one step."""
    there = {f"r{number}": replica_settings(100 + number) for number in numbers}
    return applied(fleet, PutReplicas("p", there, force=force), 0)


@pytest.mark.parametrize(("count", "may"), [(1, 1), (2, 1), (3, 1), (4, 2), (7, 3)])
def test_no_more_than_half_of_a_pool_can_move_in_one_step(count: int, may: int) -> None:
    fleet = pool_of(count)
    assert set(ports(moved(fleet, *range(may))).values()) >= {100 + index for index in range(may)}
    if may < count:
        with pytest.raises(Refused, match=f"{may + 1} of the {count} .* would move .* force it"):
            moved(fleet, *range(may + 1))


def test_all_can_move_where_that_is_forced_or_they_were_drained() -> None:
    everywhere = {"r0": 100, "r1": 101, "r2": 102}
    assert ports(moved(pool_of(3), 0, 1, 2, force=True)) == everywhere
    drained = after(*(Drain("p", f"r{number}") for number in range(3)), fleet=pool_of(3))
    assert ports(moved(drained, 0, 1, 2)) == everywhere


def test_removals_can_be_forced() -> None:
    fleet = deleted(pool_of(2), 1)
    assert ports(applied(fleet, DeleteReplica("p", "r1", force=True), 0)) == {}


def test_many_put_at_once_are_layers_as_one_is_and_what_was_found_makes_room() -> None:
    found = {"dns": {"f": replica_settings(6), "g": replica_settings(7)}}
    fleet = discovered(declared(file(p={"a": 1, "b": 2})), "p", found, lambda _: True, 0.0).fleet
    batch = {
        "a": replica_settings(2, slots=4),
        "b": replica_settings(1),
        "f": replica_settings(6, slots=2),
        "mine": replica_settings(7),
    }
    many = applied(fleet, PutReplicas("p", batch), 0.0)
    assert ports(many) == {"a": 2, "b": 1, "f": 6, "mine": 7}
    assert {id_: replica(many, id_).source for id_ in ports(many)} == {
        "a": Source.FILE,
        "b": Source.FILE,
        "f": Source.API,
        "mine": Source.API,
    }
    assert replica(many).layers.overrides == {"address", "slots"}
    assert replica(many, "f").generation == replica(fleet, "f").generation


def test_a_process_that_took_its_settings_away_is_known_when_the_next_one_comes() -> None:
    # A replica of the file that registers itself, is stopped, and is started again.
    fleet = after(
        put("a", 1, instance="one"), Drain("p", "a"), fleet=declared(file(p={"a": 1, "b": 2}))
    )
    stopped = after(DeleteReplica("p", "a"), fleet=fleet)
    assert replica(stopped).draining is Draining.OPERATOR
    same = replica(after(put("a", 1, instance="one"), fleet=stopped))
    assert (same.generation, same.draining) == (replica(fleet).generation, Draining.OPERATOR)
    other = replica(after(put("a", 1, instance="two"), fleet=stopped))
    assert other.generation > same.generation
    assert other.draining is None
