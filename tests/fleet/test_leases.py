"""Leases that run out: drained first, removed when what is in flight has had time to finish."""

import math

import pytest

from controlplane.fleet import DRAIN_SECONDS, Drain, Draining, Fleet, Heartbeat, PutPool, Source
from controlplane.fleet.apply import PAUSE, ends_at
from tests.fleet.fleets import (
    a_pool,
    after,
    declared,
    discovered,
    expired,
    file,
    pool_settings,
    ports,
    put,
    replica,
    replica_settings,
)


def leased(ttl: str = "30s") -> Fleet:
    """Replica a with a lease from time 0, and b without one."""
    return after(put("a", 1, ttl=ttl), fleet=a_pool(b=2))


def test_nothing_is_touched_while_the_lease_lasts() -> None:
    fleet = leased()
    assert expired(fleet, 29.9) is fleet


def test_a_lease_that_runs_out_drains_the_replica() -> None:
    assert replica(expired(leased(), 30)).draining is Draining.LEASE


def test_a_drained_replica_is_kept_while_requests_finish() -> None:
    fleet = expired(leased(), 30)
    assert expired(fleet, 30 + DRAIN_SECONDS - 0.1) is fleet


def test_a_drained_replica_is_removed_in_the_end() -> None:
    assert ports(expired(expired(leased(), 30), 30 + DRAIN_SECONDS)) == {"b": 2}


def test_a_replica_without_a_lease_stays() -> None:
    assert "b" in ports(expired(leased(), 1e9))


def test_whoever_looks_late_drains_before_removing() -> None:
    assert replica(expired(leased(), 1000)).draining is Draining.LEASE


def test_whoever_looks_late_gives_requests_their_time_to_finish() -> None:
    assert "a" in ports(expired(expired(leased(), 1000), 1000 + DRAIN_SECONDS - 0.1))


def test_a_heartbeat_while_draining_saves_the_replica() -> None:
    fleet = after(Heartbeat("p", "a"), fleet=expired(leased(), 30), now=35)
    assert expired(fleet, 60) is fleet


def test_what_an_operator_drained_is_removed_when_its_lease_has_run_out_too() -> None:
    fleet = after(Drain("p", "a"), fleet=leased())
    assert ports(expired(fleet, 30 + DRAIN_SECONDS)) == {"b": 2}


def test_what_an_operator_drained_stays_the_operators() -> None:
    fleet = after(Drain("p", "a"), fleet=leased())
    assert replica(expired(fleet, 31)).draining is Draining.OPERATOR


def pool_of(silent: str, alive: str = "") -> Fleet:
    """Leases of some end at 30, those of others at 100."""
    fleet = a_pool()
    for ids, ttl in ((silent, "30s"), (alive, "100s")):
        fleet = after(*(put(id_, ord(id_), ttl=ttl) for id_ in ids), fleet=fleet)
    return fleet


def drained(fleet: Fleet) -> str:
    return "".join(id_ for id_ in ports(fleet) if replica(fleet, id_).draining)


@pytest.mark.parametrize(("silent", "alive"), [("a", ""), ("a", "b"), ("ab", "cd"), ("ab", "cde")])
def test_leases_of_half_a_pool_may_run_out_together(silent: str, alive: str) -> None:
    assert drained(expired(pool_of(silent, alive), 30)) == silent


@pytest.mark.parametrize(("silent", "alive"), [("ab", ""), ("ab", "c"), ("abcd", "efg")])
def test_when_most_of_a_pool_falls_silent_nothing_is_drained(silent: str, alive: str) -> None:
    fleet = pool_of(silent, alive)
    assert expired(fleet, 30) is fleet


def test_what_was_drained_before_most_fell_silent_is_not_removed() -> None:
    fleet = expired(pool_of("a", "bc"), 30)
    assert drained(fleet) == "a"
    assert expired(fleet, 100 + DRAIN_SECONDS) is fleet


