"""Leases that run out: drained first, removed when what is in flight has had time to finish."""

from controlplane.fleet import Drain, Draining, Fleet, Heartbeat, expire
from controlplane.fleet.leases import DRAIN_SECONDS
from tests.fleet.fleets import a_pool, after, ports, put, replica


def leased(ttl: str = "30s") -> Fleet:
    """Replica a with a lease from time 0, and b without one."""
    return after(put("a", 1, ttl=ttl), fleet=a_pool(b=2))


def test_nothing_is_touched_while_the_lease_lasts() -> None:
    fleet = leased()
    assert expire(fleet, 29.9) is fleet


def test_a_lease_that_runs_out_drains_the_replica() -> None:
    assert replica(expire(leased(), 30)).draining is Draining.LEASE


def test_a_drained_replica_is_kept_while_requests_finish() -> None:
    fleet = expire(leased(), 30)
    assert expire(fleet, 30 + DRAIN_SECONDS - 0.1) is fleet


def test_a_drained_replica_is_removed_in_the_end() -> None:
    assert ports(expire(expire(leased(), 30), 30 + DRAIN_SECONDS)) == {"b": 2}


def test_a_replica_without_a_lease_stays() -> None:
    assert "b" in ports(expire(leased(), 1e9))


def test_whoever_looks_late_drains_before_removing() -> None:
    assert replica(expire(leased(), 1000)).draining is Draining.LEASE


def test_whoever_looks_late_gives_requests_their_time_to_finish() -> None:
    assert "a" in ports(expire(expire(leased(), 1000), 1000 + DRAIN_SECONDS - 0.1))


def test_a_heartbeat_while_draining_saves_the_replica() -> None:
    fleet = after(Heartbeat("p", "a"), fleet=expire(leased(), 30), now=35)
    assert expire(fleet, 60) is fleet


def test_what_an_operator_drained_is_removed_when_its_lease_has_run_out_too() -> None:
    fleet = after(Drain("p", "a"), fleet=leased())
    assert ports(expire(fleet, 30 + DRAIN_SECONDS)) == {"b": 2}


def test_what_an_operator_drained_stays_the_operators() -> None:
    fleet = after(Drain("p", "a"), fleet=leased())
    assert replica(expire(fleet, 31)).draining is Draining.OPERATOR


def test_two_leases_that_run_out_at_once_both_drain() -> None:
    fleet = expire(after(put("b", 2, ttl="30s"), fleet=leased()), 30)
    assert replica(fleet, "b").draining is replica(fleet, "a").draining is Draining.LEASE
