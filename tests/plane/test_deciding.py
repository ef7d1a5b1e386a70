"""A decision that looks at what has changed comes to what one comes to that looks at everything."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.balancing import Decision
from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import (
    Command,
    DeleteReplica,
    Drain,
    PutPool,
    PutReplica,
    PutReplicas,
    Refused,
    Undrain,
)
from controlplane.plane import Failure, Plane, Probe
from controlplane.plane.state import ReplicaSummary
from controlplane.resources.views import View
from controlplane.telemetry import Device, GpuMemory
from tests.fleet.fleets import without_pool
from tests.plane.test_growth import versions

IDS = [f"r{n}" for n in range(20)]
READY = Probe.HEALTHY

Step = Callable[[Plane, float], None]


def pool_of(policy: str, slow_start: str | None, profile: str = "none") -> PoolSettings:
    balancing = {"policy": policy, "slow_start": slow_start}
    said = {"listener": {"address": "127.0.0.1:10000"}, "metrics": {"profile": profile}}
    return validated(PoolSettings, {"model": "m", "balancing": balancing, **said})


def replica_of(port: int, **said: Any) -> ReplicaSettings:
    return validated(ReplicaSettings, {"address": f"127.0.0.1:{port}", **said})


def asked(command: Command) -> Step:
    def step(plane: Plane, now: float) -> None:
        try:
            plane.apply(command, now)
        except Refused:
            return

    return step


def probed(id_: str, probe: Probe) -> Step:
    def step(plane: Plane, now: float) -> None:
        if (target := plane.target("p", id_)) is not None:
            plane.probed(target, probe, now)

    return step


def failed(id_: str) -> Step:
    def step(plane: Plane, now: float) -> None:
        if (target := plane.target("p", id_)) is not None:
            plane.record(target, Failure("it hangs", refused=True), now)

    return step


def told_at_once(plane: Plane, _: float) -> None:
    plane.built(plane.refreshing()())


ids = st.sampled_from([*IDS[:5], "new"])
slots = st.integers(1, 3)
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(asked, st.builds(Drain, st.just("p"), ids)),
    st.builds(asked, st.builds(Undrain, st.just("p"), ids)),
    st.builds(asked, st.builds(DeleteReplica, st.just("p"), ids, force=st.just(value=True))),
    st.builds(
        asked,
        st.builds(PutReplica, st.just("p"), ids, st.builds(replica_of, st.integers(8_000, 8_003))),
    ),
    st.builds(
        asked,
        st.builds(
            PutReplica, st.just("p"), ids, st.builds(replica_of, st.just(8_009), slots=slots)
        ),
    ),
    st.builds(probed, ids, st.sampled_from(list(Probe))),
    st.builds(probed, ids, st.just(READY)),
    st.builds(failed, ids),
    st.just(told_at_once),
)
lives = st.lists(st.tuples(st.sampled_from([0.25, 0.25, 4.0, 30.0]), steps, st.booleans()))


def begun(of: PoolSettings) -> Plane:
    plane = Plane(0.0)
    plane.apply(PutPool("p", of), 0.0)
    put = {id_: replica_of(9_000 + at) for at, id_ in enumerate(IDS)}
    plane.apply(PutReplicas("p", put), 0.0)
    for target in plane.targets():
        plane.probed(target, READY, 0.0)
    plane.decide(0.0)
    return plane


def decision_of(plane: Plane) -> Decision:
    found = plane.decision("p")
    assert found is not None
    return found


def outlines(plane: Plane) -> dict[str, ReplicaSummary]:
    return dict(plane.summaries("p"))


@given(
    st.sampled_from(["capacity-tiers", "weighted-least-request"]),
    st.sampled_from([None, "10s"]),
    st.sampled_from(["none", "tei"]),
    lives,
)
def test_it_is_what_a_look_at_everything_comes_to(
    policy: str,
    slow_start: str | None,
    profile: str,
    life: list[tuple[float, Step, bool]],
) -> None:
    of = pool_of(policy, slow_start, profile)
    plane, other, now = begun(of), begun(of), 0.0
    follower, seen = plane.follow(), outlines(plane)
    kept = dict(plane.restart_state("p"))
    for passed, step, is_decided in life:
        now += passed
        for item in (plane, other):
            step(item, now)
        if not is_decided:
            continue
        other._dirty.add(list(other._dirty.pools()))
        assert versions(plane.decide(now)) == versions(other.decide(now))
        assert dict(decision_of(plane).replicas) == dict(decision_of(other).replicas)
        # Who follows what is decided looks at those that it was about, and knows all.
        some = follower.taken().get("p", set())
        assert some is not None
        for id_ in some:
            seen.pop(id_, None)
            kept.pop(id_, None)
        seen |= plane.summaries("p", some)
        kept |= plane.restart_state("p", some)
        assert seen == outlines(plane) == outlines(other)
        assert kept == plane.restart_state("p") == other.restart_state("p")


def that_joins(plane: Plane, now: float) -> None:
    asked(PutReplica("p", "new", replica_of(8_000)))(plane, now)
    probed("new", READY)(plane, now)


@pytest.mark.parametrize(
    ("step", "changed"),
    [
        (that_joins, {"new"}),
        (asked(Drain("p", "r1")), {"r1"}),
        (asked(DeleteReplica("p", "r1", force=True)), {"r1"}),
        (probed("r1", Probe.REFUSED), {"r1"}),
        (failed("r1"), {"r1"}),
    ],
    ids=["joins", "drained", "removed", "gone", "a scrape that fails"],
)
def test_a_decision_is_about_what_has_changed(step: Step, changed: set[str]) -> None:
    plane = begun(pool_of("capacity-tiers", None, "tei"))
    follower = plane.follow()
    step(plane, 100.0)
    plane.decide(100.0)
    assert follower.taken() == {"p": changed}
    assert follower.taken() == {}


def test_other_settings_are_about_all() -> None:
    plane = begun(pool_of("capacity-tiers", None))
    follower = plane.follow()
    plane.apply(PutPool("p", pool_of("weighted-least-request", None)), 100.0)
    plane.decide(100.0)
    assert follower.taken() == {"p": set(IDS)}


def test_who_has_not_looked_for_long_is_told_of_all_that_decisions_were_about() -> None:
    plane = begun(pool_of("capacity-tiers", None))
    follower = plane.follow()
    for turn in range(100):
        asked(Drain("p", "r1") if turn % 2 else Undrain("p", "r1"))(plane, 100.0 + turn)
        failed("r2")(plane, 100.0 + turn)
        plane.decide(100.0 + turn)
    assert follower.taken() == {"p": {"r1", "r2"}}


def test_of_a_pool_that_is_gone_a_follower_is_told_nothing() -> None:
    plane = begun(pool_of("capacity-tiers", None))
    follower = plane.follow()
    asked(Drain("p", "r1"))(plane, 100.0)
    plane.decide(100.0)
    plane.adopt(without_pool(plane.fleet, "p"), 100.0)
    plane.decide(101.0)
    assert follower.taken() == {}


def test_history_tells_of_those_that_have_changed() -> None:
    plane = begun(pool_of("capacity-tiers", "10s"))
    plane.apply(Drain("p", "r1"), 100.0)
    plane.decide(100.0)
    drained, other = (plane.histories.of("p", id_, 100.0) for id_ in ("r1", "r2"))
    assert [item.entry.draining for item in drained] == [None, "operator"]
    assert drained[-1].entry.serving == len(IDS) - 1
    assert len(other) == 1


def test_a_replica_that_joins_on_a_gpu_of_which_an_exporter_tells_is_weighed_by_that() -> None:
    metrics = {"profile": "none", "gpu": {"addresses": ["127.0.0.1:9400"]}}
    said = pool_of("capacity-tiers", None).model_dump(mode="json") | {"metrics": metrics}
    plane = begun(validated(PoolSettings, said))
    (exporter,) = plane.exporters()
    full = Device("GPU-1", GpuMemory("GPU-1", 99.0, 100.0), frozenset([("search", "minilm-1")]))
    plane.record_devices(exporter, (full,), 1.0)
    plane.decide(1.0)
    labels = {"namespace": "search", "pod": "minilm-1"}
    plane.apply(PutReplica("p", "new", replica_of(8_000, labels=labels)), 2.0)
    probed("new", READY)(plane, 2.0)
    plane.decide(2.0)
    assert decision_of(plane).replicas["new"].drained


def test_one_that_joins_comes_to_its_share_while_nothing_else_is_heard() -> None:
    plane, now = begun(pool_of("capacity-tiers", "10s")), 100.0
    that_joins(plane, now)
    tiers, weights = [], []
    while now < 115.0:
        catalog = plane.decide(now)
        (member,) = (each for each in catalog.pools["p"].members if each.id == "new")
        tiers.append(member.tier)
        weights.append(member.weight)
        assert {item.weight for item in catalog.pools["p"].members if item.tier == "tier-8"} == {
            decision_of(plane).replicas["r1"].weight
        }
        now += 0.25
    assert tiers[0].startswith("starting-")
    assert weights[0] == 167
    assert (tiers[-1], weights[-1]) == ("tier-8", 1000)
    assert not list(plane._decisions.due(1_000.0))
    # And its history tells of each step.
    told = [entry.entry.weight for entry in plane.histories.of("p", "new", now)]
    assert told[0] == 167
    assert len(set(told)) > 5


def test_envoys_are_told_of_all_whose_weight_has_changed_with_the_one_that_joined() -> None:
    plane = begun(pool_of("capacity-tiers", "10s"))
    that_joins(plane, 100.0)
    for now in (100.0, 109.9):
        plane.decide(now)
    # A moment later its slow start is over, and its last step only a part of one.
    plane.apply(Drain("p", "r1"), 110.0)
    weights = {member.weight for member in plane.decide(110.0).pools["p"].members}
    assert weights == {decision_of(plane).replicas["r2"].weight}
    assert weights != {1000}


def test_a_decision_and_what_envoys_saw_of_it_are_freed_as_soon_as_the_next_is_made() -> None:
    plane = Plane(0.0)
    plane.apply(PutPool("p", pool_of("capacity-tiers", None)), 0.0)
    plane.apply(PutReplica("p", "a", replica_of(1)), 0.0)
    plane.probed(plane.targets()[0], Probe.HEALTHY, 1.0)
    seen = plane.decide(1.0).view(View())
    before = plane.decision("p")
    assert before is not None
    decided, shown = weakref.ref(before), weakref.ref(seen)
    del before, seen
    gc.disable()
    try:
        asked(Drain("p", "a"))(plane, 2.0)
        plane.decide(2.0)
        assert decided() is None
        assert shown() is None
    finally:
        gc.enable()
