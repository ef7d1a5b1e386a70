"""What the API says of a replica, without a server."""

import asyncio
import json
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from controlplane.api.views import plain, pool_view, replica_view
from controlplane.config import Policy, PoolSettings, ReplicaSettings, validated
from controlplane.fleet import PutPool, PutReplica
from controlplane.plane import Failure, Plane, Probe
from controlplane.telemetry import GpuMemory, Histogram, Reading
from controlplane.telemetry.load import Endpoint, Load, drained
from tests.plane.pools import SETTINGS
from tests.planes import report

SHORT = {"model": "m", "listener": {"address": "127.0.0.1:10000"}}
BOUNDS = (0.01, 0.1, inf)


def plane() -> Plane:
    """One ready replica."""
    made = Plane(0.0)
    made.apply(PutPool("m", SETTINGS), 0.0)
    made.apply(PutReplica("m", "a", ReplicaSettings.model_validate({"address": "10.0.0.1:80"})), 0)
    made.probed(made.targets()[0], Probe.HEALTHY, 0.0)
    return made


def scraped(made: Plane, at: float, requests: float, *memory: GpuMemory) -> None:
    counts = (0.0, requests, requests)
    reading = Reading(at, Histogram(BOUNDS, counts, requests * 0.05), memory=memory, queue=3.0)
    made.record(made.targets()[0], reading, at)
    made.decide(at)


def view(made: Plane, now: float) -> dict[str, Any]:
    return replica_view(made.report("m", "a", now), now)


def test_readings_are_in_the_units_that_their_keys_say() -> None:
    made = plane()
    scraped(made, 1.0, 0.0)
    scraped(made, 11.0, 500.0, GpuMemory("GPU-1", 6e9, 8e9))
    readings = view(made, 11.5)["readings"]
    assert (readings["rate_rps"], readings["window_s"], readings["samples"]) == (50.0, 10.0, 500)
    assert (readings["latency_mean_ms"], readings["in_flight"]) == (50.0, 2.5)
    assert 10 < readings["p99_ms"] <= 100
    assert readings["queue"] == 3
    assert readings["memory"] == [
        {"gpu": "GPU-1", "used_bytes": 6e9, "total_bytes": 8e9, "fraction": 0.75}
    ]


def test_memory_that_is_only_a_fraction_has_no_bytes() -> None:
    made = plane()
    scraped(made, 1.0, 0.0, GpuMemory(None, 0.5, 1.0))
    assert view(made, 1.0)["readings"]["memory"] == [
        {"gpu": None, "used_bytes": None, "total_bytes": None, "fraction": 0.5}
    ]


def test_what_was_decided_stands_beside_why() -> None:
    made = plane()
    scraped(made, 1.0, 0.0)
    scraped(made, 11.0, 500.0)
    shown, weighing = view(made, 11.0), made.report("m", "a", 11.0).decision
    assert weighing is not None
    assert (shown["weight"], shown["tier"]) == (weighing.weight, weighing.tier)
    assert (shown["share"], shown["shown_to_envoy"]) == (1.0, True)
    assert [step["words"] for step in shown["steps"]] == [item.words for item in weighing.steps]
    assert len(shown["why"]) == len(shown["steps"])


