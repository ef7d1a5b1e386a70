"""What Envoys report steers a pool whose replicas expose nothing."""

from dataclasses import replace

import pytest

from controlplane.balancing import InFlight
from controlplane.config import Address, Config, load_config
from controlplane.config.health_check import HealthCheckSettings
from controlplane.fleet import Drain
from controlplane.plane import Plane, Probe
from controlplane.plane.observed import Observed
from controlplane.plane.traffic import Senders
from controlplane.telemetry import profile_of, read
from controlplane.telemetry.load import Endpoint, InLocality, Load, drained
from tests.fleet.fleets import without_pool
from tests.plane.test_plane import reading
from tests.planes import declare, report

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
    declare(plane, config(profile), 0.0)
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
            report(plane, envoy, loads, 1.0, float(second))
        plane.decide(second + 0.5)


def capacities(plane: Plane) -> dict[str, float | None]:
    decision = plane.decision("p")
    assert decision is not None
    return {id_: replica.capacity for id_, replica in decision.replicas.items()}


def test_a_pool_without_metrics_is_steered_by_what_envoys_report() -> None:
    plane = serving("none")
    reported(plane, 30)
    found = capacities(plane)
    assert found["fast"] is not None
    assert found["slow"] is not None
    assert found["fast"] / found["slow"] == pytest.approx(4.0, rel=0.2)


def test_a_server_without_durations_is_steered_by_envoys_and_by_the_tokens_that_it_counts() -> None:
    plane = serving("llama-cpp")
    profile = profile_of(plane.fleet.pool("p").settings.metrics)
    for second in range(1, 31):
        for envoy in range(4):
            loads = {FAST: Load(40, 0, 1), SLOW: Load(10, 0, 1)}
            report(plane, envoy, loads, 1.0, float(second))
        for name, tokens in (("fast", 16_000 * second), ("slow", 4_000 * second)):
            target = plane.target("p", name)
            assert target is not None
            text = f"llamacpp:prompt_tokens_total {tokens}\nllamacpp:requests_deferred 3\n"
            plane.record(target, read(text, profile, float(second)), float(second))
        plane.decide(second + 0.5)
    decision = plane.decision("p")
    assert decision is not None
    assert decision.pool.counts_tokens
    found = capacities(plane)
    assert found["fast"] is not None
    assert found["slow"] is not None
    assert found["fast"] / found["slow"] == pytest.approx(4, rel=0.1)
    # A hundred tokens a request, as it counts.
    assert decision.pool.length == pytest.approx(100, rel=0.05)
    window = plane.report("p", "fast", 31.0).observed.window
    assert window is not None
    assert (window.queue, window.note) == (
        3, "llama-cpp exposes no durations: load reports of Envoys measure them",
    )  # fmt: skip


def test_a_pool_with_metrics_is_not() -> None:
    plane = serving("tei")
    reported(plane, 30)
    assert capacities(plane) == {"fast": None, "slow": None}


def overload(plane: Plane, replica: str) -> str | None:
    """Why a replica has less than its capacity for what it has in flight; None if it has not."""
    decision = plane.decision("p")
    assert decision is not None
    steps = decision.replicas[replica].steps
    return next((step.words for step in steps if step.name == "overload"), None)


def test_far_more_in_flight_by_envoys_count_than_explained_is_an_overload_at_once() -> None:
    plane = serving("none")
    reported(plane, 30)
    assert overload(plane, "fast") is None
    for envoy in range(4):
        report(plane, envoy, {FAST: Load(0, 0, 100), SLOW: Load(10, 0, 1)}, 0.5, 31.0)
    plane.decide(31.0)
    found = overload(plane, "fast")
    assert found is not None
    assert found.startswith("Overloaded: ")
    assert overload(plane, "slow") is None


def test_it_is_over_when_the_envoys_have_left() -> None:
    plane = serving("none")
    reported(plane, 30)
    for envoy in range(4):
        report(plane, envoy, {FAST: Load(0, 0, 100), SLOW: Load(10, 0, 1)}, 0.5, 31.0)
    plane.decide(31.0)
    assert overload(plane, "fast") is not None
    for envoy in range(4):
        drained(plane.reporter_leaving(envoy, 31.2))
    report(plane, "another", {SLOW: Load(1, 0, 1)}, 0.5, 31.5)
    plane.decide(31.5)
    assert overload(plane, "fast") is None


