"""Zones from load reports to what Envoys hold: demand by where Envoys run, capacity by zone."""

import json
from itertools import count

import pytest

from controlplane.api.views import zones_view
from controlplane.balancing import Place
from controlplane.balancing.restart import pool_data, replica_data
from controlplane.config import Config, load_config
from controlplane.fleet import registered, restored, whole
from controlplane.plane import Plane, Probe, RestartPool, RestartReplica
from controlplane.resources.views import View
from controlplane.telemetry.load import Endpoint, Load
from controlplane.telemetry.sizes import Sample
from tests.metrics.exposed import everything, values
from tests.planes import declare, report

CONFIG = """
pools:
  - name: p
    model: m
    listener: {{address: "127.0.0.1:10000"}}
    metrics: {{profile: none}}
    balancing: {{locality: {locality}, policy: {policy}, slow_start: null}}
    replicas:
      - {{id: a, address: "127.0.0.1:9001", slots: 1, locality: {{region: eu, zone: a}}}}
      - {{id: b, address: "127.0.0.1:9002", slots: 1, locality: {{region: eu, zone: b}}}}
"""
A, B = Place("eu", "a"), Place("eu", "b")
AT = {A: Endpoint("p", "127.0.0.1", 9001), B: Endpoint("p", "127.0.0.1", 9002)}


def config(locality: str = "nearest", policy: str = "capacity-tiers") -> Config:
    return load_config(CONFIG.format(locality=locality, policy=policy), "plimsoll.yaml")


class Life:
    """A plane whose Envoys report each second, one in each zone."""

    def __init__(self, made: Config) -> None:
        self.plane, self.now = Plane(0.0), 0.0
        declare(self.plane, made, 0.0)
        for id_ in "ab":
            self.probe(id_, Probe.HEALTHY)
        for place in (A, B):
            assert self.plane.envoy_came(f"stream {place}", f"{place}", View(place=place)) is None
            self.plane.reporter_came(f"{place}", place)
        self.plane.decide(0.0)

    def probe(self, id_: str, probe: Probe) -> None:
        target = self.plane.target("p", id_)
        assert target is not None
        self.plane.probed(target, probe, self.now)

    def pass_(self, seconds: int, sent: dict[tuple[Place, Place], tuple[int, int]]) -> None:
        """Let Envoys of one zone end requests at replicas of another, with some in flight."""
        for _ in range(seconds):
            self.now += 1.0
            for here in (A, B):
                loads = {
                    AT[there]: Load(ended, 0, in_flight)
                    for (from_, there), (ended, in_flight) in sent.items()
                    if from_ == here
                }
                report(self.plane, f"{here}", loads, 1.0, self.now)
            self.plane.decide(self.now)

    def told(self, here: Place) -> dict[Place, float]:
        decision = self.plane.decision("p")
        assert decision is not None
        assert decision.pool.zones is not None
        return dict(decision.pool.zones.told[""][here])


def zoned() -> Plane:
    """A plane that has counted what arises in two zones."""
    life = Life(config())
    life.pass_(10, {(A, A): (20, 1), (B, B): (10, 1)})
    return life.plane


@pytest.mark.parametrize("policy", ["capacity-tiers", "round-robin"])
def test_a_zone_whose_envoys_send_more_than_its_replicas_carry_spills(policy: str) -> None:
    life = Life(config(policy=policy))
    life.pass_(20, {(A, A): (40, 1), (B, B): (40, 1)})
    assert life.told(A) == {A: 1.0}
    # Twice as much comes: a queue grows, and as many end as before.
    for queued in count(50, 50):
        life.pass_(1, {(A, A): (50, queued), (B, B): (5, 0)})
        if B in life.told(A):
            break
        assert queued < 500
    assert life.told(B) == {B: 1.0}


def test_a_zone_at_whose_replicas_nobody_listens_sends_all_to_the_other() -> None:
    life = Life(config())
    life.pass_(10, {(A, A): (20, 1), (B, B): (20, 1)})
    life.probe("a", Probe.REFUSED)
    life.pass_(1, {(A, A): (20, 1), (B, B): (20, 1)})
    assert life.told(A) == {B: 1.0}
    life.probe("a", Probe.HEALTHY)
    life.pass_(1, {(A, B): (20, 1), (B, B): (20, 1)})
    assert life.told(A)[A] > 0.5


