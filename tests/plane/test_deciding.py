"""A decision that looks at what has changed comes to what one comes to that looks at everything."""

from collections.abc import Callable
from typing import Any

import pytest
from controlplane.weighing import Weighing, differing
from controlplane.decision.alike import Alike
from hypothesis import given, settings
from hypothesis import strategies as st

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
from controlplane.plane.report import Outline
from controlplane.settings import PoolSettings, ReplicaSettings, validated
from controlplane.signals import Device, GpuMemory
from tests.plane.test_growth import versions

IDS = [f"r{n}" for n in range(50)]
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
    plane.refresh()


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


def weighing_of(plane: Plane) -> Weighing:
    found = plane.decision("p")
    assert found is not None
    return found


def outlines(plane: Plane) -> dict[str, Outline]:
    return dict(plane.outlines("p"))


@settings(deadline=None)
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
    before, seen, kept = weighing_of(plane), outlines(plane), dict(plane.remembered("p"))
    for passed, step, is_decided in life:
        now += passed
        for it in (plane, other):
            step(it, now)
        if not is_decided:
            continue
        other._due.add(list(other._due.pools()))
        assert versions(plane.decide(now)) == versions(other.decide(now))
        assert weighing_of(plane) == weighing_of(other)
        # Who follows what is decided looks at those that may differ, and knows all.
        some = differing(before, weighing_of(plane))
        before = weighing_of(plane)
        for id_ in list(seen) if some is None else some:
            seen.pop(id_, None)
            kept.pop(id_, None)
        seen |= plane.outlines("p", some)
        kept |= plane.remembered("p", some)
        assert seen == outlines(plane) == outlines(other)
        assert kept == plane.remembered("p") == other.remembered("p")


def is_amended(plane: Plane, step: Step) -> bool:
    """Whether the decision after a step looks at nothing but what it has changed."""
    before = weighing_of(plane)
    step(plane, 100.0)
    plane.decide(100.0)
    assert isinstance(before.replicas, Alike)
    some = differing(before, weighing_of(plane))
    return some is not None and len(some) < len(IDS)


def that_joins(plane: Plane, now: float) -> None:
    asked(PutReplica("p", "new", replica_of(8_000)))(plane, now)
    probed("new", READY)(plane, now)


@pytest.mark.parametrize(
    "step",
    [
        that_joins,
        asked(Drain("p", "r1")),
        asked(DeleteReplica("p", "r1", force=True)),
        asked(PutReplica("p", "new", replica_of(8_000))),
        probed("r1", Probe.REFUSED),
        failed("r1"),
    ],
    ids=["joins", "drained", "removed", "new", "gone", "a scrape that fails"],
)
def test_of_a_pool_in_which_nothing_is_measured_only_what_has_changed_is_looked_at(
    step: Step,
) -> None:
    assert is_amended(begun(pool_of("capacity-tiers", "10s", "tei")), step)


def of_another_pool(plane: Plane, now: float) -> None:
    asked(PutPool("p", pool_of("capacity-tiers", None)))(plane, now)
    asked(Drain("p", "r1"))(plane, now)


def of_most(plane: Plane, now: float) -> None:
    for id_ in IDS[: len(IDS) // 2 + 1]:
        probed(id_, Probe.REFUSED)(plane, now)


def of_a_replica_and_its_pool(plane: Plane, now: float) -> None:
    asked(Drain("p", "r1"))(plane, now)
    asked(PutPool("p", pool_of("capacity-tiers", None)))(plane, now)


@pytest.mark.parametrize(
    "step",
    [of_another_pool, of_a_replica_and_its_pool, of_most],
    ids=["other settings", "and then other settings", "most have changed"],
)
def test_else_everything_is_looked_at(step: Step) -> None:
    assert not is_amended(begun(pool_of("capacity-tiers", "10s")), step)


def test_history_tells_of_those_that_have_changed() -> None:
    plane = begun(pool_of("capacity-tiers", "10s"))
    plane.apply(Drain("p", "r1"), 100.0)
    plane.decide(100.0)
    drained, other = (plane.timelines.of("p", id_, 100.0) for id_ in ("r1", "r2"))
    assert [it.entry.draining for it in drained] == [None, "operator"]
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
    assert isinstance(weighing_of(plane).replicas, Alike)
    labels = {"namespace": "search", "pod": "minilm-1"}
    plane.apply(PutReplica("p", "new", replica_of(8_000, labels=labels)), 2.0)
    probed("new", READY)(plane, 2.0)
    plane.decide(2.0)
    assert weighing_of(plane).replicas["new"].drained


def test_one_that_joins_comes_to_its_share_while_nothing_else_is_heard() -> None:
    plane, now = begun(pool_of("capacity-tiers", "10s")), 100.0
    that_joins(plane, now)
    tiers, weights = [], []
    while now < 115.0:
        catalog = plane.decide(now)
        (member,) = (it for it in catalog.pools["p"].members if it.id == "new")
        tiers.append(member.tier)
        weights.append(member.weight)
        assert {it.weight for it in catalog.pools["p"].members if it.tier == "tier-8"} == {
            weighing_of(plane).replicas["r1"].weight
        }
        now += 0.25
    assert tiers[0].startswith("warming-")
    assert weights[0] == 167
    assert (tiers[-1], weights[-1]) == ("tier-8", 1000)
    assert not list(plane._decided.due(1_000.0))
    # And its history tells of each step.
    told = [it.entry.weight for it in plane.timelines.of("p", "new", now)]
    assert told[0] == 167
    assert len(set(told)) > 5


def test_envoys_are_told_of_all_whose_weight_has_changed_with_the_one_that_joined() -> None:
    plane = begun(pool_of("capacity-tiers", "10s"))
    that_joins(plane, 100.0)
    for now in (100.0, 109.9):
        plane.decide(now)
    # A moment later its slow start is over, and its last step only a part of one.
    plane.apply(Drain("p", "r1"), 110.0)
    weights = {it.weight for it in plane.decide(110.0).pools["p"].members}
    assert weights == {weighing_of(plane).replicas["r2"].weight}
    assert weights != {1000}