@pytest.mark.parametrize(
    ("queue", "in_progress"),
    [(200.0, 75), (500.0, 75), (500.0, None), (None, 75)],
    ids=["Envoys count more", "its queue is longer", "no Envoy reports", "it shows no queue"],
)
def test_a_replica_is_overloaded_by_its_own_queue_and_by_the_count_of_envoys(
    queue: float | None, in_progress: int | None
) -> None:
    plane = serving("tei")
    for name, waiting in (("fast", queue), ("slow", 0.0)):
        target = plane.target("p", name)
        assert target is not None
        for second in range(1, 31):
            seen = reading(float(second), 40.0 * second, 0.05)
            waits = waiting if second == 30 else 0.0
            plane.record(target, replace(seen, queue=waits), float(second))
    for envoy in range(4):
        if in_progress is not None:
            report(plane, envoy, {FAST: Load(10, 0, in_progress), SLOW: Load(10, 0, 0)}, 1, 30.0)
    plane.decide(30.0)
    assert overload(plane, "fast") is not None
    assert overload(plane, "slow") is None


@pytest.mark.parametrize(
    ("queue", "slots", "requests"), [(3.0, 2, 5.0), (3.0, None, 4.0), (0.0, 2, 0.0)]
)
def test_where_requests_wait_as_many_as_there_are_slots_are_being_computed(
    queue: float, slots: int | None, requests: float
) -> None:
    observed, check = Observed.fresh(1, 0.0), HealthCheckSettings()
    assert observed.in_flight(slots) == ()
    observed.record(replace(reading(2.0, 40.0, 0.05), queue=queue), check, 2.0)
    assert observed.in_flight(slots) == (InFlight("queue", requests, 2.0),)
    observed.record(reading(3.0, 80.0, 0.05), check, 3.0)
    assert observed.in_flight(slots) == ()


def test_what_is_in_flight_is_shown_until_the_envoy_leaves() -> None:
    plane = serving("tei")
    report(plane, "one", {FAST: Load(1, 0, 3)}, 1.0, 1.0)
    report(plane, "two", {FAST: Load(1, 0, 2)}, 1.0, 1.0)
    assert plane.report("p", "fast", 1.0).in_flight == 5
    assert plane.report("p", "slow", 1.0).in_flight is None
    drained(plane.reporter_leaving("one", 1.5))
    assert plane.report("p", "fast", 1.5).in_flight == 2


def test_reports_of_replicas_that_are_not_there_are_dropped() -> None:
    plane = serving("tei")
    (entry,) = config("tei").pools
    slow = entry.model_copy(update={"replicas": entry.replicas[1:]})
    declare(plane, Config(pools=(slow,)), 0.5)
    plane.decide(0.6)
    report(plane, "one", {FAST: Load(1, 0, 3), Endpoint("q", "10.0.0.1", 1): Load(1, 0, 3)}, 1, 1)
    assert plane.fleet.pool("p").replicas.keys() == {"slow"}
    assert plane.report("p", "slow", 1.0).in_flight is None


@pytest.mark.parametrize("change", ["removed", "moved", "pool removed"])
def test_of_a_replica_that_has_gone_no_report_is_kept(change: str) -> None:
    plane = serving("none")
    report(plane, "one", {FAST: Load(1, 0, 3), SLOW: Load(1, 0, 1)}, 1.0, 1.0)
    (entry,) = config("none").pools
    fast, slow = entry.replicas
    moved = fast.model_copy(update={"address": Address("127.0.0.1", 9003)})
    left = {
        "removed": (entry.model_copy(update={"replicas": (slow,)}),),
        "moved": (entry.model_copy(update={"replicas": (moved, slow)}),),
        "pool removed": (),
    }[change]
    if left:
        declare(plane, Config(pools=left), 1.5)
    else:
        plane.adopt(without_pool(plane.fleet, "p"), 1.5)
    # Nor does a report without it renew what there was.
    report(plane, "one", {}, 1.0, 2.0)
    kept = plane._traffic.reports.endpoints()
    assert kept == (frozenset() if change == "pool removed" else {SLOW})


def test_a_replica_that_is_changed_where_it_is_keeps_its_reports() -> None:
    plane = serving("none")
    report(plane, "one", {FAST: Load(1, 0, 3)}, 1.0, 1.0)
    plane.apply(Drain("p", "fast"), 1.5)
    assert plane.report("p", "fast", 1.5).in_flight == 3