def test_where_zones_do_not_matter_there_is_no_plan() -> None:
    life = Life(config("any"))
    life.pass_(5, {(A, A): (20, 1)})
    decision = life.plane.decision("p")
    assert decision is not None
    assert decision.pool.zones is None
    assert zones_view(life.plane.fleet.pool("p"), decision) == {"zones": None, "zone_reasons": []}


def test_a_zone_whose_requests_are_larger_has_more_demand() -> None:
    life = Life(config())
    small, large = (Sample("p", "", "127.0.0.1", 9001, size, 0.1, 200) for size in (400, 4000))
    life.plane.sampled([small] * 30, 0.0, A)
    life.plane.sampled([large] * 30, 0.0, B)
    life.pass_(10, {(A, A): (20, 1), (B, B): (20, 1)})
    decision = life.plane.decision("p")
    assert decision is not None
    assert decision.pool.zones is not None
    flows = decision.pool.zones.by_class[""]
    demand = dict(zip(flows.places, flows.demand, strict=True))
    assert demand[B] / demand[A] == pytest.approx(10, rel=0.05)


def test_people_see_demand_capacity_and_where_it_goes() -> None:
    life = Life(config())
    life.pass_(10, {(A, A): (20, 1), (B, B): (10, 1)})
    view = zones_view(life.plane.fleet.pool("p"), life.plane.decision("p"))
    first, second = view["zones"]
    assert (first["region"], first["zone"], first["envoys"]) == ("eu", "a", 1)
    assert first["demand"] == pytest.approx(2 * second["demand"], rel=0.1)
    assert first["capacity"] > first["demand"]
    assert (first["stays"], first["spills"]) == (1.0, [])
    assert view["zone_reasons"][0].startswith("Zone eu/a: 1 Envoy sends ")
    metrics = everything(life.plane)
    assert {*values(metrics, "plimsoll_zone_sent_ratio").values()} == {1.0}
    carried = values(metrics, "plimsoll_zone_capacity_tokens_per_second")
    assert [*carried.values()] == pytest.approx(
        [zone["capacity"] for zone in view["zones"]], rel=1e-4
    )
    arises = values(metrics, "plimsoll_zone_demand_tokens_per_second")
    assert [*arises.values()] == pytest.approx([zone["demand"] for zone in view["zones"]], rel=1e-4)


def test_envoys_that_leave_are_counted_no_more() -> None:
    life = Life(config())
    life.plane.envoy_left(f"stream {A}")
    life.pass_(1, {(B, B): (1, 0)})
    assert life.plane.listeners.nodes_by_place("p") == {B: 1}
    assert life.plane.listeners.nodes_by_place("p").get(A, 0) == 0


def test_what_envoys_were_told_stays_over_a_restart_until_requests_are_counted_again() -> None:
    life = Life(config())
    life.pass_(20, {(A, A): (40, 1), (B, B): (40, 1)})
    life.pass_(6, {(A, A): (50, 300), (B, B): (5, 0)})
    told = life.told(A)
    assert B in told
    again = Plane(1000.0)
    fleet = restored(registered(life.plane.fleet), config(), 1000.0)
    again.adopt(whole(fleet), 1000.0)
    decision, known = life.plane.decision("p"), life.plane.restart_state("p")
    assert decision is not None
    replicas = {
        id_: RestartReplica(*known[id_], json.loads(json.dumps(replica_data(decision, id_))))
        for id_ in decision.rows
    }
    data = json.loads(json.dumps(pool_data(decision)))
    again.restore({"p": RestartPool(1.0, data, replicas)}, 1000.0)
    again.decide(1000.5)
    after_it = again.decision("p")
    assert after_it is not None
    assert after_it.pool.zones is not None
    assert after_it.pool.zones.told[""][A] == told
    assert zones_view(again.fleet.pool("p"), after_it)["zone_reasons"]
