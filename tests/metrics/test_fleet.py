"""Pools and replicas as gauges: there as long as they are, with what the plane says of them."""

import math

import pytest

from controlplane.config import PoolEntry, PoolSettings, ReplicaSettings, validated
from controlplane.fleet import DeletePool, DeleteReplica, Drain, PutPool, PutReplica
from controlplane.plane import Failure, Plane, Probe
from controlplane.telemetry import GpuMemory, Histogram, Reading
from tests.metrics.exposed import everything, families, values
from tests.plane.lives import SIZES, measured
from tests.planes import discover

POOL = validated(PoolSettings, {"model": "m", "listener": {"address": "127.0.0.1:10000"}})


def pool_at(port: int) -> PoolSettings:
    return validated(
        PoolSettings, {"model": "m", "listener": {"address": f"127.0.0.1:{10000 + port}"}}
    )


def replica_at(port: int) -> ReplicaSettings:
    return validated(ReplicaSettings, {"address": f"127.0.0.1:{port}"})


def entry(*folders: str) -> PoolEntry:
    """Pool m with the replicas of these folders."""
    sources = [{"directory": {"path": folder}} for folder in folders]
    listener = {"address": "127.0.0.1:10000"}
    return validated(
        PoolEntry, {"name": "m", "model": "m", "listener": listener, "discovery": sources}
    )


def plane() -> Plane:
    """Pool m with replicas a, which is ready, and b, which is not."""
    a_plane = Plane(0.0)
    a_plane.apply(PutPool("m", POOL), 0.0)
    for id_, port in (("a", 9001), ("b", 9002)):
        a_plane.apply(PutReplica("m", id_, replica_at(port)), 0.0)
    target = a_plane.target("m", "a")
    assert target is not None
    a_plane.probed(target, Probe.HEALTHY, 0.0)
    a_plane.decide(0.0)
    return a_plane


def busy_plane() -> Plane:
    """The same, a has answered 100 requests a second, each in 20 ms, and a source has answered."""
    a_plane = plane()
    a_plane.discoveries.adopt([entry("replicas.d")])
    a_plane.discoveries.found("m", "directory replicas.d", {}, None, 0.0)
    target = a_plane.target("m", "a")
    assert target is not None
    for at in (0.0, 1.0):
        count = 100 * at
        a_plane.record(
            target, Reading(at, Histogram((0.1, math.inf), (count, count), 0.02 * count)), at
        )
        a_plane.decide(at)
    return a_plane


def test_a_pool_has_a_count_for_each_state() -> None:
    metrics = everything(plane())
    assert values(metrics, "plimsoll_pools") == {(): 1}
    assert values(metrics, "plimsoll_pool_replicas") == {
        ("m", "starting"): 1,
        ("m", "ready"): 1,
        ("m", "unhealthy"): 0,
        ("m", "gone"): 0,
    }
    assert values(metrics, "plimsoll_pool_suspect") == {("m",): 0}


def test_a_replica_is_in_one_state_and_not_in_the_others() -> None:
    states = values(everything(plane()), "plimsoll_replica_state")
    assert {labels for labels, value in states.items() if value} == {
        ("m", "a", "ready"),
        ("m", "b", "starting"),
    }
    assert len(states) == 8


def test_a_replica_shows_what_it_gets() -> None:
    known = plane()
    report = known.report("m", "a", 0.0)
    assert report.decision is not None
    metrics = everything(known)
    assert values(metrics, "plimsoll_replica_weight")["m", "a"] == report.decision.weight
    shares = values(metrics, "plimsoll_replica_share_ratio")
    assert shares == {("m", "a"): 1.0, ("m", "b"): 0.0}