def test_what_replicas_carry_is_known_when_all_envoys_report_anew() -> None:
    plane = serving("none")
    reported(plane, 30)
    decision = plane.decision("p")
    assert decision is not None
    tiers = {id_: replica.tier for id_, replica in decision.replicas.items()}
    for envoy in range(4):
        drained(plane.reporter_leaving(envoy, 30.6))
    plane.decide(30.7)
    for second in range(31, 35):
        loads = {FAST: Load(40, 0, 1), SLOW: Load(10, 0, 1)}
        report(plane, "another", loads, 1.0, float(second))
        plane.decide(second + 0.1)
        now = plane.decision("p")
        assert now is not None
        assert {id_: replica.tier for id_, replica in now.replicas.items()} == tiers
        found = capacities(plane)
        assert found["fast"] is not None
        assert found["slow"] is not None
        assert found["fast"] / found["slow"] > 2.5


@pytest.mark.parametrize("counted", [1e6, 10.0], ids=["far more", "fewer"])
def test_counts_of_another_source_are_not_requests_of_this_second(counted: float) -> None:
    plane = serving("none")
    reported(plane, 30)
    before = capacities(plane)["fast"]
    declare(plane, config("tei"), 31.0)
    for second in range(32, 40):
        for name, port in (("fast", 9001), ("slow", 9002)):
            target = plane.target("p", name)
            assert target is not None
            assert target.replica.address.port == port
            seen = reading(float(second), counted + 40 * (second - 31), 0.01)
            plane.record(target, seen, float(second))
        plane.decide(second + 0.1)
        if second == 32:
            # What was known is known still, by the first reading of the new source.
            assert capacities(plane)["fast"] == pytest.approx(before, rel=0.01)
    after = capacities(plane)["fast"]
    assert before is not None
    assert after is not None
    assert after < 2 * max(before, 100.0)


def test_what_grpc_clients_report_of_a_tier_is_shared_out_to_its_replicas() -> None:
    plane = serving("none")
    plane.decide(0.5)
    told = {member.id: member.tier for member in plane.catalog.pools["p"].members}
    assert told["fast"] == told["slow"]
    tier, other = InLocality("p", "", "", told["fast"]), InLocality("p", "", "", "no such")
    found = plane.by_replica({tier: Load(3, 1, 2), other: Load(9, 9, 9)})
    assert found == {FAST: Load(1.5, 0.5, 1, is_own=False), SLOW: Load(1.5, 0.5, 1, is_own=False)}
    report(plane, "grpc", found, 1.0, 1.0)
    assert plane.report("p", "fast", 1.0).in_flight == 1


def test_what_they_report_of_a_pool_that_has_gone_is_dropped() -> None:
    assert serving("none").by_replica({InLocality("q", "", "", "tier-1"): Load(1, 0, 1)}) == {}


ONE, OTHER = Endpoint("m", "10.0.0.1", 80), Endpoint("n", "10.0.0.2", 80)


def senders() -> Senders:
    found = Senders()
    found.came("stream", "search-1", 0.0)
    return found


def test_what_ended_since_the_report_before_is_a_rate() -> None:
    found = senders()
    found.reported("stream", {ONE: Load(8, 2, 5), OTHER: Load(3, 0, 0)}, 1.0)
    assert found.sent() == {"search-1": {"m": 10.0, "n": 3.0}}


def test_a_rate_fades_when_reports_have_nothing_in_them() -> None:
    found = senders()
    found.reported("stream", {ONE: Load(10, 0, 0)}, 1.0)
    for second in range(2, 100):
        found.reported("stream", {}, float(second))
    assert found.sent()["search-1"]["m"] == pytest.approx(0.0, abs=0.01)


def test_streams_of_one_node_are_added_up_and_one_that_left_counts_no_more() -> None:
    found = senders()
    found.came("another", "search-1", 0.0)
    for stream in ("stream", "another"):
        found.reported(stream, {ONE: Load(10, 0, 0)}, 1.0)
    assert found.sent() == {"search-1": {"m": 20.0}}
    found.left("stream")
    assert found.sent() == {"search-1": {"m": 10.0}}
    found.reported("stream", {ONE: Load(10, 0, 0)}, 2.0)
    assert found.sent() == {"search-1": {"m": 10.0}}
