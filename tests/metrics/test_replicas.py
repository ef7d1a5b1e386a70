"""What one replica does and has: its own readings, the count of Envoys, GPU memory, its guard."""

import math
from dataclasses import replace

import pytest

from controlplane.config import PoolSettings, ReplicaSettings, load_config, validated
from controlplane.fleet import PutPool, PutReplica
from controlplane.plane import Failure, Plane, Probe
from controlplane.telemetry import GpuMemory, Histogram, Reading
from controlplane.telemetry.load import Endpoint, Load
from tests.metrics.exposed import everything, values
from tests.planes import declare, report

AT = Endpoint("m", "127.0.0.1", 9001)
GIB = float(1 << 30)


def plane(replicas: int = 4) -> Plane:
    a_plane = Plane(0.0)
    listener = {"address": "127.0.0.1:10000"}
    a_plane.apply(PutPool("m", validated(PoolSettings, {"model": "m", "listener": listener})), 0.0)
    for number in range(replicas):
        address = f"127.0.0.1:{9001 + number}"
        settings = validated(ReplicaSettings, {"address": address})
        a_plane.apply(PutReplica("m", "abcdef"[number], settings), 0.0)
    for target in a_plane.targets():
        a_plane.probed(target, Probe.HEALTHY, 0.0)
    return a_plane


def read(a_plane: Plane, id_: str, reading: Reading) -> None:
    target = a_plane.target("m", id_)
    assert target is not None
    a_plane.record(target, reading, reading.at)


def loaded_plane() -> Plane:
    """Replicas that say everything: a in requests, b in texts; Envoys report of a."""
    a_plane = plane()
    for at in (0.0, 1.0):
        count = 100 * at
        latency = Histogram((0.1, 0.2, math.inf), (0.8 * count, count, count), 0.02 * count)
        memory = GpuMemory("GPU-1", 95 * GIB, 100 * GIB)
        one = Reading(at, latency, memory=(memory,), queue=7.0, tokens=50 * count)
        read(a_plane, "a", one)
        full = (GpuMemory(None, 0.99, 1.0),)
        read(a_plane, "b", replace(one, memory=full, queue_unit="texts"))
        report(a_plane, "envoy", {AT: Load(30, 2, 5)}, 1.0, at)
        a_plane.decide(at)
    return a_plane


def test_a_replica_shows_the_quantiles_of_its_own_histogram() -> None:
    a_plane = loaded_plane()
    metrics = everything(a_plane)
    window = a_plane.report("m", "a", 1.0).observed.window
    assert window is not None
    p50 = values(metrics, "plimsoll_replica_latency_p50_seconds")
    assert p50 == {("m", "a"): window.p50, ("m", "b"): window.p50}
    assert window.p50 == pytest.approx(0.0625)
    assert values(metrics, "plimsoll_replica_latency_p99_seconds")["m", "a"] == pytest.approx(0.195)
    assert values(metrics, "plimsoll_replica_latency_mean_seconds")["m", "a"] == pytest.approx(0.02)


def test_the_mean_of_a_replica_without_metrics_is_that_of_envoys() -> None:
    a_plane = plane()
    for second in range(1, 8):
        report(a_plane, "envoy", {AT: Load(10, 0, 2)}, 1.0, float(second))
    metrics = everything(a_plane, now=7.0)
    mean = values(metrics, "plimsoll_replica_latency_mean_seconds")
    assert mean == {("m", "a"): pytest.approx(0.2)}
    assert values(metrics, "plimsoll_replica_latency_p99_seconds") == {}


def test_tries_are_counted_by_how_they_ended_whoever_sent_them() -> None:
    a_plane = loaded_plane()
    report(a_plane, "other", {AT: Load(4, 1, 3)}, 1.0, 1.0)
    metrics = everything(a_plane, now=1.0)
    counted = values(metrics, "plimsoll_replica_requests_total")
    assert counted == {("m", "a", "ok"): 64, ("m", "a", "error"): 5}
    assert values(metrics, "plimsoll_replica_in_flight_requests") == {("m", "a"): 8}


def test_a_queue_says_what_it_counts() -> None:
    metrics = everything(loaded_plane())
    assert values(metrics, "plimsoll_replica_queued_requests") == {("m", "a"): 7}
    assert values(metrics, "plimsoll_replica_queued_texts") == {("m", "b"): 7}


