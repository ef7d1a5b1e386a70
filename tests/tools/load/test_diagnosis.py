"""What holds answers up: the hop or replica that is named, and the evidence in its sentence."""

import pytest

from controlplane.tools.load.diagnosis import diagnose, ms
from controlplane.tools.load.envoy import ReplicaLoad
from controlplane.tools.load.record import StepRecord
from tests.tools.load.records import record, step


def named(of: StepRecord, *replicas: ReplicaLoad) -> list[tuple[str, str | None]]:
    return [(item.where, item.name) for item in diagnose(step(), of, replicas)]


def said(of: StepRecord, *replicas: ReplicaLoad) -> str:
    return diagnose(step(), of, replicas)[0].sentence


def test_when_nothing_holds_it_up_it_says_so_with_figures() -> None:
    assert named(record(step())) == [("none", None)]
    assert said(record(step(), requests=10)) == (
        "no bottleneck at this rate: p50 20 ms, p99 20 ms, nothing queues;"
        " but 10 requests say little"
    )


def test_a_step_without_an_answer_tells_nothing() -> None:
    assert said(StepRecord()) == "no request of this rate has ended: nothing is known"


def test_a_generator_that_takes_most_of_a_core_is_named_first() -> None:
    busy = record(step(), cpu=0.75, upstream=0.001)
    assert named(busy) == [("generator", None), ("proxy", None)]
    assert "it takes 75% of a core" in said(busy)
    assert named(record(step(), cpu=0.55)) == [("none", None)]


def test_a_generator_that_is_late_is_named() -> None:
    assert named(record(step(), late=0.05)) == [("generator", None)]
    assert "left 50 ms or more after they were due" in said(record(step(), late=0.05))


@pytest.mark.parametrize(("late", "service"), [(0.004, 0.001), (0.05, 0.9)])
def test_lateness_that_is_small_for_what_is_measured_is_no_fault(
    late: float, service: float
) -> None:
    assert named(record(step(), late=late, service=service)) == [("none", None)]


def test_a_load_that_was_held_back_was_not_open_loop() -> None:
    held = record(step())
    held.held_back = 12
    assert "12 requests were held back by --concurrency-limit, so the load was not" in said(held)


def test_a_load_that_was_held_back_is_late_for_that_reason_alone() -> None:
    held = record(step(), late=5.0)
    held.held_back = 12
    assert named(held) == [("generator", None)]
    assert "late itself" not in said(held)


def test_requests_that_never_left_are_the_generators() -> None:
    behind = record(step())
    behind.unsent = 70
    assert named(behind) == [("generator", None)]
    assert "does not keep up: 70 requests were still to leave" in said(behind)


def test_failed_requests_are_counted_by_kind() -> None:
    assert named(record(step(), failed=9)) == [("requests", None)]
    assert said(record(step(), failed=9)) == "3.0% of the requests failed: 9 × status 503"
    assert named(record(step(), failed=3)) == [("none", None)]


def test_time_lost_on_the_way_to_envoy_is_the_hops() -> None:
    held = record(step(), service=0.2, upstream=0.01)
    assert named(held) == [("proxy", None)]
    assert "p99 190 ms outside of the 10 ms in which Envoy waited" in said(held)


@pytest.mark.parametrize(("service", "upstream"), [(0.2, 0.15), (0.004, 0.0)])
def test_a_hop_that_takes_little_is_not_named(service: float, upstream: float) -> None:
    assert named(record(step(), service=service, upstream=upstream)) == [("none", None)]


def test_a_replica_far_slower_than_its_peers_is_named_with_its_share() -> None:
    peers = [ReplicaLoad(id_, latency=0.02) for id_ in "abc"]
    slow = ReplicaLoad("d", latency=0.1, share=0.3, in_flight=4.2, queue=3)
    assert named(record(step()), *peers, slow) == [("replica", "d")]
    assert said(record(step()), *peers, slow) == (
        "replica d is far slower than its peers: 100 ms on average, 5.0 × their median of 20 ms,"
        " with 30% of the requests and 4.2 in flight and 3 in its queue"
    )


