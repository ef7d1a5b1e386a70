"""What each replica got and did, from what Envoys, the control plane and answers tell."""

from typing import Any

import pytest

from controlplane.api.schema import Readings, Replica
from controlplane.tools.load.envoy import Host, ReplicaLoad, StepWatch
from controlplane.tools.load.record import Answer, Series
from controlplane.tools.load.schedule import Departure
from tests.tools.load.records import step


def host(requests: int, active: int = 0, pending: int = 0) -> Host:
    return Host(requests, usable=True, active=active, pending=pending)


def shown(known: dict[str, Any] | None = None, **readings: Any) -> Replica:
    """As the control plane shows a replica; what is not named is unknown."""
    read = Readings.model_construct(**readings) if readings else None
    return Replica.model_construct(readings=read, **(known or {}))


def series(count: int, service: float) -> Series:
    made = Series()
    for _ in range(count):
        made.add(Answer(Departure(1.0, step()), 0.0, service))
    return made


def test_shares_are_what_all_envoys_counted_during_the_step() -> None:
    watch = StepWatch()
    watch.add(100.0, {"one": {"a": host(1000), "b": host(7)}, "two": {"a": host(0)}}, {})
    watch.add(110.0, {"one": {"a": host(1020), "b": host(27)}, "two": {"a": host(40)}}, {})
    a, b = watch.seen({}, 10.0)
    assert (a.share, b.share) == (0.75, 0.25)
    assert (a.rate, b.rate) == (6.0, 2.0)


def test_a_host_that_envoy_made_anew_counts_from_zero() -> None:
    watch = StepWatch()
    for at, count in ((0.0, 500), (1.0, 510), (2.0, 4)):
        watch.add(at, {"one": {"a": host(count)}}, {})
    assert watch.requests == {"a": 14}


def test_latency_follows_from_requests_in_flight_and_their_rate() -> None:
    watch = StepWatch()
    for at in range(11):
        watch.add(float(at), {"one": {"a": host(10 * at, active=2, pending=1)}}, {})
    (a,) = watch.seen({}, 10.0)
    assert a.in_flight == pytest.approx(3)
    assert a.latency == pytest.approx(3 / 10)


def test_of_a_few_requests_no_latency_is_worked_out() -> None:
    watch = StepWatch()
    watch.add(0.0, {"one": {"a": host(0, active=1)}}, {})
    watch.add(1.0, {"one": {"a": host(3, active=1)}}, {})
    assert watch.seen({}, 1.0)[0].latency is None


def test_a_few_sightings_in_flight_say_less_than_the_replicas_own_metrics() -> None:
    for active, latency in ((1, 0.02), (5, 5 / 10)):
        watch = StepWatch()
        for at in range(11):
            reported = {"a": shown(latency_mean_ms=20.0)}
            watch.add(float(at), {"one": {"a": host(10 * at, active)}}, reported)
        assert watch.seen({}, 10.0)[0].latency == pytest.approx(latency)


def test_answers_that_name_their_replica_are_believed_first() -> None:
    watch = StepWatch()
    watch.add(0.0, {"one": {"a": host(0, active=9), "b": host(0)}}, {})
    watch.add(10.0, {"one": {"a": host(900, active=9), "b": host(100)}}, {})
    a, b = watch.seen({"a": series(30, 0.5), "b": series(10, 0.1)}, 10.0)
    assert (a.share, a.rate) == (0.75, 3.0)
    assert a.latency == pytest.approx(0.5)
    assert b.latency == pytest.approx(0.1)


def test_without_envoy_the_control_planes_readings_tell() -> None:
    watch = StepWatch()
    watch.add(
        0.0,
        {},
        {
            "a": shown(
                {"capacity": 40, "capacity_tokens": 2000, "share": 0.8},
                rate_rps=30,
                latency_mean_ms=50.0,
                in_flight=1.5,
                queue=2,
            ),
            "b": shown(rate_rps=10),
        },
    )
    a, b = watch.seen({}, 10.0)
    assert a == ReplicaLoad("a", 0.75, 30, 40, 2000, 0.8, 0.05, 1.5, 2)
    assert a.load == 0.75
    assert b.load is None


def test_who_has_told_nothing_is_unknown_and_not_zero() -> None:
    watch = StepWatch()
    watch.add(0.0, {}, {"a": shown()})
    assert watch.seen({}, 10.0) == (ReplicaLoad("a"),)


def test_an_envoy_that_does_not_answer_once_loses_nothing() -> None:
    watch = StepWatch()
    watch.add(0.0, {"one": {"a": host(0, active=3)}}, {})
    watch.add(1.0, {}, {})
    watch.add(2.0, {"one": {"a": host(10, active=3)}}, {})
    watch.add(3.0, {}, {})
    (a,) = watch.seen({}, 3.0)
    assert (watch.requests, a.rate, a.in_flight) == ({"a": 10}, 5.0, 3.0)
