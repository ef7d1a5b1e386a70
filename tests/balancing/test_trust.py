"""A replica that reports what is not true gets no more than Envoys' own counts back."""

import re
from functools import partial
from statistics import median
from typing import Any

import pytest

from benchmarks.simulation.balancing import Balanced
from benchmarks.simulation.envoys import Envoys
from benchmarks.simulation.fleet import Fleet
from benchmarks.worlds import traffic
from benchmarks.worlds.scenarios import Scenario, Timing
from benchmarks.worlds.worlds import BATCHING, SLOTS, VLLM
from controlplane.balancing import Decision

SECONDS = re.compile(r"(\S*(?:duration|latency)\S*_sum\S*) (\S+)$")
EQUAL = (1.0, 1.0, 1.0, 1.0)
FAST = (4.0, 1.0, 1.0, 1.0)


def claiming(times: float, fleet: Fleet) -> Balanced:
    """The first replica says that all took so many times as long as they did."""
    server = fleet.servers[0]
    honest = server.exposition

    def exposition(now: float) -> str:
        lines = []
        for line in honest(now).splitlines():
            found = SECONDS.match(line)
            lines.append(f"{found[1]} {float(found[2]) * times}" if found else line)
        return "\n".join(lines) + "\n"

    server.exposition = exposition  # type: ignore[method-assign]
    return Balanced(fleet)


def shares_of_the_first(
    world: Any, speeds: tuple[float, ...], times: float, load: float = 0.6
) -> list[float]:
    made: list[Balanced] = []

    def contender(fleet: Fleet) -> Envoys:
        made.append(partial(claiming, times)(fleet))
        return Envoys(fleet, made[0])

    scenario = Scenario("", world, speeds, traffic.single_texts(1.0), load, Timing(25, 25))
    Fleet(scenario, 4, 1, contender).play()
    decisions: list[Decision] = made[0].decisions
    return [float(each.share[each.rows["0"]]) for each in decisions if each.at >= 20]


@pytest.mark.parametrize("load", [0.2, 0.6])
@pytest.mark.parametrize("world", [SLOTS, BATCHING, VLLM], ids=["slots", "tei", "vllm"])
def test_a_replica_that_claims_to_take_no_time_gets_at_most_twice_its_fair_share(
    world: Any, load: float
) -> None:
    assert median(shares_of_the_first(world, EQUAL, 1e-6, load)) <= 2 / len(EQUAL)


@pytest.mark.parametrize("world", [SLOTS, BATCHING, VLLM], ids=["slots", "tei", "vllm"])
def test_a_replica_that_is_fast_gets_more_than_that(world: Any) -> None:
    assert median(shares_of_the_first(world, FAST, 1.0)) > 0.42
