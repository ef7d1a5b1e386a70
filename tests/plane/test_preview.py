"""What a command would come to, and that asking changes nothing."""

import pytest

from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import (
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    PutPool,
    PutReplica,
    PutReplicas,
    Refused,
)
from controlplane.plane import Plane, Probe, preview
from controlplane.resources.catalog import Catalog
from controlplane.resources.messages import to_json
from controlplane.resources.resource import CLUSTER, ENDPOINT
from controlplane.telemetry import Histogram, Reading
from controlplane.telemetry.load import Endpoint, Load
from tests.plane.lives import measured, restarted, steadily
from tests.planes import report

INF = float("inf")


def pool(**more: object) -> PoolSettings:
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, **more}
    return validated(PoolSettings, body)


def replica(port: int) -> ReplicaSettings:
    return validated(ReplicaSettings, {"address": f"127.0.0.1:{port}"})


@pytest.fixture
def plane() -> Plane:
    """Replicas a and b, ready and scraped twice."""
    made = Plane(0.0)
    made.apply(PutPool("p", pool()), 0.0)
    for id_, port in (("a", 1), ("b", 2)):
        made.apply(PutReplica("p", id_, replica(port)), 0.0)
    for at in (1.0, 11.0):
        for target in made.targets():
            made.probed(target, Probe.HEALTHY, at)
            counts = (0.0, at * 10, at * 10)
            made.record(target, Reading(at, Histogram((0.01, 0.1, INF), counts, at)), at)
        made.decide(at)
    return made


def hosts(catalog: Catalog) -> dict[int, str]:
    """Port and health of every endpoint."""
    held = catalog.pools["p"].get(ENDPOINT, "p")
    assert held is not None
    assignment = to_json(ENDPOINT, held)
    return {
        lbEndpoint["endpoint"]["address"]["socketAddress"]["portValue"]: lbEndpoint.get(
            "healthStatus", ""
        )
        for locality in assignment["endpoints"]
        for lbEndpoint in locality["lbEndpoints"]
    }


def state(plane: Plane) -> dict[str, str]:
    """Everything that the plane holds, down to what is changed in place."""
    held = {key: var for key, var in vars(plane).items() if key not in ("catalog", "_devices")}
    held |= {"devices": plane._devices._seen, "_traffic": plane._traffic.reports._totals}
    return {key: repr(item) for key, item in held.items()}


def test_a_new_replica_is_shown_as_it_would_be_once_it_is_ready(plane: Plane) -> None:
    found = preview(plane, PutReplica("p", "c", replica(3)), 12.0)
    assert found.unready == ("c",)
    assert (set(hosts(found.held)), set(hosts(found.wanted))) == ({1, 2}, {1, 2, 3})
    assert found.pools == ("p",)


def test_a_drained_replica_gets_nothing(plane: Plane) -> None:
    found = preview(plane, Drain("p", "a"), 12.0)
    assert (hosts(found.wanted)[1], hosts(found.held)[1]) == ("DRAINING", "")
    assert found.unready == ()


def test_a_removed_replica_is_gone_and_a_removed_pool_too(plane: Plane) -> None:
    assert set(hosts(preview(plane, DeleteReplica("p", "a"), 12.0).wanted)) == {2}
    assert preview(plane, DeletePool("p"), 12.0).wanted.pools == {}


def test_a_changed_setting_is_in_the_cluster(plane: Plane) -> None:
    changed = pool(health_check={"path": "/ready"})
    found = preview(plane, PutPool("p", changed), 12.0)
    held = found.wanted.pools["p"].get(CLUSTER, "p")
    assert held is not None
    cluster = to_json(CLUSTER, held)
    assert cluster["healthChecks"][0]["httpHealthCheck"] == {"path": "/ready"}


def test_a_new_class_has_its_route_as_it_will_in_the_end(plane: Plane) -> None:
    classes = [{"name": "bulk", "match": {"min_bytes": 1000}}]
    shown = preview(plane, PutPool("p", pool(classes=classes)), 12.0)
    assert [each.routed for each in shown.wanted.pools["p"].parting.named] == [True]


def test_the_same_again_would_change_nothing(plane: Plane) -> None:
    found = preview(plane, PutReplica("p", "a", replica(1)), 12.0)
    assert (found.pools, found.wanted is found.held) == ((), True)


COMMANDS: dict[str, Command] = {
    "put": PutReplica("p", "c", replica(3)),
    "put many": PutReplicas("p", {"a": replica(2), "b": replica(1)}),
    "moved": PutReplica("p", "a", replica(3)),
    "other metrics": PutPool("p", pool(metrics={"profile": "vllm"})),
    "drain": Drain("p", "a"),
    "delete": DeleteReplica("p", "a"),
    "delete pool": DeletePool("p"),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_the_plane_stays_as_it_is(plane: Plane, what: str) -> None:
    before, catalog = state(plane), plane.catalog
    preview(plane, COMMANDS[what], 12.0)
    assert plane.catalog is catalog
    assert state(plane) == before


def test_no_history_is_made_of_what_is_only_imagined(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(_: object) -> bytes:
        raise AssertionError("an entry was made")

    monkeypatch.setattr("controlplane.plane.history.packed", made)
    assert preview(plane, Drain("p", "a"), 100.0).pools == ("p",)


def test_what_would_be_refused_is(plane: Plane) -> None:
    with pytest.raises(Refused):
        preview(plane, PutReplica("p", "c", replica(1)), 12.0)


def test_a_pool_that_is_held_after_a_restart_is_held_in_a_preview_too() -> None:
    after = restarted(measured())
    after.live(1.0, steadily)
    same = PutReplica("m", "fast", after.plane.fleet.pool("m").replica("fast").settings)
    # A scrape later, so that a step could be taken.
    assert preview(after.plane, same, after.now + 0.6).pools == ()


@pytest.mark.parametrize("command", [DeleteReplica("p", "a", force=True), DeletePool("p")])
def test_what_envoys_report_of_who_would_leave_is_kept(plane: Plane, command: Command) -> None:
    report(plane, "one", {Endpoint("p", "127.0.0.1", 1): Load(1, 0, 3)}, 1.0, 12.0)
    preview(plane, command, 12.0)
    assert plane.report("p", "a", 12.0).in_flight == 3
