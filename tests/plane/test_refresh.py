"""What Envoys are told of a change of the fleet before anything is weighed again."""

import pytest

from controlplane.config import ReplicaSettings, load_config, validated
from controlplane.fleet import Drain, PutReplica, Undrain
from controlplane.plane import Plane, Probe
from controlplane.resources.endpoints import Member
from tests.fleet.fleets import without_pool
from tests.planes import declare

TEXT = """
pools:
  - name: minilm
    model: all-MiniLM-L6-v2
    listener: {address: "127.0.0.1:10000"}
    balancing: {policy: least-request}
    replicas:
      - {id: a, address: "127.0.0.1:9001"}
      - {id: b, address: "127.0.0.1:9002"}
"""
CONFIG = load_config(TEXT, "plimsoll.yaml")


@pytest.fixture
def plane() -> Plane:
    plane = Plane(0.0)
    declare(plane, CONFIG, 0.0)
    for name in ("a", "b"):
        answer(plane, name)
    plane.decide(0.0)
    return plane


def answer(plane: Plane, name: str) -> None:
    target = plane.target("minilm", name)
    assert target is not None
    plane.probed(target, Probe.HEALTHY, 0.0)


def told(plane: Plane) -> dict[str, Member]:
    """What Envoys are told, by id."""
    return {member.id: member for member in plane.catalog.pools["minilm"].members}


def at(port: int) -> ReplicaSettings:
    return validated(ReplicaSettings, {"address": f"127.0.0.1:{port}"})


def test_a_drain_and_its_end_are_told_and_nothing_is_weighed(plane: Plane) -> None:
    weighing = plane.decision("minilm")
    plane.apply(Drain("minilm", "a"), 1.0)
    plane.built(plane.refreshing()())
    assert {name: item.draining for name, item in told(plane).items()} == {"a": True, "b": False}
    plane.apply(Undrain("minilm", "a"), 1.0)
    plane.built(plane.refreshing()())
    assert not told(plane)["a"].draining
    assert plane.decision("minilm") is weighing


def test_a_replica_that_has_gone_is_told(plane: Plane) -> None:
    (line,) = (item for item in TEXT.splitlines(keepends=True) if "id: a" in item)
    declare(plane, load_config(TEXT.replace(line, ""), "plimsoll.yaml"), 1.0)
    plane.built(plane.refreshing()())
    assert told(plane).keys() == {"b"}


def test_what_came_in_place_of_another_is_not_told_before_it_is_ready(plane: Plane) -> None:
    plane.apply(PutReplica("minilm", "a", at(9003)), 1.0)
    plane.built(plane.refreshing()())
    assert told(plane).keys() == {"b"}
    answer(plane, "a")
    plane.built(plane.refreshing()())
    assert told(plane).keys() == {"b"}
    plane.decide(1.0)
    assert told(plane)["a"].address.port == 9003


def test_who_is_new_has_no_share_before_the_next_decision(plane: Plane) -> None:
    before = plane.catalog
    plane.apply(PutReplica("minilm", "c", at(9003)), 1.0)
    answer(plane, "c")
    assert plane.built(plane.refreshing()()) is before
    plane.decide(1.0)
    assert told(plane).keys() == {"a", "b", "c"}


def test_other_settings_of_the_pool_wait_for_the_shares_that_go_with_them(plane: Plane) -> None:
    before = plane.catalog
    declare(plane, load_config(TEXT.replace("least-request", "round-robin"), "plimsoll.yaml"), 1.0)
    plane.apply(Drain("minilm", "a"), 1.0)
    assert plane.built(plane.refreshing()()) is before
    plane.decide(1.0)
    assert told(plane)["a"].draining


def test_what_was_told_once_is_not_built_again(plane: Plane) -> None:
    plane.apply(Drain("minilm", "a"), 1.0)
    after = plane.built(plane.refreshing()())
    assert plane.built(plane.refreshing()()) is after
    assert plane.decide(1.0).pools["minilm"].members == after.pools["minilm"].members


def test_a_pool_that_was_removed_is_left_to_the_decision(plane: Plane) -> None:
    plane.apply(Drain("minilm", "a"), 1.0)
    plane.adopt(without_pool(plane.fleet, "minilm"), 1.0)
    plane.built(plane.refreshing()())
    assert plane.decide(1.0).pools == {}