def under(policy: Policy, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A measured replica and its pool, as the API shows them."""
    made = plane()
    balancing = {"policy": policy, **more}
    made.apply(PutPool("m", validated(PoolSettings, {**SHORT, "balancing": balancing})), 0.0)
    scraped(made, 1.0, 0.0)
    scraped(made, 11.0, 500.0)
    report = made.report("m", "a", 11.0)
    shown = asyncio.run(pool_view(made.fleet.pool("m"), [report], made.decision("m")))
    return replica_view(report, 11.0), shown


@pytest.mark.parametrize("policy", ["capacity-tiers", "weighted-least-request"])
def test_where_the_policy_has_weights_envoy_is_told_the_shares(policy: Policy) -> None:
    for shown in under(policy):
        assert (shown["policy_in_force"], shown["shares_told_to_envoy"]) == (policy, True)
    assert (under(policy)[0]["tier"] is None) == (policy == "weighted-least-request")


def test_where_the_policy_has_no_weights_no_share_is_made_up() -> None:
    replica, pool = under("ring-hash", hash={"header": "x-user"})
    for shown in (replica, pool):
        assert (shown["policy_in_force"], shown["shares_told_to_envoy"]) == ("ring-hash", False)
    assert (replica["share"], replica["tier"], pool["replicas"][0]["share"]) == (None, None, None)
    assert replica["capacity"] is not None
    assert replica["why"][-1].endswith("Envoy does not get capacities")


def test_a_policy_is_in_force_once_it_was_decided_by() -> None:
    made = plane()
    assert view(made, 0.0)["policy_in_force"] is None
    made.decide(0.0)
    body = {**SHORT, "balancing": {"policy": "round-robin"}}
    made.apply(PutPool("m", validated(PoolSettings, body)), 1.0)
    assert view(made, 1.0)["policy_in_force"] == "capacity-tiers"
    made.decide(1.0)
    assert view(made, 1.0)["policy_in_force"] == "round-robin"


def test_a_failed_scrape_says_why_and_how_old_the_last_good_one_is() -> None:
    made = plane()
    scraped(made, 1.0, 0.0)
    made.record(made.targets()[0], Failure("it answered 500"), 3.0)
    made.decide(3.0)
    shown = view(made, 4.0)
    assert shown["scrape"] == {"age_s": 3.0, "failure": "it answered 500"}
    assert (
        shown["why"][0] == "The last scrape failed: it answered 500; the last success was 3 s ago"
    )


AT = Endpoint("m", "10.0.0.1", 80)


def reported(made: Plane, seconds: int) -> None:
    """Two Envoys end 30 requests a second, one of six with an error, and have three in flight."""
    for second in range(1, seconds + 1):
        report(made, "one", {AT: Load(15, 5, 2)}, 1.0, float(second))
        report(made, "two", {AT: Load(10, 0, 1)}, 1.0, float(second))


def test_what_envoys_report_stands_beside_the_readings_with_its_age() -> None:
    made = plane()
    scraped(made, 1.0, 0.0)
    reported(made, 11)
    scraped(made, 11.0, 500.0)
    shown = view(made, 11.25)
    assert shown["readings"]["rate_rps"] == 50.0
    assert shown["load_reports"] == {
        "age_s": 0.25,
        "rate_rps": 25.0,
        "latency_mean_ms": 120.0,
        "in_flight": 3.0,
        "samples": 125,
        "window_s": 5.0,
        "errors": 25,
        "error_fraction": pytest.approx(1 / 6, rel=1e-5),
    }
    drained(made.reporter_leaving("one", 12.0))
    drained(made.reporter_leaving("two", 12.0))
    assert view(made, 12.0)["load_reports"] is None


def test_a_replica_that_is_not_scraped_says_whether_envoys_report_of_it() -> None:
    made = plane()
    made.apply(PutPool("m", validated(PoolSettings, {**SHORT, "metrics": {"profile": "none"}})), 0)
    made.decide(0.0)
    assert view(made, 0.0)["why"][0] == (
        "Not scraped (metrics profile none); no Envoy reports its load"
    )
    reported(made, 1)
    made.decide(1.0)
    shown = view(made, 1.0)
    assert shown["why"][0] == "Not scraped (metrics profile none); Envoys report its load"
    assert (shown["readings"], shown["scrape"]["age_s"]) == (None, None)
    assert shown["load_reports"] is not None


def test_a_replica_that_was_never_scraped_has_no_readings_rather_than_zeros() -> None:
    made = plane()
    made.decide(0.0)
    shown = view(made, 1.0)
    assert (shown["readings"], shown["scrape"]["age_s"], shown["capacity"]) == (
        None,
        None,
        None,
    )


def test_before_the_first_decision_nothing_is_known_of_weights() -> None:
    shown = view(plane(), 0.0)
    assert (shown["weight"], shown["tier"], shown["steps"]) == (None, None, [])
    assert shown["why"][-1] == "No weight yet"


def test_what_is_no_json_number_is_null() -> None:
    made = plane()
    scraped(made, 1.0, 10.0)
    report = made.report("m", "a", 1.0)
    assert report.decision is not None
    odd = replace(report, decision=report.decision._replace(capacity=inf, share=nan))
    shown = replica_view(odd, 1.0)
    assert (shown["capacity"], shown["share"]) == (None, None)
    json.dumps(shown, allow_nan=False)
    assert plain(-inf) is None
