"""What was known before a restart is taken up again, and nothing that Envoys see changes by it."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controlplane.fleet import registered, restored
from controlplane.plane import Failure, Plane, Probe, Remembered, RememberedPool, Target
from controlplane.plane.remembered import HELD
from controlplane.resources.catalog import Catalog
from controlplane.resources.resource import ENDPOINT
from controlplane.resources.views import View
from controlplane.settings import Address, Config, load_config
from controlplane.signals import Histogram, Reading
from controlplane.weighing import pool_data, replica_data

CONFIG = load_config(
    """
pools:
  - name: m
    model: x
    listener: {address: "127.0.0.1:10000"}
    objective: {p99: 20ms}
    replicas:
      - {id: fast, address: "127.0.0.1:9001"}
      - {id: same, address: "127.0.0.1:9002"}
      - {id: slow, address: "127.0.0.1:9003"}
""",
    "plimsoll.yaml",
)
SECONDS = {"fast": 0.005, "same": 0.005, "slow": 0.05}


def target(plane: Plane, id_: str) -> Target:
    found = plane.target("m", id_)
    assert found is not None
    return found


def reading(at: float, count: float, seconds: float) -> Reading:
    bounds = (0.01, 0.1, 1.0, math.inf)
    counts = tuple(count if seconds <= bound else 0.0 for bound in bounds)
    histogram = Histogram(bounds, counts, count * seconds)
    return Reading(
        at=at, latency=histogram, memory=(), queue=None, errors=None, started_at=None, note=None
    )


class Life:
    """A plane, and replicas whose counters go on whoever reads them."""

    def __init__(self, plane: Plane, now: float) -> None:
        self.plane, self.now, self.catalog = plane, now, Catalog()

    def live(self, seconds: float, counted: Callable[[float], float], ids: str = "") -> None:
        """Scrape twice a second."""
        until = self.now + seconds
        while self.now < until:
            self.now += 0.5
            for id_ in ids.split() or SECONDS:
                self.plane.probed(target(self.plane, id_), Probe.HEALTHY, self.now)
                seen = reading(self.now, counted(self.now), SECONDS[id_])
                self.plane.record(target(self.plane, id_), seen, self.now)
            self.catalog = self.plane.decide(self.now)

    @property
    def version(self) -> str:
        return self.catalog.view(View()).type(ENDPOINT)["m"].version

    def weights(self) -> dict[str, tuple[str, int]]:
        weighing = self.plane.weighing("m")
        assert weighing is not None
        return {id_: (it.tier, it.weight) for id_, it in weighing.replicas.items()}

    def capacities(self) -> dict[str, float]:
        weighing = self.plane.weighing("m")
        assert weighing is not None
        return {id_: it.capacity or 0.0 for id_, it in weighing.replicas.items()}


def steadily(now: float) -> float:
    """Requests by a time."""
    return now * 20


def measured() -> Life:
    life = Life(Plane(0.0), 0.0)
    life.plane.declare(CONFIG, 0.0)
    life.live(60, steadily)
    return life


def kept(life: Life) -> dict[str, RememberedPool]:
    """What of it is kept, once through JSON."""
    weighing, known = life.plane.weighing("m"), life.plane.remembered("m")
    assert weighing is not None
    data: dict[str, Any] = {
        id_: Remembered(*known[id_], json.loads(json.dumps(replica_data(it))))
        for id_, it in weighing.replicas.items()
    }
    return {"m": RememberedPool(12.0, json.loads(json.dumps(pool_data(weighing))), data)}


def restarted(life: Life, config: Config = CONFIG, now: float = 1000.0) -> Life:
    plane = Plane(now)
    plane.adopt(restored(registered(life.plane.fleet), config, now), now)
    plane.recall(kept(life), now)
    return Life(plane, now)


def test_envoys_are_told_the_same_after_a_restart_and_while_it_lasts() -> None:
    before = measured()
    after = restarted(before)
    assert len({weight for _, weight in before.weights().values()}) > 1
    for _ in range(int(HELD)):
        after.live(1.0, steadily)
        assert (after.weights(), after.version) == (before.weights(), before.version)


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
    weighing = after.plane.weighing("m")
    assert weighing is not None
    estimate = weighing.replicas["fast"].state.estimate
    assert estimate is not None
    assert estimate.requests < 20


def test_who_is_never_read_again_ages_to_the_median() -> None:
    after = restarted(measured())
    after.live(HELD + 5, steadily, ids="fast same")
    weighing = after.plane.weighing("m")
    assert weighing is not None
    assert weighing.replicas["slow"].stale
    assert weighing.replicas["slow"].state.relative > 0.5


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
    fresh.adopt(before.plane.fleet, 0.0)
    fresh.recall({"m": replace(data, replicas=hidden)}, 0.0)
    assert not fresh.report("m", "slow", 0.0).observed.readiness.is_shown
    assert fresh.report("m", "fast", 0.0).observed.readiness.is_shown


def test_a_replica_that_has_moved_meanwhile_begins_anew() -> None:
    (entry,) = CONFIG.pools
    moved = entry.replicas[0].model_copy(update={"address": Address("127.0.0.1", 9999)})
    pools = (entry.model_copy(update={"replicas": (moved, *entry.replicas[1:])}),)
    after = restarted(measured(), CONFIG.model_copy(update={"pools": pools}))
    weighing = after.plane.weighing("m")
    assert weighing is not None
    assert set(weighing.replicas) == {"same", "slow"}
    assert not after.plane.report("m", "fast", after.now).observed.readiness.is_shown


def test_data_of_another_version_is_as_good_as_none() -> None:
    before = measured()
    plane = Plane(0.0)
    plane.adopt(before.plane.fleet, 0.0)
    old = {id_: replace(it, weighing={"w": 1}) for id_, it in kept(before)["m"].replicas.items()}
    plane.recall({"m": replace(kept(before)["m"], replicas=old)}, 0.0)
    assert plane.weighing("m") is None


def test_an_empty_registry_is_not_told_before_there_is_a_pool() -> None:
    plane = Plane(0.0)
    assert not plane.is_settled(1e9)
    plane.declare(CONFIG, 0.0)
    assert plane.is_settled(1e9)
    plane.decide(1e9)
    plane.declare(Config(), 1e9)
    assert plane.is_settled(1e9)


def test_a_pool_that_is_held_says_so() -> None:
    after = restarted(measured())
    after.live(1, steadily)
    report = after.plane.report("m", "slow", after.now)
    assert report.weighing is not None
    assert report.weighing.steps[0].words == (
        "the control plane was restarted: what was decided 12 s before stays until there are enough"
        " readings again"
    )
