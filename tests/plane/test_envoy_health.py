"""Where Envoys see another health of a replica than the control plane, both for a while."""

import pytest

from controlplane.api.views import replica_view
from controlplane.fleet import Drain, PutPool
from controlplane.plane import Plane, Probe
from controlplane.plane.envoys import MOST, Dispute
from controlplane.resources.health_checks import DISPUTED_CHECKS, check_interval
from controlplane.resources.views import View
from controlplane.telemetry.load import Endpoint
from tests.fleet.fleets import pool_settings, put, without_replica

A = Endpoint("p", "127.0.0.1", 1)
EVERYTHING = View()


def plane_with(*ports: int, probe: Probe = Probe.HEALTHY) -> Plane:
    plane = Plane(0.0)
    plane.apply(PutPool("p", pool_settings()), 0.0)
    for port in ports:
        plane.apply(put(f"r{port}", port), 0.0)
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, 0.0)
    plane.decide(0.0)
    for target in plane.targets():
        if probe is not Probe.HEALTHY:
            plane.probed(target, probe, 0.0)
    return plane


def while_of(plane: Plane) -> float:
    return DISPUTED_CHECKS * check_interval(plane.fleet.pool("p"))


def told(plane: Plane, now: float) -> list[tuple[str, str, bool]]:
    found: list[Dispute] = sorted(plane.disputes(now))
    return [(item.replica, item.opinion.node, item.opinion.is_healthy) for item in found]


def test_one_that_is_ready_and_that_an_envoy_sees_unhealthy_is_told_after_a_while() -> None:
    plane = plane_with(1, 2)
    for now in (10.0, 20.0):
        plane.health_seen("one", "n1", {A: False}, now)
        plane.health_seen("two", "n2", {A: True}, now)
    late = 10.0 + while_of(plane)
    assert told(plane, late - 0.1) == []
    assert told(plane, late) == [("r1", "n1", False)]
    why = replica_view(plane.report("p", "r1", late), late)["why"]
    assert any("ready to the control plane, unhealthy at n1" in each for each in why), why
    assert not any(
        "disagree" in item for item in replica_view(plane.report("p", "r2", late), late)["why"]
    )


def test_one_that_is_gone_and_that_an_envoy_sees_healthy_is_told_too() -> None:
    plane = plane_with(1, probe=Probe.REFUSED)
    plane.health_seen("one", "n1", {A: True}, 0.0)
    assert told(plane, while_of(plane)) == [("r1", "n1", True)]


@pytest.mark.parametrize("how", ["it sees it otherwise", "it has other replicas", "it has gone"])
def test_it_is_over_once_the_envoy_does_not_say_so_any_more(how: str) -> None:
    plane = plane_with(1)
    plane.health_seen("one", "n1", {A: False}, 0.0)
    assert told(plane, 1000.0)
    match how:
        case "it sees it otherwise":
            plane.health_seen("one", "n1", {A: True}, 1000.0)
        case "it has other replicas":
            plane.health_seen("one", "n1", {}, 1000.0)
        case _:
            plane.health_left("one")
    assert told(plane, 2000.0) == []


def test_of_a_drained_replica_and_of_one_that_is_no_more_nothing_is_told() -> None:
    plane = plane_with(1)
    plane.health_seen("one", "n1", {A: False, Endpoint("p", "127.0.0.1", 9): False}, 0.0)
    plane.apply(Drain("p", "r1"), 1.0)
    assert told(plane, 1000.0) == []


def test_an_envoy_checks_what_it_is_shown_and_envoys_know_of_and_only_so_much() -> None:
    plane = plane_with(*range(1, MOST + 20))
    plane.apply(put("new", 999), 1.0)
    first = plane.to_check("n1", EVERYTHING, ())
    assert len({item.replica.id for item in first}) == MOST
    assert "new" not in {each.replica.id for each in first}
    assert plane.to_check("n1", EVERYTHING, first) == first
    # Another one checks others, so that most are checked by somebody.
    assert {entry.replica.id for entry in plane.to_check("n2", EVERYTHING, ())} != {
        this.replica.id for this in first
    }
    assert plane.to_check("n1", View(pools=("q",)), ()) == ()


def test_one_that_is_gone_makes_room_for_another() -> None:
    plane = plane_with(*range(1, MOST + 2))
    known = plane.to_check("n", EVERYTHING, ())
    gone = known[0].replica.id
    plane.adopt(without_replica(plane.fleet, "p", gone), 1.0)
    plane.decide(1.0)
    after = {item.replica.id for item in plane.to_check("n", EVERYTHING, known)}
    assert len(after) == MOST
    assert gone not in after
