"""What sources find against the fleet: sets are put together, and nothing is emptied at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet import (
    DRAIN_SECONDS,
    Drain,
    Draining,
    Fleet,
    PutPool,
    Refused,
    Sets,
    Source,
    Undrain,
)
from tests.fleet.fleets import (
    Discovered,
    Replicas,
    a_pool,
    after,
    applied,
    discovered,
    expired,
    pool_settings,
    ports,
    put,
    replica,
    replica_settings,
)


def sets(**found: Replicas | None) -> Sets:
    """By source; None: has not answered."""
    return {
        source: None
        if item is None
        else {id_: replica_settings(port) for id_, port in item.items()}
        for source, item in found.items()
    }


def merged(fleet: Fleet, found: Sets, now: float = 0.0, serving: str | None = None) -> Discovered:
    """With all replicas serving, or those with these one-letter ids."""
    return discovered(fleet, "p", found, lambda item: serving is None or item.id in serving, now)


def found(now: float = 0.0, fleet: Fleet | None = None, **by_source: Replicas | None) -> Fleet:
    return merged(fleet or a_pool(), sets(**by_source), now).fleet


def leaving(fleet: Fleet) -> set[str]:
    return {
        item.id for item in fleet.pool("p").replicas.values() if item.draining is Draining.DISCOVERY
    }


def test_what_is_found_is_there_and_says_who_found_it() -> None:
    found_replica = replica(found(dns={"a": 1}))
    assert (found_replica.source, found_replica.found_by, found_replica.settings.address.port) == (
        Source.DISCOVERY,
        "dns",
        1,
    )


def test_what_is_found_again_is_the_same_fleet() -> None:
    fleet = found(dns={"a": 1, "b": 2})
    assert merged(fleet, sets(dns={"a": 1, "b": 2}), 5.0).fleet is fleet


def test_a_pool_that_is_not_there_is_left_alone() -> None:
    fleet = Fleet()
    assert merged(fleet, sets(dns={"a": 1})).fleet is fleet


def test_what_is_no_longer_found_is_drained_and_removed_when_that_has_lasted() -> None:
    fleet = found(dns={"a": 1, "b": 2})
    fleet = found(100.0, fleet, dns={"a": 1})
    assert leaving(fleet) == {"b"}
    assert ports(expired(fleet, 100.0 + DRAIN_SECONDS - 0.1)) == {"a": 1, "b": 2}
    assert ports(expired(fleet, 100.0 + DRAIN_SECONDS)) == {"a": 1}


def test_what_is_still_not_found_is_not_drained_anew() -> None:
    fleet = found(100.0, found(dns={"a": 1, "b": 2}), dns={"a": 1})
    assert found(105.0, fleet, dns={"a": 1}) is fleet


def test_what_is_found_again_while_it_is_drained_is_as_before() -> None:
    before = found(dns={"a": 1, "b": 2})
    assert found(101.0, found(100.0, before, dns={"a": 1}), dns={"a": 1, "b": 2}) == before


def test_what_leaves_cannot_be_undrained() -> None:
    fleet = found(100.0, found(dns={"a": 1, "b": 2}), dns={"a": 1})
    with pytest.raises(Refused, match="drained because dns no longer has it"):
        applied(fleet, Undrain("p", "b"), 101.0)


def test_what_an_operator_drained_stays_drained_when_it_is_found_again() -> None:
    fleet = after(Drain("p", "b"), fleet=found(dns={"a": 1, "b": 2}))
    gone = found(100.0, fleet, dns={"a": 1})
    assert replica(found(101.0, gone, dns={"a": 1, "b": 2}), "b").draining is Draining.OPERATOR
    assert ports(expired(gone, 100.0 + DRAIN_SECONDS)) == {"a": 1}


def test_an_empty_answer_after_a_full_one_removes_nothing() -> None:
    fleet = found(dns={"a": 1, "b": 2, "c": 3})
    after_it = merged(fleet, sets(dns={}), 100.0)
    assert after_it.fleet is fleet
    assert after_it.withheld == ("a", "b", "c")


def test_half_of_a_pool_may_go_and_more_may_not() -> None:
    fleet = found(dns={"a": 1, "b": 2, "c": 3, "d": 4})
    assert leaving(found(1.0, fleet, dns={"a": 1, "b": 2})) == {"c", "d"}
    more = merged(fleet, sets(dns={"a": 1}), 1.0)
    assert (leaving(more.fleet), more.withheld) == (set(), ("b", "c", "d"))


def test_new_ones_come_at_once_and_the_old_ones_go_once_those_serve() -> None:
    fleet = found(dns={"a": 1, "b": 2})
    changed = sets(dns={"x": 8, "y": 9})
    at_first = merged(fleet, changed, 1.0, serving="ab")
    assert ports(at_first.fleet) == {"a": 1, "b": 2, "x": 8, "y": 9}
    assert (leaving(at_first.fleet), at_first.withheld) == (set(), ("a", "b"))
    later = merged(at_first.fleet, changed, 2.0, serving="abxy")
    assert (leaving(later.fleet), later.withheld) == ({"a", "b"}, ())


def test_those_that_serve_no_more_may_all_go() -> None:
    fleet = found(dns={"a": 1, "b": 2})
    assert leaving(merged(fleet, sets(dns={}), 1.0, serving="").fleet) == {"a", "b"}


def test_those_that_are_drained_do_not_count_as_serving() -> None:
    fleet = after(Drain("p", "a"), fleet=found(dns={"a": 1, "b": 2}))
    assert merged(fleet, sets(dns={"a": 1}), 1.0).withheld == ("b",)


def test_what_the_api_added_counts_as_staying() -> None:
    fleet = found(0.0, a_pool(z=9), dns={"a": 1})
    assert leaving(found(1.0, fleet, dns={})) == {"a"}


def test_a_source_that_has_not_answered_yet_keeps_what_it_found_before() -> None:
    fleet = found(dns={"a": 1}, docker={"b": 2, "c": 3})
    assert found(1.0, fleet, dns=None, docker={"b": 2, "c": 3}) is fleet


def test_what_a_source_found_goes_with_the_source() -> None:
    fleet = found(dns={"a": 1}, docker={"b": 2})
    assert leaving(found(1.0, fleet, docker={"b": 2})) == {"a"}


def test_what_two_sources_find_is_the_first_ones_and_stays_when_that_loses_it() -> None:
    fleet = found(dns={"a": 1, "z": 9}, docker={"a": 1})
    assert replica(fleet).found_by == "dns"
    later = found(1.0, fleet, dns={"z": 9}, docker={"a": 1})
    assert (replica(later).found_by, replica(later).draining) == ("docker", None)
    assert replica(later).generation == replica(fleet).generation


def test_an_address_that_two_sources_name_differently_is_there_once() -> None:
    both = merged(a_pool(), sets(dns={"a": 1}, docker={"b": 1}))
    assert (ports(both.fleet), both.clashes) == ({"a": 1}, ())


def test_an_id_that_two_sources_give_to_two_replicas_is_told() -> None:
    both = merged(a_pool(), sets(dns={"a": 1}, docker={"a": 2}))
    assert ports(both.fleet) == {"a": 1}
    assert both.clashes == ("docker: 127.0.0.1:2 is not used, another replica has its id 'a'",)


def test_what_the_api_declares_stays_the_apis() -> None:
    both = merged(a_pool(a=1, c=3), sets(dns={"a": 1, "x": 3, "c": 4}))
    assert ports(both.fleet) == {"a": 1, "c": 3}
    assert replica(both.fleet).source is Source.API
    assert len(both.clashes) == 1


def test_what_the_api_declares_takes_the_place_of_what_was_found() -> None:
    fleet = after(put("mine", 1), fleet=found(dns={"a": 1}))
    assert ports(fleet) == {"mine": 1}
    assert found(1.0, fleet, dns={"a": 1}) is fleet


def test_a_replica_found_at_another_address_is_another_generation() -> None:
    fleet = found(dns={"a": 1, "b": 2})
    moved = found(1.0, fleet, dns={"a": 7, "b": 2})
    assert ports(moved) == {"a": 7, "b": 2}
    assert replica(moved).generation != replica(fleet).generation


def test_two_that_swap_their_addresses_do_not_stand_in_each_others_way() -> None:
    assert ports(found(1.0, found(dns={"a": 1, "b": 2}), dns={"a": 2, "b": 1})) == {"a": 2, "b": 1}


def test_one_that_comes_at_the_address_of_one_that_is_gone_takes_its_place_at_once() -> None:
    fleet = found(dns={"a": 1})
    assert ports(found(1.0, fleet, dns={"b": 1})) == {"b": 1}


def test_another_process_at_the_same_address_is_another_generation() -> None:
    def of(instance: str) -> Sets:
        return {"docker": {"a": replica_settings(1, instance=instance)}}

    fleet = merged(a_pool(), of("one")).fleet
    assert merged(fleet, of("one"), 1.0).fleet is fleet
    again = merged(fleet, of("two"), 1.0).fleet
    assert replica(again).generation != replica(fleet).generation


def test_changed_settings_keep_the_generation() -> None:
    fleet = found(dns={"a": 1})
    more = merged(fleet, {"dns": {"a": replica_settings(1, slots=4)}}, 1.0).fleet
    assert replica(more).settings.slots == 4
    assert replica(more).generation == replica(fleet).generation


def test_a_pool_declared_again_keeps_what_was_found() -> None:
    fleet = found(dns={"a": 1})
    assert ports(after(PutPool("p", pool_settings(model="other")), fleet=fleet)) == {"a": 1}


ANSWERS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 6), max_size=6).filter(
    lambda each: len(set(each.values())) == len(each)
)


@given(st.lists(ANSWERS, max_size=8), st.sets(st.sampled_from("abcdef")))
def test_whatever_is_found_addresses_differ_and_no_step_drains_most_of_those_that_serve(
    answers: list[Replicas], serving: set[str]
) -> None:
    def able(fleet: Fleet) -> set[str]:
        known = fleet.pool("p").replicas.values()
        return {item.id for item in known if item.id in serving and item.draining is None}

    fleet = a_pool()
    for now, answer in enumerate(answers):
        before = able(fleet)
        fleet = discovered(fleet, "p", sets(dns=answer), lambda item: item.id in serving, now).fleet
        used = ports(fleet)
        assert len(set(used.values())) == len(used)
        assert len(leaving(fleet) & before) <= len(able(fleet))


def test_what_a_source_cannot_read_whole_takes_nothing_away() -> None:
    before = found(dir={"a": 1, "b": 2, "c": 3}, dns={"d": 4})
    part = sets(dir={"a": 1, "e": 5}, dns={})
    seen = discovered(before, "p", part, lambda _: True, 0.0, {"dir"}).fleet
    assert ports(seen) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    assert leaving(seen) == {"d"}
    whole = discovered(before, "p", part, lambda _: True, 0.0).fleet
    assert leaving(whole) == set()  # Too many: they are withheld.
