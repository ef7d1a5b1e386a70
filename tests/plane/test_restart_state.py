"""What was known before a restart is taken up again, and nothing that Envoys see changes by it."""

from dataclasses import replace

import pytest

from controlplane.config import Address
from controlplane.fleet import whole
from controlplane.plane import Failure, Plane, Probe
from controlplane.plane.recovery import HELD
from tests.fleet.fleets import without_pool
from tests.plane.lives import (
    CONFIG,
    SECONDS,
    SIZES,
    kept,
    measured,
    restarted,
    steadily,
    target,
)
from tests.planes import declare


def test_envoys_are_told_the_same_after_a_restart_and_while_it_lasts() -> None:
    before = measured()
    after = restarted(before)
    assert len({weight for _, weight in before.weights().values()}) > 1
    for _ in range(int(HELD)):
        after.live(1.0, steadily)
        assert (after.weights(), after.version) == (before.weights(), before.version)


def test_long_requests_go_where_they_went_after_a_restart_and_while_it_lasts() -> None:
    before = measured(345.0, SIZES)
    parting = before.plane.parting("m")
    assert parting is not None
    assert parting["bulk"].routed
    after = restarted(before)
    for _ in range(int(HELD)):
        after.live(1.0, steadily)
        assert after.versions() == before.versions()
    now, then = after.plane.decision("m"), before.plane.decision("m")
    assert now is not None
    assert then is not None
    assert now.pool.length == then.pool.length is not None


def test_they_are_told_the_same_before_anything_was_read() -> None:
    before = measured()
    after = restarted(before)
    for id_ in SECONDS:
        after.plane.probed(target(after.plane, id_), Probe.HEALTHY, after.now)
    after.catalog = after.plane.decide(after.now)
    assert after.version == before.version


def test_estimates_start_from_what_was_known() -> None:
    before = measured()
    after = restarted(before)
    after.live(HELD + 1, steadily)
    for id_, capacity in before.capacities().items():
        assert after.capacities()[id_] == pytest.approx(capacity, rel=0.05)


def test_what_was_counted_while_nobody_looked_says_nothing() -> None:
    before = measured()
    after = restarted(before)
    # A million requests came meanwhile, in what looks like half a second.
    after.live(HELD + 1, lambda now: 1e6 + steadily(now - 1000))
    assert after.weights() == before.weights()


def test_a_replica_that_was_restarted_meanwhile_is_measured_anew() -> None:
    after = restarted(measured())
    after.live(HELD + 0.5, lambda now: steadily(now - 1000))
    decision = after.plane.decision("m")
    assert decision is not None
    assert decision.state.records.worth[decision.rows["fast"]] < 20


def test_who_is_never_read_again_ages_to_the_median() -> None:
    after = restarted(measured())
    after.live(HELD + 5, steadily, ids="fast same")
    decision = after.plane.decision("m")
    assert decision is not None
    assert decision.replicas["slow"].stale
    assert decision.state.relative[decision.rows["slow"]] > 0.5


def test_what_envoys_knew_they_still_know_though_nobody_listens_there_now() -> None:
    before = measured()
    before.plane.record(target(before.plane, "slow"), Failure("x", refused=True), before.now)
    before.catalog = before.plane.decide(before.now)
    after = restarted(before)
    after.plane.probed(target(after.plane, "slow"), Probe.REFUSED, after.now)
    after.live(1, steadily, ids="fast same")
    assert after.version == before.version


def test_what_envoys_did_not_know_they_are_not_told_of() -> None:
    before = measured()
    data = kept(before)["m"]
    hidden = {**data.replicas, "slow": replace(data.replicas["slow"], shown=False)}
    fresh = Plane(0.0)
    fresh.adopt(whole(before.plane.fleet), 0.0)
    fresh.restore({"m": replace(data, replicas=hidden)}, 0.0)
    assert not fresh.report("m", "slow", 0.0).observed.readiness.is_shown
    assert fresh.report("m", "fast", 0.0).observed.readiness.is_shown


def test_a_replica_that_has_moved_meanwhile_begins_anew() -> None:
    (entry,) = CONFIG.pools
    moved = entry.replicas[0].model_copy(update={"address": Address("127.0.0.1", 9999)})
    pools = (entry.model_copy(update={"replicas": (moved, *entry.replicas[1:])}),)
    after = restarted(measured(), CONFIG.model_copy(update={"pools": pools}))
    weighing = after.plane.decision("m")
    assert weighing is not None
    assert set(weighing.replicas) == {"same", "slow"}
    assert not after.plane.report("m", "fast", after.now).observed.readiness.is_shown


def test_data_of_another_version_is_as_good_as_none() -> None:
    before = measured()
    plane = Plane(0.0)
    plane.adopt(whole(before.plane.fleet), 0.0)
    old = {
        id_: replace(replica, weighing={"w": 1})
        for id_, replica in kept(before)["m"].replicas.items()
    }
    plane.restore({"m": replace(kept(before)["m"], replicas=old)}, 0.0)
    assert plane.decision("m") is None


def test_an_empty_registry_is_not_told_before_there_is_a_pool() -> None:
    plane = Plane(0.0)
    assert not plane.has_started(1e9)
    declare(plane, CONFIG, 0.0)
    assert plane.has_started(1e9)
    plane.decide(1e9)
    for name in plane.fleet.pools:
        plane.adopt(without_pool(plane.fleet, name), 1e9)
    assert plane.has_started(1e9)


def test_a_pool_that_is_held_says_so() -> None:
    after = restarted(measured())
    after.live(1, steadily)
    report = after.plane.report("m", "slow", after.now)
    assert report.decision is not None
    assert report.decision.steps[0].words == (
        "the control plane was restarted: what was decided 12 s before stays until there are enough"
        " readings again"
    )
