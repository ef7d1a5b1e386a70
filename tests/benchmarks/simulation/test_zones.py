"""In simulated time zones keep what they can carry, and no peer does that in every scenario."""

import pytest

from benchmarks.simulation.zones import SCENARIOS, Result, play

OURS, ALIKE = "Plimsoll, nearest", "Plimsoll, any"


def ours(scenario: str) -> Result:
    return play(scenario, OURS, 1)


def test_where_there_is_room_everything_stays_at_home() -> None:
    found = ours("room everywhere")
    assert found.crossed < 0.01
    assert found.p99 < 1.2 * play("room everywhere", ALIKE, 1).p99


@pytest.mark.parametrize("scenario", [item for item in SCENARIOS if item != "room everywhere"])
def test_no_zone_is_left_with_more_than_it_carries(scenario: str) -> None:
    found, alike = ours(scenario), play(scenario, ALIKE, 1)
    assert found.p99 < 2 * alike.p99
    assert found.crossed < 0.6 * alike.crossed
    assert found.failed <= 2 * alike.failed + 0.001


def test_failover_by_health_and_routing_by_hosts_do_not_see_load() -> None:
    scenario = "busy Envoys in one zone"
    for peer in ("Istio, locality failover", "Envoy, zone-aware routing"):
        assert play(scenario, peer, 1).p99 > 3 * ours(scenario).p99