def test_a_share_that_only_envoy_knows_has_no_series() -> None:
    known = plane()
    body = POOL.model_dump() | {"balancing": {"policy": "least-request"}}
    known.apply(PutPool("m", validated(PoolSettings, body)), 1.0)
    known.decide(1.0)
    metrics = everything(known)
    assert values(metrics, "plimsoll_replica_share_ratio") == {("m", "b"): 0.0}
    weights = values(metrics, "plimsoll_replica_weight")
    assert weights == {("m", "a"): 1000, ("m", "b"): 1000}


def test_a_replica_that_was_measured_shows_its_capacity_and_its_last_scrape() -> None:
    known = busy_plane()
    report = known.report("m", "a", 1.0)
    assert report.decision is not None
    metrics = everything(known, now=3.5)
    capacities = values(metrics, "plimsoll_replica_capacity_requests_per_second")
    assert capacities["m", "a"] == report.decision.capacity
    assert 100 <= capacities["m", "a"] <= 400
    assert values(metrics, "plimsoll_replica_scrape_age_seconds") == {("m", "a"): 2.5}


def test_what_is_not_known_of_a_replica_has_no_series() -> None:
    metrics = everything(plane())
    assert values(metrics, "plimsoll_replica_capacity_requests_per_second") == {}
    assert values(metrics, "plimsoll_replica_scrape_age_seconds") == {}


def test_a_drained_replica_is_shown_as_such() -> None:
    known = plane()
    known.apply(Drain("m", "a"), 0.0)
    drained = values(everything(known), "plimsoll_replica_drained")
    assert drained == {("m", "a"): 1, ("m", "b"): 0}


def test_a_replica_whose_gpu_memory_is_full_is_shown_as_drained() -> None:
    known = plane()
    for number in range(4):
        known.apply(PutReplica("m", f"c{number}", replica_at(9100 + number)), 0.0)
    for target in known.targets():
        known.probed(target, Probe.HEALTHY, 0.0)
        used = 0.99 if target.replica.id == "a" else 0.5
        for at in (0.0, 1.0):
            served = Histogram((math.inf,), (100 * at,), 2 * at)
            memory = (GpuMemory(None, used, 1.0),)
            known.record(target, Reading(at, served, memory=memory), at)
    known.decide(1.0)
    drained = values(everything(known), "plimsoll_replica_drained")
    assert {labels for labels, value in drained.items() if value} == {("m", "a")}


def test_a_pool_that_is_silent_is_suspect() -> None:
    known = busy_plane()
    target = known.target("m", "a")
    assert target is not None
    known.record(target, Failure("nobody listens"), 1000.0)
    known.decide(1000.0)
    assert values(everything(known), "plimsoll_pool_suspect") == {("m",): 1}


def test_a_failed_scrape_does_not_count_as_one() -> None:
    known = plane()
    target = known.target("m", "a")
    assert target is not None
    known.record(target, Failure("nobody listens"), 5.0)
    assert values(everything(known, now=9.0), "plimsoll_replica_scrape_age_seconds") == {}


def test_pools_and_replicas_that_are_removed_leave_no_series() -> None:
    def series() -> set[tuple[str, str]]:
        return {
            (sample.name, str(sample.labels))
            for family in families(metrics).values()
            for sample in family.samples
        }

    known = plane()
    metrics = everything(known)
    before = series()
    for number in range(10):
        name = f"pool-{number}"
        known.apply(PutPool(name, pool_at(1 + number)), 0.0)
        known.apply(PutReplica(name, "r", replica_at(20000 + number)), 0.0)
        known.apply(PutReplica("m", f"r{number}", replica_at(30000 + number)), 0.0)
    known.decide(0.0)
    grown = series()
    assert ("plimsoll_replica_weight", "{'pool': 'pool-9', 'replica': 'r'}") in grown
    assert ("plimsoll_replica_weight", "{'pool': 'm', 'replica': 'r9'}") in grown
    for number in range(10):
        known.apply(DeletePool(f"pool-{number}"), 0.0)
        known.apply(DeleteReplica("m", f"r{number}", force=True), 0.0)
    known.decide(0.0)
    assert series() == before


