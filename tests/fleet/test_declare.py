"""A config file against the fleet: all of it or nothing, and never what the API added."""

from copy import deepcopy

import pytest

from controlplane.config import Config, validated
from controlplane.fleet import Drain, Draining, Fleet, PutPool, Refused, Source
from tests.fleet.fleets import (
    a_pool,
    after,
    declared,
    discovered,
    file,
    file_refusal,
    pool_settings,
    ports,
    put,
    replica,
    replica_settings,
)


def test_what_the_file_declares_is_there() -> None:
    fleet = declared(file(p={"a": 1, "b": 2}))
    assert ports(fleet) == {"a": 1, "b": 2}


def test_what_the_file_declares_is_the_files() -> None:
    fleet = declared(file(p={"a": 1}))
    assert (fleet.pool("p").source, replica(fleet).source) == (Source.FILE, Source.FILE)


def test_a_file_declared_again_changes_nothing() -> None:
    fleet = declared(file(p={"a": 1, "b": 2}, q={}))
    assert declared(file(p={"a": 1, "b": 2}, q={}), fleet, now=60) == fleet


def test_a_file_declared_again_renews_no_lease() -> None:
    pool = {"name": "p", "model": "m", "listener": {"address": "127.0.0.1:10000"}}
    entry = {"id": "a", "address": "127.0.0.1:1", "ttl": "30s"}
    config = validated(Config, {"pools": [{**pool, "replicas": [entry]}]})
    assert replica(declared(config, declared(config), now=20)).lease_until == 30


def test_what_the_file_no_longer_declares_is_removed() -> None:
    fleet = declared(file(p={"a": 1, "b": 2}))
    assert ports(declared(file(p={"a": 1}), fleet)) == {"a": 1}


def test_a_pool_that_the_file_no_longer_declares_is_removed_once_nobody_in_it_serves() -> None:
    fleet = after(Drain("p", "a"), fleet=declared(file(p={"a": 1, "b": 2}, q={"a": 1}, r={})))
    left = file(q={"a": 1}, listeners={"q": 10001})
    assert str(file_refusal(left, fleet)) == (
        "pool 'p' is no longer in the file, and 1 of its 2 replicas serve; drain them first, or"
        " restart with the file as it is"
    )
    assert list(declared(left, after(Drain("p", "b"), fleet=fleet)).pools) == ["q"]


def test_a_file_that_has_lost_all_of_its_pools_is_refused() -> None:
    fleet = declared(file(p={"a": 1}, q={"a": 1, "b": 2}))
    assert file_refusal(file(), fleet).kind == "conflict"


def test_a_pool_is_not_removed_with_replicas_that_were_found_and_serve() -> None:
    found = {"dns x:1": {"d": replica_settings(4)}}
    fleet = discovered(declared(file(p={})), "p", found, lambda _: True, 0.0).fleet
    assert file_refusal(file(), fleet).kind == "conflict"


def test_a_changed_pool_keeps_its_replicas_generations() -> None:
    fleet = declared(file(p={"a": 1}))
    changed = declared(file(p={"a": 1}, listeners={"p": 12000}), fleet)
    assert replica(changed).generation == replica(fleet).generation


def test_a_drained_replica_stays_drained_when_the_file_says_the_same() -> None:
    fleet = after(Drain("p", "a"), fleet=declared(file(p={"a": 1})))
    assert replica(declared(file(p={"a": 1}), fleet)).draining is Draining.OPERATOR


def test_pools_of_the_api_survive_a_reload() -> None:
    fleet = declared(file(q={"a": 1}, listeners={"q": 10001}), a_pool(a=1))
    assert ports(fleet) == {"a": 1}


def test_replicas_of_the_api_survive_a_reload_in_the_files_pool() -> None:
    fleet = after(put("b", 2), fleet=declared(file(p={"a": 1})))
    assert ports(declared(file(p={"a": 1}), fleet)) == {"a": 1, "b": 2}


def test_a_replica_that_the_api_took_over_survives_its_removal_from_the_file() -> None:
    fleet = after(put("b", 2, slots=2), fleet=declared(file(p={"a": 1, "b": 2})))
    assert ports(declared(file(p={"a": 1}), fleet)) == {"a": 1, "b": 2}


def test_a_pool_with_replicas_of_the_api_is_not_removed_with_them() -> None:
    fleet = after(put("b", 2), fleet=declared(file(p={"a": 1})))
    assert str(file_refusal(file(), fleet)) == (
        "pool 'p' is no longer in the file, but replica 'b' was added to it through the API;"
        " remove that one first, or keep the pool"
    )


def test_what_the_api_added_becomes_the_files_once_the_file_declares_it() -> None:
    assert replica(declared(file(p={"a": 1}), a_pool(a=1))).source is Source.FILE