def test_a_replica_that_was_never_seen_busy_is_a_peer_all_the_same() -> None:
    assert named(record(step()), ReplicaLoad("a", latency=0.0), ReplicaLoad("b", latency=0.1)) == [
        ("replica", "b")
    ]
    assert named(
        record(step()), ReplicaLoad("a", latency=0.0), ReplicaLoad("b", latency=0.002)
    ) == [("none", None)]


def test_a_replica_is_not_called_slow_for_a_moment_more_than_its_brisk_peers() -> None:
    brisk = [ReplicaLoad(id_, latency=0.0002) for id_ in "abc"]
    assert named(record(step()), *brisk, ReplicaLoad("d", latency=0.002)) == [("none", None)]
    assert named(record(step()), *brisk, ReplicaLoad("d", latency=0.004)) == [("replica", "d")]


def test_the_slowest_replica_is_named_first() -> None:
    replicas = [ReplicaLoad(id_, latency=0.02) for id_ in "abcd"]
    two = [ReplicaLoad("e", latency=0.1), ReplicaLoad("f", latency=0.5)]
    assert named(record(step()), *replicas, *two) == [("replica", "f"), ("replica", "e")]


def test_a_replica_alone_is_not_compared() -> None:
    assert named(record(step()), ReplicaLoad("a", latency=5.0)) == [("none", None)]


def test_a_replica_that_gets_more_than_it_can_carry_is_named_with_its_capacity() -> None:
    over = ReplicaLoad("a", share=0.5, rate=19, capacity=20)
    idle = ReplicaLoad("b", share=0.5, rate=19, capacity=80)
    assert named(record(step()), idle, over) == [("replica", "a")]
    assert said(record(step()), idle, over) == (
        "replica a gets more than it can carry: 50% of the requests, 19/s against a capacity of"
        " 20/s (95%), while the others are at 24%"
    )


def test_a_replica_that_gets_more_than_others_and_can_carry_it_is_not_named() -> None:
    half, idle = (
        ReplicaLoad("a", share=0.8, rate=10, capacity=20),
        ReplicaLoad("b", rate=1, capacity=20),
    )
    assert named(record(step()), half, idle) == [("none", None)]


def test_the_replica_that_is_loaded_most_is_named_first() -> None:
    full, over = ReplicaLoad("a", rate=19, capacity=20), ReplicaLoad("b", rate=30, capacity=20)
    idle = ReplicaLoad("c", rate=10, capacity=80)
    assert named(record(step()), full, over, idle) == [("replica", "b"), ("replica", "a")]


def test_a_fleet_whose_replicas_are_all_full_is_full_and_no_replica_is_blamed() -> None:
    full = [ReplicaLoad(id_, share=0.5, rate=19, capacity=20) for id_ in "ab"]
    assert named(record(step()), *full) == [("fleet", None)]
    assert said(record(step()), *full) == (
        "the fleet is full: 38 requests/s against a capacity of 40 of its 2 replicas together (95%)"
    )


def test_a_replica_whose_capacity_is_unknown_may_have_room() -> None:
    full = ReplicaLoad("a", share=0.5, rate=19, capacity=20)
    assert ("fleet", None) not in named(record(step()), full, ReplicaLoad("b", share=0.5, rate=19))


def test_a_queue_that_grows_is_seen_without_anybody_telling() -> None:
    growing = record(step(), service=0.1, last=9.0)
    assert named(growing) == [("fleet", None)]
    assert "requests queue up: in flight were, third by third, " in said(growing)


def test_durations_are_short_to_read() -> None:
    assert [ms(item) for item in (0.00123, 0.0456, 0.25, 1.5, 12.34)] == [
        *("1.23 ms", "45.6 ms", "250 ms", "1500 ms", "12.3 s"),
    ]