def test_one_after_the_other_most_of_a_pool_cannot_fall_silent_either() -> None:
    fleet = a_pool()
    for number, id_ in enumerate("abcde"):
        fleet = after(put(id_, ord(id_), ttl=f"{30 + number}s"), fleet=fleet)
    for now in range(30, 39):
        fleet = expired(fleet, now)
    assert drained(fleet) == "ab"


def test_when_most_are_heard_again_the_silent_ones_are_drained() -> None:
    fleet = pool_of("abc", "d")
    assert expired(fleet, 31) is fleet
    heard = after(Heartbeat("p", "b"), Heartbeat("p", "c"), fleet=fleet, now=32)
    assert drained(expired(heard, 32)) == "a"


def test_what_an_operator_drained_counts_for_nothing_when_most_are_silent() -> None:
    fleet = after(Drain("p", "c"), Drain("p", "d"), fleet=pool_of("ab", "cd"))
    assert expired(fleet, 30) is fleet


def test_those_that_their_source_no_longer_has_are_not_silent() -> None:
    def found(fleet: Fleet, *ids: str) -> Fleet:
        answer = {"dns": {id_: replica_settings(ord(id_)) for id_ in ids}}
        return discovered(fleet, "p", answer, lambda _: False, 0.0).fleet

    fleet = found(found(pool_of("a"), "x", "y", "z"), "x")
    assert ports(expired(fleet, DRAIN_SECONDS)).keys() == {"a", "x"}
    # Three of four would have fallen silent together, if those that leave counted.
    assert drained(expired(fleet, 30)) == "a"


def test_other_pools_leases_run_out_all_the_same() -> None:
    fleet = after(
        PutPool("q", pool_settings(10001)),
        put("x", 1, pool="q", ttl="30s"),
        fleet=pool_of("ab"),
    )
    silent = expired(fleet, 30)
    assert replica(silent, "x", "q").draining is Draining.LEASE
    assert drained(silent) == ""


def test_a_pause_of_ours_is_given_back_to_every_lease() -> None:
    fleet = expired(pool_of("a", "b"), 70, 10)
    assert (replica(fleet, "a").lease_until, replica(fleet, "b").lease_until) == (90, 160)


def test_a_pause_gives_no_lease_to_who_has_none() -> None:
    assert replica(expired(leased(), 60, 0), "b").lease_until is None


def test_looking_often_gives_nothing_back() -> None:
    fleet = leased()
    assert expired(fleet, 10 + PAUSE, 10) is fleet


def test_who_has_been_silent_for_long_is_not_silent_together_with_the_next_one() -> None:
    said = {"ttl": "30s"}
    fleet = after(
        put("a", 1, **said),
        put("b", 2, **said),
        put("c", 3, **said),
        fleet=declared(file(p={"a": 1, "b": 2, "c": 3})),
    )
    beating = after(Heartbeat("p", "b"), Heartbeat("p", "c"), fleet=fleet, now=20)
    one = expired(beating, 31)
    assert replica(one).draining is Draining.LEASE
    later = after(Heartbeat("p", "b"), Heartbeat("p", "c"), fleet=one, now=1000)
    alone = after(Heartbeat("p", "c"), fleet=later, now=1020)
    assert replica(expired(alone, 1031), "b").draining is Draining.LEASE


def test_what_the_file_declares_waits_drained_until_it_is_heard_of_again() -> None:
    fleet = after(put("a", 1, ttl="30s", slots=4), fleet=declared(file(p={"a": 1, "b": 2})))
    silent = expired(expired(fleet, 31), 31 + 10 * DRAIN_SECONDS)
    assert replica(silent).draining is Draining.LEASE
    assert ends_at(replica(silent)) == math.inf
    back = replica(after(Heartbeat("p", "a"), fleet=silent, now=200))
    assert (back.draining, back.lease_until, back.settings.slots) == (None, 230, 4)
    assert back.source is Source.FILE