def test_a_replica_that_the_file_takes_over_keeps_its_generation() -> None:
    fleet = a_pool(a=1)
    assert replica(declared(file(p={"a": 1}), fleet)).generation == replica(fleet).generation


def test_an_address_of_the_api_cannot_be_declared_under_another_id() -> None:
    assert str(file_refusal(file(p={"a": 2}), a_pool(b=2))) == (
        "address 127.0.0.1:2 is already that of replica 'b'"
    )


def test_a_listener_of_the_api_cannot_be_declared_for_another_pool() -> None:
    assert str(file_refusal(file(q={}), a_pool())) == (
        "listener address 127.0.0.1:10000 is already that of pool 'p'"
    )


def test_two_replicas_can_swap_their_addresses_in_one_edit() -> None:
    fleet = declared(file(p={"a": 1, "b": 2}))
    assert ports(declared(file(p={"a": 2, "b": 1}), fleet)) == {"a": 2, "b": 1}


def test_replicas_can_move_up_to_each_others_addresses_in_one_edit() -> None:
    fleet = declared(file(p={"a": 1, "b": 2, "c": 3}))
    assert ports(declared(file(p={"a": 2, "b": 3, "c": 4}), fleet)) == {"a": 2, "b": 3, "c": 4}


def test_replicas_that_swap_addresses_are_other_processes() -> None:
    before = declared(file(p={"a": 1, "b": 2}))
    swapped = declared(file(p={"a": 2, "b": 1}), before)
    old = {replica(before, id_).generation for id_ in "ab"}
    assert old.isdisjoint(replica(swapped, id_).generation for id_ in "ab")


def test_a_replica_can_have_the_address_of_one_that_goes() -> None:
    fleet = declared(file(p={"a": 1, "b": 2}))
    assert ports(declared(file(p={"a": 2}), fleet)) == {"a": 2}


def test_two_pools_can_swap_their_listeners_in_one_edit() -> None:
    fleet = declared(file(p={}, q={}, listeners={"p": 10, "q": 11}))
    swapped = declared(file(p={}, q={}, listeners={"p": 11, "q": 10}), fleet)
    assert swapped.pool("p").settings.listener.address.port == 11


def test_two_pools_that_swap_listeners_keep_their_replicas() -> None:
    fleet = declared(file(p={"a": 1}, q={"b": 2}, listeners={"p": 10, "q": 11}))
    swapped = declared(file(p={"a": 1}, q={"b": 2}, listeners={"p": 11, "q": 10}), fleet)
    assert swapped.pool("p").replicas == fleet.pool("p").replicas


def test_a_pool_can_have_the_listener_of_one_that_goes() -> None:
    fleet = declared(file(p={}))
    assert list(declared(file(q={}), fleet).pools) == ["q"]


@pytest.mark.parametrize(
    ("before", "left"), [("abcd", "ab"), ("abc", "ab"), ("ab", "a"), ("a", "a")]
)
def test_half_of_a_pool_may_go_in_one_step(before: str, left: str) -> None:
    fleet = declared(file(p={id_: ord(id_) for id_ in before}))
    assert set(ports(declared(file(p={id_: ord(id_) for id_ in left}), fleet))) == set(left)


@pytest.mark.parametrize(("before", "left"), [("abcd", "a"), ("abc", "a"), ("ab", ""), ("a", "")])
def test_more_than_half_of_a_pool_may_not_go_in_one_step(before: str, left: str) -> None:
    fleet = declared(file(p={id_: ord(id_) for id_ in before}))
    refused = file_refusal(file(p={id_: ord(id_) for id_ in left}), fleet)
    assert str(refused).startswith(
        f"pool 'p' would lose {len(before) - len(left)} of the {len(before)} replicas that serve it"
        " in one step;"
    )


def test_those_that_are_drained_may_all_go_and_those_that_serve_are_counted_without_them() -> None:
    fleet = declared(file(p={"a": 1, "b": 2, "c": 3}))
    fleet = after(Drain("p", "a"), Drain("p", "b"), fleet=fleet)
    assert ports(declared(file(p={"c": 3}), fleet)) == {"c": 3}
    assert file_refusal(file(p={"a": 1, "b": 2}), fleet).kind == "conflict"


def test_replicas_that_are_new_do_not_make_up_for_those_that_go() -> None:
    fleet = declared(file(p={"a": 1, "b": 2, "c": 3}))
    assert file_refusal(file(p={"a": 1, "x": 7, "y": 8, "z": 9}), fleet).kind == "conflict"


