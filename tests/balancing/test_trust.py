"""A replica that reports what is not true gets no more than Envoys' own counts back."""

import re
from collections.abc import Mapping
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

SECONDS = r"(?:duration|latency)\S*_sum"
TOKENS = r"token\S*(?:_sum|_total|_count)"
BATCHES = r"batch\S*(?:_sum|_count|_total)"
QUEUE = r"(?:queue|waiting|running|pending)"
REQUESTS = r"(?:request|success)\S*(?:_count|_total)"
"""Parts of the names of metrics."""

Lies = Mapping[str, float]
"""How many times as much as is true is said, by a part of a metric's name; the first one counts."""

LIES: dict[str, Lies] = {
    "ten times the tokens": {TOKENS: 10},
    "a thousand times the tokens": {TOKENS: 1000},
    "a hundredth of the batches": {BATCHES: 0.01},
    "a hundred times the batches": {BATCHES: 100},
    "nothing waits": {QUEUE: 0},
    "ten times the requests": {REQUESTS: 10},
    "much in no time, and nothing waits": {TOKENS: 100, SECONDS: 1e-6, QUEUE: 0},
}
EQUAL = (1.0, 1.0, 1.0, 1.0)
FAST = (4.0, 1.0, 1.0, 1.0)


def claiming(lies: Lies, fleet: Fleet) -> Balanced:
    """The first replica says so many times as much as is true."""
    server = fleet.servers[0]
    honest = server.exposition
    rules = [(re.compile(rf"(\S*{name}\S*) (\S+)$"), times) for name, times in lies.items()]

    def told(line: str) -> str:
        for rule, times in rules:
            if not line.startswith("#") and (found := rule.match(line)):
                return f"{found[1]} {float(found[2]) * times}"
        return line

    def exposition(now: float) -> str:
        return "\n".join(told(line) for line in honest(now).splitlines()) + "\n"

    server.exposition = exposition  # type: ignore[method-assign]
    return Balanced(fleet)


def shares_of_the_first(
    world: Any,
    speeds: tuple[float, ...],
    lies: Lies,
    load: float = 0.6,
    requests: traffic.Traffic = traffic.single_texts(1.0),  # noqa: B008 - it cannot be changed
) -> list[float]:
    made: list[Balanced] = []

    def contender(fleet: Fleet) -> Envoys:
        made.append(claiming(lies, fleet))
        return Envoys(fleet, made[0])

    scenario = Scenario("", world, speeds, requests, load, Timing(25, 25))
    Fleet(scenario, 4, 1, contender).play()
    decisions: list[Decision] = made[0].decisions
    return [float(each.share[each.rows["0"]]) for each in decisions if each.at >= 20]


@pytest.mark.parametrize("load", [0.2, 0.6])
@pytest.mark.parametrize("world", [SLOTS, BATCHING, VLLM], ids=["slots", "tei", "vllm"])
def test_a_replica_that_claims_to_take_no_time_gets_at_most_twice_its_fair_share(
    world: Any, load: float
) -> None:
    # Weights are whole numbers.
    most = 1.001 * 2 / len(EQUAL)
    assert median(shares_of_the_first(world, EQUAL, {SECONDS: 1e-6}, load)) <= most


@pytest.mark.parametrize(("count", "name"), [(count, item) for count in (3, 8) for item in LIES])
def test_no_other_lie_gets_it_more(count: int, name: str) -> None:
    shares = shares_of_the_first(BATCHING, (1.0,) * count, LIES[name])
    assert median(shares) <= 2 / count


@pytest.mark.parametrize("name", ["ten times the tokens", "much in no time, and nothing waits"])
def test_nor_where_searches_and_bulk_are_parted(name: str) -> None:
    shares = shares_of_the_first(BATCHING, (1.0,) * 8, LIES[name], requests=traffic.MIXED)
    assert median(shares) <= 2 / 8


def test_nor_does_it_among_forty() -> None:
    lies = LIES["much in no time, and nothing waits"]
    assert median(shares_of_the_first(BATCHING, (1.0,) * 40, lies)) <= 2 / 40


@pytest.mark.parametrize("world", [SLOTS, BATCHING, VLLM], ids=["slots", "tei", "vllm"])
def test_a_replica_that_is_fast_gets_more_than_that(world: Any) -> None:
    assert median(shares_of_the_first(world, FAST, {})) > 0.42
