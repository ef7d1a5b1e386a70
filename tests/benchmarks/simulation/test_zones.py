"""In simulated time zones keep what they can carry, and no peer does that in every scenario."""

from functools import cache

import pytest

from benchmarks.simulation import zones
from benchmarks.simulation.zones import SCENARIOS, Result
from benchmarks.worlds.scenarios import Timing

OURS, UNDECLARED, ALIKE = "Plimsoll, nearest", "Plimsoll, nearest, no slots", "Plimsoll, any"


@cache
def play(scenario: str, contender: str) -> Result:
    """Half as long as where it is measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zones, "TIMING", Timing(15, 20))
        return zones.play(scenario, contender, 1)


def ours(scenario: str) -> Result:
    return play(scenario, OURS)


@pytest.mark.parametrize("contender", [OURS, UNDECLARED])
def test_where_there_is_room_everything_stays_at_home(contender: str) -> None:
    found = play("room everywhere", contender)
    assert found.crossed < 0.01
    assert found.p99 < 1.2 * play("room everywhere", ALIKE).p99


@pytest.mark.parametrize(
    ("scenario", "contender"),
    [
        *((item, OURS) for item in SCENARIOS if item != "room everywhere"),
        *((item, UNDECLARED) for item in ("one zone overloaded", "one zone lost")),
    ],
)
def test_no_zone_is_left_with_more_than_it_carries(scenario: str, contender: str) -> None:
    found, alike = play(scenario, contender), play(scenario, ALIKE)
    assert found.p99 < 1.5 * alike.p99
    assert found.crossed < 0.6 * alike.crossed
    assert found.failed <= 2 * alike.failed + 0.001


def test_failover_by_health_and_routing_by_hosts_do_not_see_load() -> None:
    scenario = "busy Envoys in one zone"
    for peer in ("Istio, locality failover", "Envoy, zone-aware routing"):
        assert play(scenario, peer).p99 > 3 * ours(scenario).p99