def test_replicas_of_the_api_count_among_those_that_stay() -> None:
    fleet = after(put("x", 8), put("y", 9), fleet=declared(file(p={"a": 1, "b": 2})))
    assert ports(declared(file(p={}), fleet)) == {"x": 8, "y": 9}


def test_a_refused_file_changes_nothing_of_what_comes_before_the_conflict() -> None:
    fleet = after(
        PutPool("z", pool_settings(10000)), fleet=declared(file(p={}, listeners={"p": 1}))
    )
    before = deepcopy(fleet)
    with pytest.raises(Refused):
        declared(file(new={}, p={"a": 1}, q={}, listeners={"new": 5, "q": 10000}), fleet)
    assert fleet == before


def test_an_empty_file_declares_nothing() -> None:
    assert declared(file()) == Fleet()


@pytest.mark.parametrize(
    ("before", "moved"), [("abcd", "ab"), ("abc", "a"), ("ab", "a"), ("a", "a")]
)
def test_half_of_a_pool_may_move_in_one_step_and_one_alone_may(before: str, moved: str) -> None:
    fleet = declared(file(p={id_: ord(id_) for id_ in before}))
    after_edit = {id_: ord(id_) + 100 * (id_ in moved) for id_ in before}
    assert ports(declared(file(p=after_edit), fleet)) == after_edit


@pytest.mark.parametrize(("before", "moved"), [("abcd", "abc"), ("abc", "ab"), ("ab", "ab")])
def test_more_than_half_of_a_pool_may_not_move_in_one_step(before: str, moved: str) -> None:
    fleet = declared(file(p={id_: ord(id_) for id_ in before}))
    after_edit = {id_: ord(id_) + 100 * (id_ in moved) for id_ in before}
    assert str(file_refusal(file(p=after_edit), fleet)) == (
        f"pool 'p' would lose {len(moved)} of the {len(before)} replicas that serve it in one step,"
        f" {len(moved)} of them to other addresses, where nobody is ready yet; take smaller steps,"
        " drain them first, or restart with the file as it is"
    )


def test_replicas_that_are_all_renamed_would_be_gone() -> None:
    fleet = declared(file(p={"a": 1, "b": 2}))
    assert file_refusal(file(p={"x": 1, "y": 2}), fleet).kind == "conflict"


def test_those_that_go_and_those_that_move_are_counted_together() -> None:
    fleet = declared(file(p={"a": 1, "b": 2, "c": 3}))
    assert ports(declared(file(p={"a": 1, "b": 2}), fleet)) == {"a": 1, "b": 2}
    assert file_refusal(file(p={"a": 1, "b": 9}), fleet).kind == "conflict"


def test_who_is_drained_may_move() -> None:
    fleet = after(Drain("p", "a"), Drain("p", "b"), fleet=declared(file(p={"a": 1, "b": 2})))
    assert ports(declared(file(p={"a": 8, "b": 9}), fleet)) == {"a": 8, "b": 9}


def handed_over(**replicas: int) -> Fleet:
    """Replicas that the file declared, before sources took their place."""
    before = declared(file(p=replicas))
    return declared(file(p={}, sources={"p": ["folder"]}), before)


def ids(fleet: Fleet) -> set[str]:
    return {item.id for item in fleet.pool("p").replicas.values() if item.draining is None}


def answered(fleet: Fleet, serving: str = "abc", **found: int) -> Fleet:
    answer = {id_: replica_settings(port) for id_, port in found.items()}
    sets = {"directory folder": answer}
    return discovered(fleet, "p", sets, lambda item: item.id in serving, 1.0).fleet


def test_replicas_serve_on_when_sources_take_the_place_of_their_declaration() -> None:
    before = declared(file(p={"a": 1, "b": 2}))
    after_ = handed_over(a=1, b=2)
    assert ids(after_) == {"a", "b"}
    assert replica(after_).generation == replica(before).generation
    assert (replica(after_).source, replica(after_).found_by) == (
        Source.DISCOVERY,
        "the config file",
    )
    unanswered = discovered(after_, "p", {"directory folder": None}, lambda _: True, 1.0)
    assert ids(unanswered.fleet) == {"a", "b"}


def test_what_a_source_finds_at_the_same_address_stays_the_replica_that_it_was() -> None:
    fleet = answered(handed_over(a=1, b=2), x=1, y=2)
    assert ports(fleet) == {"a": 1, "b": 2}
    assert replica(fleet).generation == replica(handed_over(a=1, b=2)).generation


def test_what_no_source_finds_goes_once_others_serve_in_its_place() -> None:
    fleet = answered(handed_over(a=1, b=2), serving="ab", x=3, y=4)
    assert ids(fleet) == {"a", "b", "x", "y"}
    assert ids(answered(fleet, serving="abxy", x=3, y=4)) == {"x", "y"}
