"""The plane follows its pools: readiness, requests that reach no replica, restarts, removals."""

import json

import pytest

from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import DeletePool, DeleteReplica, Drain, PutPool, PutReplica, Refused
from controlplane.plane import Plane, Probe, RestartPool
from controlplane.telemetry.load import drained
from tests.plane.lives import CONFIG, SIZES, measured, steadily
from tests.planes import declare


def decided(plane: Plane, now: float) -> None:
    plane.decide(now)
    drained(plane.sizing(now))


def settings(**scaling: object) -> PoolSettings:
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, "scaling": scaling}
    return validated(PoolSettings, body)


def empty(**scaling: object) -> Plane:
    plane = Plane(0.0)
    plane.apply(PutPool("m", settings(**scaling)), 0.0)
    decided(plane, 0.0)
    return plane


def put(plane: Plane, id_: str, now: float) -> None:
    port = 9000 + len(plane.fleet.pools["m"].replicas)
    replica = validated(ReplicaSettings, {"address": f"127.0.0.1:{port}"})
    plane.apply(PutReplica("m", id_, replica), now)
    decided(plane, now)


def probe(plane: Plane, id_: str, result: Probe, now: float) -> None:
    target = plane.target("m", id_)
    assert target is not None
    plane.probed(target, result, now)
    decided(plane, now)


def test_a_request_that_reaches_no_replica_wakes_an_empty_pool() -> None:
    plane = empty(min_replicas=0, scale_down_after="60s")
    decided(plane, 100.0)
    assert plane.recommendation("m", 100.0).replicas == 0
    assert not plane.is_active("m", 100.0)
    plane.unserved({"m": 1}, 101.0)
    assert plane.is_active("m", 101.0)
    assert plane.recommendation("m", 101.0).replicas == 1


def test_requests_that_find_no_replica_count_as_load() -> None:
    life = measured(sizes=(400,))
    plane = life.plane
    for id_ in ("fast", "same", "slow"):
        plane.apply(Drain("m", id_), life.now)
    pool = CONFIG.pools[0].model_copy(update={"replicas": ()})
    declare(plane, CONFIG.model_copy(update={"pools": (pool,)}), life.now)
    assert not plane.fleet.pools["m"].replicas

    def come(requests: int) -> int:
        for _ in range(60):
            life.now += 0.5
            plane.unserved({"m": requests, "nobody": 1}, life.now)
            decided(plane, life.now)
        return plane.recommendation("m", life.now).replicas

    few = come(10)
    assert 1 <= few < come(1000)


def test_a_cold_start_is_learned_from_wanted_to_ready() -> None:
    plane = empty()
    assert plane.recommendation("m", 10.0).replicas == 1
    put(plane, "a", 25.0)
    probe(plane, "a", Probe.UNHEALTHY, 30.0)
    probe(plane, "a", Probe.HEALTHY, 55.0)
    found = plane.recommendation("m", 57.0)
    assert (found.horizon, found.starts) == (45.0, 1)


def test_what_was_learned_of_starts_survives_a_restart_and_nonsense_does_not() -> None:
    plane = empty()
    plane.recommendation("m", 10.0)
    put(plane, "a", 25.0)
    probe(plane, "a", Probe.HEALTHY, 55.0)
    decided(plane, 60.0)
    kept = json.loads(json.dumps(plane.scalings.data("m")))
    for data, expected in ((kept, 45.0), ({"cold_starts": ["x"]}, 60.0), ({}, 60.0)):
        again = empty()
        again.restore({"m": RestartPool(1.0, data, {})}, 0.0)
        assert again.recommendation("m", 1.0).horizon == expected


def test_a_pool_that_has_gone_is_forgotten_and_an_unknown_one_is_refused() -> None:
    plane = empty()
    plane.apply(DeletePool("m"), 1.0)
    assert plane.scalings.data("m") == {}
    for asked in (plane.recommendation, plane.is_active):
        with pytest.raises(Refused, match="'m'"):
            asked("m", 2.0)


def test_drained_replicas_count_on_top() -> None:
    plane = empty()
    for id_ in ("a", "b"):
        put(plane, id_, 1.0)
        probe(plane, id_, Probe.HEALTHY, 2.0)
    before = plane.recommendation("m", 3.0)
    plane.apply(Drain("m", "a"), 4.0)
    decided(plane, 4.0)
    found = plane.recommendation("m", 5.0)
    assert (before.current, found.current) == (2, 2)
    assert any("1 replica drained or cut" in reason for reason in found.reasons)


def test_classes_that_are_parted_are_counted_apart_with_their_own_replicas() -> None:
    life = measured()
    life.sizes = SIZES
    life.live(60, steadily)
    found = life.plane.recommendation("m", life.now)
    assert {item.demand.title for item in found.needs} == {"search", "bulk"}
    ids = [id_ for need in found.needs for id_ in need.demand.fleet.ids]
    assert sorted(ids) == ["fast", "same", "slow"]


def test_a_removed_replica_no_longer_counts() -> None:
    plane = empty()
    for id_ in ("a", "b", "c"):
        put(plane, id_, 1.0)
        probe(plane, id_, Probe.HEALTHY, 2.0)
    plane.apply(DeleteReplica("m", "c"), 3.0)
    decided(plane, 3.0)
    assert plane.recommendation("m", 4.0).current == 2


def test_replicas_and_pools_may_go_while_they_are_looked_at() -> None:
    plane = empty()
    for id_ in "abc":
        put(plane, id_, 1.0)
    look = plane.sizing(10.0)
    next(look)
    plane.apply(DeleteReplica("m", "b"), 10.0)
    next(look)
    plane.apply(DeletePool("m"), 10.0)
    drained(look)
    drained(plane.sizing(20.0))
    with pytest.raises(Refused):
        plane.recommendation("m", 20.0)
