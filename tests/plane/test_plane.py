"""The plane decides from what it was told: who is in, what each gets, and when it says nothing."""

from dataclasses import replace

import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import pytest

from controlplane.config import Config, ReplicaSettings, load_config, validated
from controlplane.fleet import Drain, PutReplica, Refused, expire
from controlplane.plane import Failure, Plane, Probe, Target
from controlplane.plane.recovery import STARTUP_SECONDS
from controlplane.resources.catalog import Catalog
from controlplane.resources.resource import ENDPOINT
from controlplane.resources.views import View
from controlplane.telemetry import GpuMemory, Histogram, Reading
from tests.fleet.fleets import without_pool
from tests.planes import declare

CONFIG = load_config(
    """
pools:
  - name: minilm
    model: all-MiniLM-L6-v2
    listener: {address: "127.0.0.1:10000"}
    replicas:
      - {id: a, address: "127.0.0.1:9001"}
      - {id: b, address: "127.0.0.1:9002"}
""",
    "plimsoll.yaml",
)


def without(replica_id: str) -> Config:
    """The same file with a replica less."""
    (entry,) = CONFIG.pools
    left = tuple(replica for replica in entry.replicas if replica.id != replica_id)
    return CONFIG.model_copy(update={"pools": (entry.model_copy(update={"replicas": left}),)})


@pytest.fixture
def plane() -> Plane:
    plane = Plane(0.0)
    declare(plane, CONFIG, 0.0)
    return plane


def target(plane: Plane, replica_id: str) -> Target:
    found = plane.target("minilm", replica_id)
    assert found is not None
    return found


def answer(plane: Plane, replica_id: str, probe: Probe, now: float) -> None:
    plane.probed(target(plane, replica_id), probe, now)


def endpoints(catalog: Catalog) -> dict[str, endpoint_v3.LbEndpoint]:
    """What Envoy is told of each replica, by id."""
    resource = catalog.view(View()).type(ENDPOINT)["minilm"]
    # The Any's value stands behind its type URL; both are length-delimited fields.
    body = resource.packed[resource.packed.index(b"\x12", len(ENDPOINT)) :]
    size, shift, at = 0, 0, 1
    while True:
        size |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not body[at - 1] & 0x80:
            break
    message = endpoint_v3.ClusterLoadAssignment.parse(body[at : at + size])
    return {
        endpoint.endpoint.hostname: endpoint
        for locality in message.endpoints
        for endpoint in locality.lb_endpoints
        if endpoint.endpoint
    }


def reading(at: float, count: float, seconds: float) -> Reading:
    histogram = Histogram((0.01, 0.1, 1.0, float("inf")), (count,) * 4, count * seconds)
    return Reading(
        at=at, latency=histogram, memory=(), queue=None, errors=None, started_at=None, note=None
    )


def test_it_says_nothing_before_every_replica_was_asked(plane: Plane) -> None:
    answer(plane, "a", Probe.HEALTHY, 0.1)
    assert not plane.has_started(0.2)
    answer(plane, "b", Probe.REFUSED, 0.3)
    assert plane.has_started(0.4)


def test_it_does_not_wait_for_ever(plane: Plane) -> None:
    assert not plane.has_started(STARTUP_SECONDS - 0.1)
    assert plane.has_started(STARTUP_SECONDS)


def test_envoy_learns_only_of_replicas_that_are_ready(plane: Plane) -> None:
    answer(plane, "a", Probe.HEALTHY, 0.1)
    answer(plane, "b", Probe.UNHEALTHY, 0.1)
    assert set(endpoints(plane.decide(1.0))) == {"a"}
    answer(plane, "b", Probe.HEALTHY, 1.1)
    assert set(endpoints(plane.decide(1.2))) == {"a", "b"}


def test_a_pool_of_which_nothing_is_ready_is_an_empty_assignment(plane: Plane) -> None:
    assert endpoints(plane.decide(1.0)) == {}


def test_nothing_new_is_the_same_catalog(plane: Plane) -> None:
    answer(plane, "a", Probe.HEALTHY, 0.1)
    before = plane.decide(1.0)
    plane.record(target(plane, "a"), Failure("no answer"), 1.5)
    assert plane.decide(2.0) is before


def test_a_slow_replica_gets_less_than_a_fast_one(plane: Plane) -> None:
    for name in ("a", "b"):
        answer(plane, name, Probe.HEALTHY, 0.0)
    for step in range(60):
        now = step * 0.5
        plane.record(target(plane, "a"), reading(now, step * 20, 0.01), now)
        plane.record(target(plane, "b"), reading(now, step * 20, 0.05), now)
        catalog = plane.decide(now)
    weights = {
        name: endpoint.load_balancing_weight or 0 for name, endpoint in endpoints(catalog).items()
    }
    assert weights["a"] > 2 * weights["b"]


def test_a_drained_replica_stays_known_and_gets_nothing(plane: Plane) -> None:
    for name in ("a", "b"):
        answer(plane, name, Probe.HEALTHY, 0.0)
    plane.decide(0.5)
    plane.apply(Drain("minilm", "b"), 1.0)
    assert endpoints(plane.decide(1.1))["b"].health_status.name == "DRAINING"


