"""After a registry was lost Envoys are told of no pool as empty whose replicas may come back."""

from controlplane.fleet import PutPool, PutReplica
from controlplane.plane import Plane, Probe
from controlplane.plane.registering import REGISTER_SECONDS
from controlplane.plane.settling import SETTLE_SECONDS
from controlplane.settings import PoolEntry, ReplicaSettings, validated
from tests.fleet.fleets import pool_settings


def lost(*pools: str) -> Plane:
    """A control plane whose file declares pools without replicas, and that finds nothing kept."""
    plane = Plane(0.0)
    plane.registering.lost()
    for number, name in enumerate(pools):
        plane.apply(PutPool(name, pool_settings(10_000 + number)), 0.0)
    return plane


def register(plane: Plane, pool: str, id_: str, now: float, probe: Probe | None) -> None:
    port = 9_000 + len(plane.targets())
    settings = validated(ReplicaSettings, {"address": f"127.0.0.1:{port}", "ttl": "30s"})
    plane.apply(PutReplica(pool, id_, settings), now)
    if probe is not None:
        target = plane.target(pool, id_)
        assert target is not None
        plane.probed(target, probe, now)


def test_a_pool_that_is_empty_after_a_loss_is_not_told_of_while_its_replicas_may_come_back() -> (
    None
):
    plane = lost("p")
    assert not plane.is_settled(REGISTER_SECONDS - 0.1)
    assert plane.is_settled(REGISTER_SECONDS)


def test_once_every_pool_has_a_replica_that_was_asked_envoys_are_told() -> None:
    plane = lost("p", "q")
    late = SETTLE_SECONDS + 1
    register(plane, "p", "a", late, Probe.HEALTHY)
    assert not plane.is_settled(late)
    register(plane, "q", "b", late, None)
    assert not plane.is_settled(late)
    target = plane.target("q", "b")
    assert target is not None
    plane.probed(target, Probe.REFUSED, late)
    assert plane.is_settled(late)


def test_the_wait_begins_with_the_first_pool() -> None:
    plane = lost()
    assert not plane.is_settled(1_000.0)
    plane.apply(PutPool("p", pool_settings()), 1_000.0)
    assert not plane.is_settled(1_000.0 + REGISTER_SECONDS - 0.1)
    assert plane.is_settled(1_000.0 + REGISTER_SECONDS)


def test_what_was_decided_once_is_not_waited_for_again() -> None:
    plane = lost("p")
    register(plane, "p", "a", 1.0, Probe.HEALTHY)
    assert plane.is_settled(1.0)
    plane.decide(1.0)
    plane.apply(PutPool("q", pool_settings(10_001)), 2.0)
    assert plane.is_settled(SETTLE_SECONDS)


def test_where_something_was_kept_an_empty_pool_is_empty() -> None:
    plane = Plane(0.0)
    plane.apply(PutPool("p", pool_settings()), 0.0)
    assert plane.is_settled(0.0)


def test_a_pool_that_a_source_fills_is_waited_for_as_long_as_its_source_and_no_longer() -> None:
    plane = lost("p")
    source = {"directory": {"path": "replicas.d"}}
    body = {"name": "p", "model": "m", "listener": {"address": "127.0.0.1:1"}}
    plane.discoveries.adopt([validated(PoolEntry, {**body, "discovery": [source]})])
    assert not plane.is_settled(1.0)
    plane.discoveries.found("p", "directory replicas.d", {}, None, 1.0)
    plane.discover(1.0)
    assert plane.is_settled(1.0)
