"""Work that grows with the change comes to what all the work would have come to."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import (
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    Fleet,
    Heartbeat,
    PutPool,
    PutReplica,
    PutReplicas,
    Refused,
    Replica,
    Undrain,
    apply,
    whole,
)
from controlplane.plane import Plane, Probe
from controlplane.resources import endpoints
from controlplane.resources.catalog import Catalog
from controlplane.resources.endpoints import EndpointWeight, Member
from controlplane.resources.resource import TYPE_URLS
from controlplane.resources.views import View
from tests.calls import calls

IDS = "abcdef"
POOLS = {"p": 10_000, "q": 10_001}
ACTIONS: tuple[type[Heartbeat | Drain | Undrain], ...] = (Heartbeat, Drain, Undrain)
METRICS = ({"profile": "none"}, {"profile": "tei"}, {"profile": "tei", "path": "/other"})


def pool_of(port: int, metrics: dict[str, str], policy: str = "least-request") -> PoolSettings:
    listener = {"address": f"127.0.0.1:{port}"}
    # Without weights nothing depends on when a replica came.
    said = {"listener": listener, "metrics": metrics, "balancing": {"policy": policy}}
    return validated(PoolSettings, {"model": "m", **said})


def replica_of(port: int, ttl: str | None = None, slots: int = 1) -> ReplicaSettings:
    said = {"address": f"127.0.0.2:{port}", "slots": slots}
    return validated(ReplicaSettings, said | ({"ttl": ttl} if ttl else {}))


@st.composite
def commands(draw: st.DrawFn) -> Command:
    pool, id_ = draw(st.sampled_from(sorted(POOLS))), draw(st.sampled_from(IDS))
    port = st.integers(9_000, 9_007)
    match draw(st.integers(0, 9)):
        case 0:
            return PutPool(pool, pool_of(POOLS[pool], draw(st.sampled_from(METRICS))))
        case 1:
            return DeletePool(pool)
        case 2 | 3 | 4:
            settings_ = replica_of(draw(port), "30s", draw(st.integers(1, 2)))
            return PutReplica(pool, id_, settings_)
        case 5:
            ids = draw(st.lists(st.sampled_from(IDS), unique=True, min_size=1))
            ports = draw(st.permutations(range(9_000, 9_007)))
            return PutReplicas(
                pool, {item: replica_of(at) for item, at in zip(ids, ports, strict=False)}
            )
        case 6:
            return DeleteReplica(pool, id_, force=True)
        case _:
            return draw(st.sampled_from(ACTIONS))(pool, id_)


def begun() -> Fleet:
    fleet = Fleet()
    for name, port in POOLS.items():
        fleet = apply(fleet, PutPool(name, pool_of(port, METRICS[0])), 0.0).fleet
        put = PutReplicas(name, {id_: replica_of(9_000 + at) for at, id_ in enumerate(IDS[:4])})
        fleet = apply(fleet, put, 0.0).fleet
    return fleet


def decided(plane: Plane, now: float) -> Catalog:
    """What Envoys get once all replicas have answered."""
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, now)
    return plane.decide(now)


def versions(catalog: Catalog) -> dict[tuple[str, str], str]:
    view = catalog.view(View())
    return {
        (url, name): resource.version
        for url in TYPE_URLS
        for name, resource in view.type(url).items()
    }


@settings(max_examples=15)
@given(st.lists(st.tuples(commands(), st.booleans()), max_size=15))
def test_a_fleet_followed_step_by_step_is_served_as_if_it_had_come_at_once(
    steps: list[tuple[Command, bool]],
) -> None:
    plane = Plane(0.0)
    plane.adopt(whole(begun()), 0.0)
    now = 0.0
    for command, is_decided in steps:
        now += 1.0
        try:
            plane.apply(command, now)
        except Refused:
            continue
        if is_decided:
            decided(plane, now)
    for pool in plane.fleet.pools.values():
        for replica in pool.replicas.values():
            assert pool.replicas.at(replica.settings.address) is replica
    fresh = Plane(0.0)
    fresh.adopt(whole(plane.fleet), 0.0)
    assert versions(decided(plane, now)) == versions(decided(fresh, now))
    seen = [{key: item.generation for key, item in one._observed.items()} for one in (plane, fresh)]
    assert seen[0] == seen[1]


def large(replicas: int, policy: str = "least-request") -> Plane:
    plane = Plane(0.0)
    plane.apply(PutPool("p", pool_of(10_000, METRICS[0], policy)), 0.0)
    plane.apply(
        PutReplicas("p", {f"r{n}": replica_of(9_000 + n, "30s") for n in range(replicas)}), 0.0
    )
    decided(plane, 0.0)
    return plane


def test_a_heartbeat_has_nothing_weighed_or_built() -> None:
    plane = large(100)
    catalog, weighing = plane.catalog, plane.decision("p")
    plane.apply(Heartbeat("p", "r7"), 5.0)
    assert plane.decide(5.0) is catalog
    assert plane.decision("p") is weighing


@pytest.mark.parametrize(
    "command",
    [
        lambda: Heartbeat("p", "r7"),
        lambda: Drain("p", "r7"),
        lambda: PutReplica("p", "r7", replica_of(8_000, "30s")),
        lambda: PutReplica("p", "new", replica_of(8_000, "30s")),
    ],
    ids=("heartbeat", "drain", "moved", "new"),
)
def test_a_change_takes_hardly_more_work_in_a_large_pool(command: Callable[[], Command]) -> None:
    took = {}
    for replicas in (100, 3_000):
        plane, made = large(replicas), command()
        took[replicas] = calls(partial(plane.apply, made, 5.0))
    assert took[3_000] == took[100]


def test_a_change_in_one_pool_has_no_other_weighed_or_built() -> None:
    plane = Plane(0.0)
    plane.adopt(whole(begun()), 0.0)
    before, weighing = decided(plane, 0.0), plane.decision("q")
    plane.apply(Drain("p", "a"), 5.0)
    after = plane.decide(5.0)
    assert after.pools["p"] is not before.pools["p"]
    assert (after.pools["q"], plane.decision("q")) == (before.pools["q"], weighing)
    assert plane.decision("q") is weighing


@pytest.mark.parametrize("policy", ["capacity-tiers", "weighted-least-request"])
def test_a_change_among_many_that_are_alike_takes_hardly_a_look_at_the_others(policy: str) -> None:
    took = {}
    for replicas in (100, 3_000):
        plane = large(replicas, policy)
        commands: tuple[Command, ...] = (Drain("p", "r7"), Undrain("p", "r7"))
        for step, command in enumerate(commands):
            plane.apply(command, 10.0 + step)
            plane.decide(10.0 + step)
        plane.apply(Drain("p", "r7"), 20.0)
        took[replicas] = calls(partial(plane.decide, 20.0))
    assert took[3_000] - took[100] < 2.1 * 2_900


def test_of_a_changed_pool_only_the_endpoints_that_changed_are_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plane = large(100, "capacity-tiers")
    before, encoded = plane.catalog, list[str]()
    encode = endpoints._member

    def counted(replica: Replica, endpoint_weight: EndpointWeight, *, is_hosted: bool) -> Member:
        encoded.append(replica.id)
        return encode(replica, endpoint_weight, is_hosted=is_hosted)

    monkeypatch.setattr(endpoints, "_member", counted)
    for n in range(100):
        plane.apply(Heartbeat("p", f"r{n}"), 4.0)
    plane.apply(Drain("p", "r7"), 5.0)
    assert plane.decide(5.0) is not before
    assert encoded == ["r7"]


@pytest.mark.parametrize("probe", [Probe.REFUSED, Probe.UNHEALTHY, Probe.UNREACHABLE])
def test_replicas_that_are_asked_in_vain_have_nothing_weighed(probe: Probe) -> None:
    plane = large(5)
    plane.apply(PutReplica("p", "late", replica_of(8_000)), 1.0)
    plane.decide(1.0)
    target, weighing = plane.target("p", "late"), plane.decision("p")
    assert target is not None
    for tick in range(2, 5):
        plane.probed(target, probe, float(tick))
        plane.decide(float(tick))
    assert plane.decision("p") is weighing
    plane.probed(target, Probe.HEALTHY, 5.0)
    plane.decide(5.0)
    assert plane.decision("p") is not weighing


def test_a_slow_start_goes_on_while_nothing_is_heard_of_a_pool_and_then_it_is_at_rest() -> None:
    plane = large(4, "capacity-tiers")
    plane.apply(PutReplica("p", "late", replica_of(8_000)), 10.0)
    target = plane.target("p", "late")
    assert target is not None
    plane.probed(target, Probe.HEALTHY, 10.0)
    shares = []
    for tick in range(100):
        plane.decide(10.0 + tick)
        weighing = plane.decision("p")
        assert weighing is not None
        shares.append(weighing.replicas["late"].share or 0.0)
    assert shares[0] < 0.1
    assert shares == sorted(shares)
    assert shares[-1] == 0.2
    plane.decide(200.0)
    assert plane.decision("p") is weighing


def test_what_takes_long_of_many_replicas_is_done_one_at_a_time() -> None:
    """Rows of ten thousand take a while: others have their turn in between."""
    plane = large(50)
    plane.apply(PutPool("p", pool_of(10_000, METRICS[1])), 10.0)
    assert sum(1 for _ in plane.writing(20.0)) == 50
    assert sum(1 for _ in plane.writing(20.0)) == 0
    plane.apply(Drain("p", "r7"), 20.0)
    writing = plane.writing(20.0)
    next(writing)
    # What changes in between is not lost.
    plane.apply(DeleteReplica("p", "r8", force=True), 20.0)
    plane.apply(Drain("p", "r9"), 20.0)
    assert sum(1 for _ in writing) == 0
    plane.decide(20.0)
    assert plane.report("p", "r9", 20.0).decision is not None
    decision = plane.decision("p")
    assert decision is not None
    assert "r8" not in decision.rows