def test_a_replica_at_another_address_is_a_new_one_and_is_asked_first(plane: Plane) -> None:
    answer(plane, "a", Probe.HEALTHY, 0.1)
    plane.decide(1.0)
    moved = validated(ReplicaSettings, {"address": "127.0.0.1:9009"})
    plane.apply(PutReplica("minilm", "a", moved), 2.0)
    assert endpoints(plane.decide(2.1)) == {}


def test_what_comes_late_of_a_replica_that_was_replaced_is_dropped(plane: Plane) -> None:
    late = target(plane, "a")
    moved = validated(ReplicaSettings, {"address": "127.0.0.1:9009"})
    plane.apply(PutReplica("minilm", "a", moved), 2.0)
    plane.probed(late, Probe.HEALTHY, 2.1)
    plane.record(late, reading(2.1, 10, 0.01), 2.1)
    assert endpoints(plane.decide(2.2)) == {}
    assert plane.report("minilm", "a", 2.3).observed.window is None


def test_a_removed_replica_is_not_scraped_and_not_told_to_envoy(plane: Plane) -> None:
    answer(plane, "a", Probe.HEALTHY, 0.1)
    answer(plane, "b", Probe.HEALTHY, 0.1)
    plane.decide(0.5)
    declare(plane, without("b"), 1.0)
    assert [item.replica.id for item in plane.targets()] == ["a"]
    assert set(endpoints(plane.decide(1.1))) == {"a"}


def test_a_removed_pool_leaves_nothing_behind(plane: Plane) -> None:
    answer(plane, "a", Probe.HEALTHY, 0.1)
    plane.decide(0.5)
    plane.adopt(without_pool(plane.fleet, "minilm"), 1.0)
    assert not plane.decide(1.1).pools
    with pytest.raises(Refused, match="there is no pool 'minilm'"):
        plane.report("minilm", "a", 1.2)


def test_a_lease_that_runs_out_drains_then_removes(plane: Plane) -> None:
    leased = validated(ReplicaSettings, {"address": "127.0.0.1:9003", "ttl": "30s"})
    plane.apply(PutReplica("minilm", "c", leased), 0.0)
    answer(plane, "c", Probe.HEALTHY, 0.1)
    assert endpoints(plane.decide(29.9))["c"].health_status.name == "UNKNOWN"
    plane.adopt(expire(plane.fleet, 30.1), 30.1)
    assert endpoints(plane.decide(30.1))["c"].health_status.name == "DRAINING"
    plane.adopt(expire(plane.fleet, 41.0), 41.0)
    assert "c" not in endpoints(plane.decide(41.0))


def test_an_only_replica_that_cannot_be_scraped_still_gets_everything(plane: Plane) -> None:
    for name in ("a", "b"):
        answer(plane, name, Probe.HEALTHY, 0.0)
        plane.record(target(plane, name), Failure("answers 404"), 0.1)
    shown = endpoints(plane.decide(30.0))
    assert {item.load_balancing_weight for item in shown.values()} == {1000}


def test_waiting_requests_take_share_at_the_next_scrape(plane: Plane) -> None:
    for name in ("a", "b"):
        answer(plane, name, Probe.HEALTHY, 0.0)
        for step in range(41):
            now = step * 0.5
            plane.record(target(plane, name), reading(now, step * 20, 0.01), now)
    before = endpoints(plane.decide(20.0))
    assert before["a"].load_balancing_weight == before["b"].load_balancing_weight
    for name, waiting in (("a", 500.0), ("b", 0.0)):
        seen = replace(reading(20.5, 820, 0.01), queue=waiting)
        plane.record(target(plane, name), seen, 20.5)
    plane.decide(20.6)
    decision = plane.decision("minilm")
    assert decision is not None
    found = {id_: replica.share or 0.0 for id_, replica in decision.replicas.items()}
    assert found["a"] < 0.2 * found["b"]


def test_a_replica_that_joins_starts_slowly_and_those_that_were_there_did_not(
    plane: Plane,
) -> None:
    for name in ("a", "b"):
        answer(plane, name, Probe.HEALTHY, 0.0)
    assert {
        endpoint.load_balancing_weight for endpoint in endpoints(plane.decide(0.1)).values()
    } == {1000}
    third = validated(ReplicaSettings, {"address": "127.0.0.1:9003"})
    plane.apply(PutReplica("minilm", "c", third), 1.0)
    answer(plane, "c", Probe.HEALTHY, 5.0)
    weights = {
        id_: endpoint.load_balancing_weight
        for id_, endpoint in endpoints(plane.decide(5.1)).items()
    }
    assert weights == {"a": 1000, "b": 1000, "c": 333}


def test_a_replica_with_memory_limits_of_its_own_is_held_to_them(plane: Plane) -> None:
    own = {"address": "127.0.0.1:9001", "memory": {"soft": 0.985, "hard": 0.99}}
    plane.apply(PutReplica("minilm", "a", validated(ReplicaSettings, own)), 0.0)
    for name in ("a", "b"):
        answer(plane, name, Probe.HEALTHY, 0.1)
        full = replace(reading(0.2, 10, 0.01), memory=(GpuMemory(None, 0.98, 1.0),))
        plane.record(target(plane, name), full, 0.2)
    shown = endpoints(plane.decide(0.3))
    assert {id_: item.health_status.name for id_, item in shown.items()} == {
        "a": "UNKNOWN",
        "b": "DRAINING",
    }