def test_a_pool_whose_requests_are_parted_shows_how_much_each_class_is_and_who_serves_it() -> None:
    metrics = everything(measured(sizes=SIZES).plane)
    assert values(metrics, "plimsoll_class_replicas") == {("search", "m"): 1, ("bulk", "m"): 2}
    parts = values(metrics, "plimsoll_class_part_of_work")
    assert sum(parts.values()) == pytest.approx(1)
    assert 0.5 < parts["bulk", "m"] < 0.9


def test_a_pool_whose_requests_go_together_has_no_series_of_classes() -> None:
    metrics = everything(busy_plane())
    for name in ("plimsoll_class_replicas", "plimsoll_class_part_of_work"):
        assert values(metrics, name) == {}


def test_a_pool_says_how_many_replicas_it_should_have_for_an_autoscaler() -> None:
    a_plane = plane()
    metrics = everything(a_plane)
    assert values(metrics, "plimsoll_pool_replicas_wanted") == {("m",): 2.0}
    assert values(metrics, "plimsoll_pool_active") == {("m",): 1.0}
    assert values(metrics, "plimsoll_pool_cold_start_seconds") == {("m",): 60.0}
    a_plane.apply(DeletePool("m"), 1.0)
    assert values(metrics, "plimsoll_pool_replicas_wanted") == {}


FIRST, SECOND = ("m", "directory one"), ("m", "directory two")


def test_a_source_is_up_once_it_answers_and_no_longer_when_it_fails() -> None:
    known = plane()
    known.discoveries.adopt([entry("one", "two")])
    metrics = everything(known, now=5.0)
    assert values(metrics, "plimsoll_discovery_up") == {FIRST: 0, SECOND: 0}
    assert values(metrics, "plimsoll_discovery_answer_age_seconds") == {}
    known.discoveries.found(*FIRST, {"x": replica_at(9009)}, None, 2.0)
    assert values(metrics, "plimsoll_discovery_up") == {FIRST: 1, SECOND: 0}
    assert values(metrics, "plimsoll_discovery_answer_age_seconds") == {FIRST: 3}
    assert values(metrics, "plimsoll_discovery_replicas") == {FIRST: 1}
    known.discoveries.failed(*FIRST, "no answer")
    assert values(metrics, "plimsoll_discovery_up") == {FIRST: 0, SECOND: 0}
    assert values(metrics, "plimsoll_discovery_problem") == {FIRST: 1, SECOND: 0}
    assert values(metrics, "plimsoll_discovery_replicas") == {FIRST: 1}


def test_a_source_that_answers_in_part_is_up_and_has_a_problem() -> None:
    known = plane()
    known.discoveries.adopt([entry("one")])
    known.discoveries.found(*FIRST, {}, "one.yaml:3: is wrong", 2.0)
    metrics = everything(known)
    assert values(metrics, "plimsoll_discovery_up") == {FIRST: 1}
    assert values(metrics, "plimsoll_discovery_problem") == {FIRST: 1}


def test_replicas_that_stay_though_no_source_has_them_are_counted() -> None:
    known = plane()
    known.discoveries.adopt([entry("one")])
    metrics = everything(known)
    known.discoveries.found(*FIRST, {f"x{port}": replica_at(port) for port in (1, 2, 3)}, None, 0.0)
    discover(known, 0.0)
    assert values(metrics, "plimsoll_discovery_withheld_replicas") == {("m",): 0}
    for target in known.targets():
        known.probed(target, Probe.HEALTHY, 0.0)
    known.discoveries.found(*FIRST, {}, None, 1.0)
    discover(known, 1.0)
    assert values(metrics, "plimsoll_discovery_withheld_replicas") == {("m",): 3}


def test_a_pool_without_a_source_has_no_series() -> None:
    assert values(everything(plane()), "plimsoll_discovery_withheld_replicas") == {}
