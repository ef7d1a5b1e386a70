"""What Envoys report steers a pool whose replicas expose nothing."""

import pytest

from controlplane.plane import Plane, Probe
from controlplane.settings import Config, load_config
from controlplane.signals.load import Endpoint, Load

CONFIG = """
pools:
  - name: p
    model: m
    listener: {{address: "127.0.0.1:10000"}}
    metrics: {{profile: {profile}}}
    replicas:
      - {{id: fast, address: "127.0.0.1:9001"}}
      - {{id: slow, address: "127.0.0.1:9002"}}
"""
FAST, SLOW = Endpoint("p", "127.0.0.1", 9001), Endpoint("p", "127.0.0.1", 9002)


def config(profile: str) -> Config:
    return load_config(CONFIG.format(profile=profile), "plimsoll.yaml")


def serving(profile: str) -> Plane:
    """A plane with two replicas that are ready."""
    plane = Plane(0.0)
    plane.declare(config(profile), 0.0)
    for name in ("fast", "slow"):
        target = plane.target("p", name)
        assert target is not None
        plane.probed(target, Probe.HEALTHY, 0.0)
    return plane


def reported(plane: Plane, seconds: int) -> None:
    """Four Envoys with a request in flight at each; one replica ends four times as many."""
    for second in range(1, seconds + 1):
        for envoy in range(4):
            loads = {FAST: Load(40, 0, 1), SLOW: Load(10, 0, 1)}
            plane.reported(envoy, loads, 1.0, float(second))
        plane.decide(second + 0.5)


def capacities(plane: Plane) -> dict[str, float | None]:
    weighing = plane.weighing("p")
    assert weighing is not None
    return {id_: it.capacity for id_, it in weighing.replicas.items()}


def test_a_pool_without_metrics_is_steered_by_what_envoys_report() -> None:
    plane = serving("none")
    reported(plane, 30)
    found = capacities(plane)
    assert found["fast"] is not None
    assert found["slow"] is not None
    assert found["fast"] / found["slow"] == pytest.approx(4.0, rel=0.2)


def test_a_pool_with_metrics_is_not() -> None:
    plane = serving("tei")
    reported(plane, 30)
    assert capacities(plane) == {"fast": None, "slow": None}


def test_what_is_in_flight_is_shown_until_the_envoy_leaves() -> None:
    plane = serving("tei")
    plane.reported("one", {FAST: Load(1, 0, 3)}, 1.0, 1.0)
    plane.reported("two", {FAST: Load(1, 0, 2)}, 1.0, 1.0)
    assert plane.report("p", "fast", 1.0).in_flight == 5
    assert plane.report("p", "slow", 1.0).in_flight is None
    plane.reporter_left("one", 1.5)
    assert plane.report("p", "fast", 1.5).in_flight == 2


def test_reports_of_replicas_that_are_not_there_are_dropped() -> None:
    plane = serving("tei")
    (entry,) = config("tei").pools
    slow = entry.model_copy(update={"replicas": entry.replicas[1:]})
    plane.declare(Config(pools=(slow,)), 0.5)
    plane.decide(0.6)
    plane.reported("one", {FAST: Load(1, 0, 3), Endpoint("q", "10.0.0.1", 1): Load(1, 0, 3)}, 1, 1)
    assert plane.fleet.pool("p").replicas.keys() == {"slow"}
    assert plane.report("p", "slow", 1.0).in_flight is None
