"""What sources find reaches the plane, and nothing is told before enough of them have answered."""

import pytest

from controlplane.balancing.restart import pool_data, replica_data
from controlplane.config import Config, ReplicaSettings, load_config, validated
from controlplane.fleet import PutPool, PutReplica, registered, restored, whole
from controlplane.plane import Plane, Probe, RestartPool, RestartReplica
from controlplane.plane.discoveries import EMPTY_SECONDS
from controlplane.plane.recovery import STARTUP_SECONDS
from tests.planes import declare, discover

SOURCE = "directory replicas.d"


def config(declared: str = "", discovery: str = "{directory: {path: replicas.d}}") -> Config:
    return load_config(
        f"""
pools:
  - name: m
    model: m
    listener: {{address: "127.0.0.1:10000"}}
    replicas: [{declared}]
    discovery: [{discovery}]
""",
        "plimsoll.yaml",
    )


def found(*ports: int) -> dict[str, ReplicaSettings]:
    return {
        f"r{port}": validated(ReplicaSettings, {"address": f"10.0.0.1:{port}"}) for port in ports
    }


def answered(plane: Plane, *ports: int, now: float = 0.0) -> None:
    plane.discoveries.found("m", SOURCE, found(*ports), None, now)
    discover(plane, now)


def serve(plane: Plane, now: float = 0.0) -> None:
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, now)


def ids(plane: Plane) -> set[str]:
    return {
        replica.id
        for replica in plane.fleet.pool("m").replicas.values()
        if replica.draining is None
    }


@pytest.fixture
def plane() -> Plane:
    plane = Plane(0.0)
    declare(plane, config(), 0.0)
    return plane


def test_nothing_is_told_before_the_source_of_an_empty_pool_has_answered(plane: Plane) -> None:
    assert not plane.has_started(STARTUP_SECONDS)
    plane.discoveries.failed("m", SOURCE, "no answer")
    assert not plane.has_started(STARTUP_SECONDS)
    answered(plane, 1)
    assert not plane.has_started(0.1)
    serve(plane)
    assert plane.has_started(0.1)


def test_an_empty_answer_is_one(plane: Plane) -> None:
    answered(plane)
    assert plane.has_started(0.1)


def test_a_source_is_not_waited_for_for_ever(plane: Plane) -> None:
    assert not plane.has_started(EMPTY_SECONDS - 0.1)
    assert plane.has_started(EMPTY_SECONDS)


def test_a_pool_with_replicas_waits_no_longer_than_others() -> None:
    plane = Plane(0.0)
    declare(plane, config('{id: a, address: "10.0.0.2:80"}'), 0.0)
    serve(plane)
    assert not plane.has_started(0.1)
    assert plane.has_started(STARTUP_SECONDS)
    plane.discoveries.failed("m", SOURCE, "no answer")
    assert plane.has_started(0.1)


def test_a_replica_found_while_the_plane_starts_has_served_before(plane: Plane) -> None:
    answered(plane, 1, 2)
    serve(plane)
    plane.decide(0.2)
    for id_ in ("r1", "r2"):
        assert plane.report("m", id_, 0.2).observed.readiness.ready_since is None


def test_a_reload_keeps_what_was_found(plane: Plane) -> None:
    answered(plane, 1)
    declare(plane, config('{id: a, address: "10.0.0.2:80"}'), 1.0)
    assert ids(plane) == {"a", "r1"}
    (source,) = plane.discoveries.report("m").sources
    assert list(source.found or {}) == ["r1"]


def test_a_reload_without_the_source_lets_go_what_it_found(plane: Plane) -> None:
    answered(plane, 1)
    declare(plane, config('{id: a, address: "10.0.0.2:80"}', ""), 1.0)
    assert ids(plane) == {"a"}


def test_a_source_that_is_taken_out_does_not_empty_a_pool_that_serves(plane: Plane) -> None:
    answered(plane, 1, 2)
    serve(plane)
    declare(plane, config("", ""), 1.0)
    assert ids(plane) == {"r1", "r2"}
    assert plane.discoveries.report("m").withheld == ("r1", "r2")
    # The next reload looks again, and still finds nobody who serves in their place.
    declare(plane, config("", ""), 2.0)
    assert ids(plane) == {"r1", "r2"}