def test_tokens_are_counted_up() -> None:
    metrics = everything(loaded_plane())
    assert values(metrics, "plimsoll_replica_tokens_total") == {("m", "a"): 5000, ("m", "b"): 5000}


def test_failed_scrapes_are_counted_by_replica() -> None:
    a_plane = plane(2)
    target = a_plane.target("m", "b")
    assert target is not None
    for at in (1.0, 2.0, 3.0):
        a_plane.record(target, Failure("nobody listens"), at)
    failures = values(everything(a_plane), "plimsoll_replica_scrape_failures_total")
    assert failures == {("m", "a"): 0, ("m", "b"): 3}


def test_memory_is_in_bytes_and_a_part_where_only_that_is_known() -> None:
    metrics = everything(loaded_plane())
    used = values(metrics, "plimsoll_replica_gpu_memory_used_bytes")
    assert used == {("GPU-1", "m", "a"): 95 * GIB}
    total = values(metrics, "plimsoll_replica_gpu_memory_total_bytes")
    assert total == {("GPU-1", "m", "a"): 100 * GIB}
    ratio = values(metrics, "plimsoll_replica_gpu_memory_used_ratio")
    assert ratio == {("GPU-1", "m", "a"): 0.95, ("0", "m", "b"): 0.99}


def test_the_guard_of_memory_says_what_is_left_of_a_share() -> None:
    metrics = everything(loaded_plane())
    left = values(metrics, "plimsoll_replica_gpu_memory_guard_ratio")
    assert left["m", "b"] == 0
    assert 0 < left["m", "a"] < 1
    limits = values(metrics, "plimsoll_replica_gpu_memory_limit_ratio")
    assert (limits["soft", "m", "a"], limits["hard", "m", "a"]) == (0.9, 0.97)
    assert ("m", "c") not in left


def test_two_gpus_of_one_name_are_two_series() -> None:
    a_plane = plane(1)
    twice = (GpuMemory("GPU-1", 0.5, 1.0), GpuMemory("GPU-1", 0.6, 1.0))
    read(a_plane, "a", Reading(1.0, None, memory=twice))
    a_plane.decide(1.0)
    ratio = values(everything(a_plane), "plimsoll_replica_gpu_memory_used_ratio")
    assert ratio == {("GPU-1", "m", "a"): 0.5, ("1", "m", "a"): 0.6}


def test_a_gpu_with_the_number_of_another_as_its_name_is_a_series_of_its_own() -> None:
    a_plane = plane(1)
    some = (GpuMemory("1", 0.5, 1.0), GpuMemory(None, 0.6, 1.0), GpuMemory("1", 0.7, 1.0))
    read(a_plane, "a", Reading(1.0, None, memory=some))
    a_plane.decide(1.0)
    ratio = values(everything(a_plane), "plimsoll_replica_gpu_memory_used_ratio")
    assert sorted(ratio.values()) == [0.5, 0.6, 0.7]


def test_a_replica_is_in_the_tier_that_was_decided() -> None:
    a_plane = loaded_plane()
    decision = a_plane.decision("m")
    assert decision is not None
    tiers = set(values(everything(a_plane), "plimsoll_replica_tier"))
    assert tiers == {("m", id_, decision.replicas[id_].tier) for id_ in decision.replicas}


def test_a_replica_that_is_silent_for_long_is_stale() -> None:
    a_plane = loaded_plane()
    later = 30.0
    for id_ in "acd":
        read(a_plane, id_, Reading(later, None))
    a_plane.decide(later)
    stale = values(everything(a_plane, now=later), "plimsoll_replica_stale")
    assert stale["m", "b"] == 1
    assert stale["m", "a"] == 0


def test_a_policy_without_tiers_has_none() -> None:
    a_plane = Plane(0.0)
    declare(
        a_plane,
        load_config(
            """
pools:
  - name: m
    model: m
    listener: {address: "127.0.0.1:10000"}
    balancing: {policy: least-request}
    replicas: [{id: a, address: "127.0.0.1:9001"}]
""",
            "plimsoll.yaml",
        ),
        0.0,
    )
    a_plane.decide(0.0)
    assert values(everything(a_plane), "plimsoll_replica_tier") == {}
