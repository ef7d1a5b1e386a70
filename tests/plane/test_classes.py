"""Pools whose requests a user parts into classes: what Envoys are told, and what they tell."""

from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import PutPool, PutReplica
from controlplane.plane import Plane, Probe, preview
from controlplane.plane.decisions import PoolDecision, notice
from controlplane.resources.classes import OTHERS, class_of
from controlplane.resources.resource import CLUSTER
from controlplane.resources.views import View
from controlplane.telemetry.load import ClassLoad, Endpoint, Load
from tests.balancing.test_alone import parted, slow
from tests.planes import report

ADDRESSES = {"a": "127.0.0.1:9001", "b": "127.0.0.1:9002"}
AT_A = Endpoint("p", "127.0.0.1", 9001)


def settings(*classes: str, profile: str = "none") -> PoolSettings:
    named = [
        {"name": request_class, "match": {"prefix": f"/{request_class}"}}
        for request_class in classes
    ]
    body = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "metrics": {"profile": profile},
        "classes": named or None,
    }
    return validated(PoolSettings, body)


def serving(*classes: str) -> Plane:
    """A pool of two replicas that are ready, of which Envoys have been told."""
    plane = Plane(0.0)
    plane.apply(PutPool("p", settings(*classes)), 0.0)
    for id_, address in ADDRESSES.items():
        entry = validated(ReplicaSettings, {"address": address})
        plane.apply(PutReplica("p", id_, entry), 0.0)
        target = plane.target("p", id_)
        assert target is not None
        plane.probed(target, Probe.HEALTHY, 0.0)
    plane.decide(0.0)
    return plane


def routed(plane: Plane) -> dict[str, bool]:
    """Whether routes lead to each class that has a cluster of its own."""
    parting = plane.parting("p")
    found = {item.name: item.routed for item in parting.named} if parting else {}
    names = plane.catalog.view(View()).names(CLUSTER)
    assert {class_of(name) for name in names} - {OTHERS} == found.keys()
    return found


def test_a_pool_that_comes_with_classes_has_them_at_once() -> None:
    assert routed(serving("x", "y")) == {"x": True, "y": True}
    assert routed(serving()) == {}


def test_classes_that_a_user_adds_and_removes_come_and_go_step_by_step() -> None:
    plane = serving()
    plane.apply(PutPool("p", settings("x")), 10.0)
    plane.decide(10.0)
    assert routed(plane) == {"x": False}
    # Nothing else happens, and yet it goes on.
    later = 10.0 + notice(settings())
    for now in (later - 0.1, later + 1.0):
        plane.decide(now)
    assert routed(plane) == {"x": True}
    plane.apply(PutPool("p", settings()), 20.0)
    plane.decide(20.0)
    assert routed(plane) == {"x": False}
    plane.decide(21.0)
    assert routed(plane) == {}


def test_all_replicas_that_envoys_may_know_serve_each_class_until_they_are_divided() -> None:
    plane = serving("x")
    parting = plane.parting("p")
    assert parting is not None
    assert [set(request_class.endpoint_weights) for request_class in parting.classes] == [
        {"a", "b"},
        {"a", "b"},
    ]


def test_envoys_are_told_the_tiers_that_replicas_have_in_the_cluster_of_each_class() -> None:
    """Many Envoys share out bulk: there each replica has a tier of its own."""
    decision = parted(slow()).decision
    assert decision is not None
    known = PoolDecision()
    pool = serving().fleet.pools["p"]
    known.take(pool, decision, dict.fromkeys(decision.rows, True), 0.0)
    assert known.parting is not None
    *_, bulk, searches = ({*item.endpoint_weights.items()} for item in known.parting.classes)
    assert {weight.tier for _, weight in bulk} == {f"replica-{id_}" for id_, _ in bulk}
    assert all(weight.tier.startswith("tier-") for _, weight in searches)
    assert all(each.tier.startswith("tier-") for each in known.endpoint_weights.values())


def test_a_preview_shows_what_it_comes_to_in_the_end() -> None:
    plane = serving("x")
    wanted = preview(plane, PutPool("p", settings("y")), 10.0).wanted
    parting = wanted.pools["p"].parting
    assert parting is not None
    assert {item.name: item.routed for item in parting.named} == {"y": True}
    assert routed(plane) == {"x": True}


def test_what_envoys_report_of_a_class_is_known_by_its_name() -> None:
    plane = serving("x")
    loads = {AT_A: Load(5, 0, 1).plus(Load(3, 1, 2), "x").plus(Load(1, 0, 0), "invented")}
    report(plane, "envoy", loads, 1.0, 1.0)
    assert plane._traffic.reports.by_class(AT_A, 1.0) == {
        "x": ClassLoad(3, 1, 2.0),
        OTHERS: ClassLoad(6, 0, 1.0),
    }
    assert plane._traffic.reports.by_class(Endpoint("p", "127.0.0.1", 9002), 1.0) == {}