def test_what_was_found_in_a_pool_that_only_the_api_keeps_is_let_go(plane: Plane) -> None:
    answered(plane, 1)
    overridden = plane.fleet.pool("m").settings.model_copy(update={"model": "other"})
    plane.apply(PutPool("m", overridden), 0.5)
    plane.apply(PutReplica("m", "mine", found(9)["r9"]), 0.5)
    declare(plane, Config(), 1.0)
    assert ids(plane) == {"mine"}


def test_what_served_before_a_restart_is_not_let_go_by_a_first_answer_before_it_was_asked(
    plane: Plane,
) -> None:
    answered(plane, 1, 2, 3)
    serve(plane)
    plane.decide(0.5)
    decision, known = plane.decision("m"), plane.restart_state("m")
    assert decision is not None
    kept = {id_: RestartReplica(*known[id_], replica_data(decision, id_)) for id_ in decision.rows}
    again = Plane(0.0)
    again.adopt(whole(restored(registered(plane.fleet), config(), 0.0)), 0.0)
    again.restore({"m": RestartPool(0.0, pool_data(decision), kept)}, 0.0)
    again.discoveries.adopt(config().pools)
    answered(again, 1)
    assert ids(again) == {"r1", "r2", "r3"}
    assert again.discoveries.report("m").withheld == ("r2", "r3")
    for target in again.targets():
        healthy = target.replica.id == "r1"
        again.probed(target, Probe.HEALTHY if healthy else Probe.REFUSED, 1.0)
    discover(again, 2.0)
    assert ids(again) == {"r1"}


def test_a_failure_keeps_the_last_set_and_its_age(plane: Plane) -> None:
    answered(plane, 1, now=3.0)
    plane.discoveries.failed("m", SOURCE, "no answer")
    (source,) = plane.discoveries.report("m").sources
    assert (list(source.found or {}), source.answered_at) == (["r1"], 3.0)
    assert (source.failing, source.problem) == (True, "no answer")


def test_a_source_that_is_not_followed_is_not_heard(plane: Plane) -> None:
    plane.discoveries.found("m", "directory elsewhere", found(1), None, 0.0)
    plane.discoveries.found("q", SOURCE, found(1), None, 0.0)
    discover(plane, 0.0)
    assert ids(plane) == set()
    assert [source.source for source in plane.discoveries.report("m").sources] == [SOURCE]
    assert plane.discoveries.report("q").sources == ()


def test_an_unchanged_answer_is_no_change(plane: Plane) -> None:
    answered(plane, 1)
    before = plane.fleet
    answered(plane, 1, now=5.0)
    assert plane.fleet is before


def test_a_part_of_a_set_takes_nothing_away(plane: Plane) -> None:
    answered(plane, 1, 2, 3)
    serve(plane)
    plane.discoveries.found("m", SOURCE, found(1, 2), "one file is wrong", 1.0, is_whole=False)
    discover(plane, 1.0)
    assert {replica.draining for replica in plane.fleet.pool("m").replicas.values()} == {None}
    answered(plane, 1, 2, now=2.0)
    assert plane.fleet.pool("m").replica("r3").draining is not None


def test_who_is_replaced_stays_until_envoys_are_told_of_the_one_in_its_place(plane: Plane) -> None:
    answered(plane, 1)
    serve(plane)
    plane.decide(1.0)
    answered(plane, 2, now=2.0)
    serve(plane, 2.0)
    discover(plane, 2.1)
    before = plane.catalog
    assert plane.built(plane.refreshing()()) is before
    assert [(member.id, member.draining) for member in plane.catalog.pools["m"].members] == [
        ("r1", False)
    ]
    plane.decide(2.2)
    answered(plane, 2, now=2.3)
    plane.built(plane.refreshing()())
    told = {member.id: member.draining for member in plane.catalog.pools["m"].members}
    assert told == {"r1": True, "r2": False}
