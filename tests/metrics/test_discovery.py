"""Sources as gauges: whether each answers, what it found, and what is not followed of it."""

from controlplane.plane import Probe
from tests.metrics.exposed import everything, values
from tests.metrics.test_fleet import entry, plane, replica_at
from tests.planes import discover

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
