"""What is added up while requests end."""

import math
from typing import Any

import pytest

from controlplane.tools.load.record import MOST_REPLICAS, Answer, Record, StepRecord
from controlplane.tools.load.schedule import Departure, plan
from tests.tools.load.records import record, step

STEP, NEXT = plan((10, 20), warm_up=2, seconds=8)


def answer(due: float = 5.0, target: int = 0, kind: str = "", size: int = 0, **more: Any) -> Answer:
    departure = Departure(due, STEP, target, b"x" * size, kind, tokens=size / 4)
    return Answer(departure, **{"late": 0.1, "service": 0.2, **more})


def test_latency_counts_from_when_a_request_was_meant_to_leave() -> None:
    made = StepRecord()
    made.add(answer())
    assert made.whole.latency.longest == pytest.approx(0.3)
    assert made.whole.service.longest == pytest.approx(0.2)
    assert made.late.longest == pytest.approx(0.1)


def test_a_request_of_the_warm_up_is_not_measured() -> None:
    made = StepRecord()
    made.add(answer(1.9, size=10))
    assert (made.whole.requests, made.sent, made.late.count) == (0, 0, 1)


def test_time_that_envoy_did_not_wait_for_a_replica_is_the_hops() -> None:
    made = StepRecord()
    made.add(answer(upstream=0.15))
    made.add(answer())
    assert made.whole.hop.longest == pytest.approx(0.05)
    assert (made.whole.hop.count, made.whole.upstream.count) == (1, 1)


def test_a_failed_request_has_a_kind_and_took_for_ever() -> None:
    made = record(step(), failed=4)
    assert made.whole.faults == {"status 503": 4}
    assert made.whole.quantile(0.98) == pytest.approx(0.02, rel=0.01)
    assert made.whole.quantile(0.99) == math.inf


def test_targets_and_replicas_are_kept_apart() -> None:
    made = StepRecord()
    for target, replica in ((0, "a"), (1, "b"), (1, "a")):
        made.add(answer(target=target, replica=replica))
    assert {item: series.requests for item, series in made.targets.items()} == {0: 1, 1: 2}
    assert {each: series.requests for each, series in made.replicas.items()} == {"a": 2, "b": 1}


def test_classes_are_kept_apart_with_their_tokens() -> None:
    made = StepRecord()
    for kind, size in (("bulk", 400), ("bulk", 800), ("default", 40), ("default", 40)):
        made.add(answer(kind=kind, size=size))
    made.add(answer(kind="bulk", size=4000, fault="status 503"))
    assert (made.classes["bulk"].requests, made.classes["default"].requests) == (3, 2)
    assert {item: series.tokens for item, series in made.classes.items()} == {
        "bulk": 300,
        "default": 20,
    }
    assert made.whole.tokens == 320


def test_a_header_with_no_end_of_values_does_not_take_all_memory() -> None:
    made = StepRecord()
    for number in range(MOST_REPLICAS + 10):
        made.add(answer(replica=str(number)))
    assert len(made.replicas) == MOST_REPLICAS
    made.add(answer(replica="0"))
    assert made.replicas["0"].requests == 2


def test_waiting_is_rate_times_latency() -> None:
    made = record(step(rate=10), service=0.5, requests=300)
    assert made.waiting(step(rate=10)) == pytest.approx([5, 5, 5])


def test_what_the_generator_has_not_sent_yet_waits_as_well() -> None:
    made = record(step(rate=10), service=0.3, late=0.2, requests=300)
    assert made.waiting(step(rate=10)) == pytest.approx([5, 5, 5])


def test_an_answer_completes_the_step_in_which_it_comes() -> None:
    made = Record()
    made.add(answer(size=8), NEXT)
    made.add(answer(fault="status 500", size=8), NEXT)
    made.add(answer(), None)
    assert made.steps[1].tokens == 2
    assert (made.steps[0].completed, made.steps[1].completed) == (0, 1)
    assert made.steps[0].whole.requests == 3


def test_a_target_is_silent_until_somebody_has_answered_there() -> None:
    made = Record()
    assert made.silent(0) is None
    made.add(answer(fault="connection refused", connected=False), None)
    assert made.silent(0) == "connection refused"
    assert made.silent(1) is None
    made.add(answer(fault="status 503"), None)
    assert made.silent(0) is None
