"""The whole of weighing against queues: see `queues` for what is simulated."""

from itertools import pairwise

import pytest

from controlplane.weighing import Weighing
from tests.weighing.pools import INTERVAL
from tests.weighing.queues import Server, Simulation


def shares(weighings: list[Weighing], id_: str) -> list[float]:
    return [weighing.replicas[id_].state.relative for weighing in weighings]


def mixed(load: float) -> Simulation:
    """Six replicas of 80 requests/s and two of 320, 2 slots each."""
    servers = {id_: Server(40, 2) for id_ in "abcdef"} | {id_: Server(160, 2) for id_ in "gh"}
    return Simulation(servers, load * (6 * 80 + 2 * 320))


@pytest.mark.parametrize("load", [0.6, 0.8, 0.95])
def test_shares_settle_near_what_replicas_can_carry(load: float) -> None:
    simulation = mixed(load)
    simulation.run(30)
    steady = simulation.run(30)
    for id_ in "gh":
        assert min(shares(steady, id_)) > 2.6
        assert max(shares(steady, id_)) < 5.6


@pytest.mark.parametrize("load", [0.6, 0.8, 0.95])
def test_equal_replicas_stay_in_one_tier_at_any_load(load: float) -> None:
    simulation = Simulation({id_: Server(40, 2) for id_ in "abcdefgh"}, load * 8 * 80)
    simulation.run(20)
    for weighing in simulation.run(40):
        assert {weighed.tier for weighed in weighing.replicas.values()} == {"tier-8"}
        assert len({weighed.weight for weighed in weighing.replicas.values()}) == 1


# With one of the fast replicas at a tenth, 0.7 is 94 % of what the pool can still carry.
@pytest.mark.parametrize("load", [0.5, 0.6, 0.7])
def test_a_replica_that_slows_down_ten_times_has_little_within_three_windows(load: float) -> None:
    simulation = mixed(load)
    simulation.run(40)
    simulation.servers["h"].speed /= 10
    simulation.run(15)
    after = simulation.run(15)
    # A tenth of 4 is 0.4 of the median.
    assert max(shares(after, "h")) < 0.65
    tiers = {weighing.replicas["h"].tier for weighing in after}
    assert tiers.isdisjoint({"tier-8", after[-1].replicas["g"].tier})


@pytest.mark.parametrize("load", [0.5, 0.6, 0.7])
def test_a_replica_that_is_well_again_recovers_without_oscillation(load: float) -> None:
    simulation = mixed(load)
    simulation.run(40)
    simulation.servers["h"].speed /= 10
    simulation.run(40)
    simulation.servers["h"].speed *= 10
    simulation.run(30)
    after = simulation.run(40)
    for id_ in "gh":
        assert min(shares(after, id_)) > 2.6
        assert max(shares(after, id_)) < 5.6
    assert len({tuple(w.tier for w in weighing.replicas.values()) for weighing in after}) <= 2


def test_a_replica_at_the_floor_still_gets_enough_requests_to_recover() -> None:
    simulation = mixed(0.6)
    simulation.servers["h"].speed /= 100
    simulation.run(40)
    assert shares([simulation.run(1)[-1]], "h")[0] < 0.2
    simulation.servers["h"].speed *= 100
    assert shares([simulation.run(60)[-1]], "h")[0] > 2.6


def leaning(simulation: Simulation, seconds: float) -> tuple[list[float], int]:
    """What the fast tier got of its share, round by round, and the most that was in flight."""
    factors, most = [], 0
    for _ in range(round(seconds / INTERVAL)):
        (weighing,) = simulation.run(INTERVAL)
        lean = weighing.leans.get(weighing.replicas["g"].tier)
        factors.append(lean.factor if lean else 1.0)
        most = max(most, sum(len(server.finishing) for server in simulation.servers.values()))
    return factors, most


@pytest.mark.parametrize("load", [0.6, 0.8, 0.9, 0.95])
def test_leaning_to_short_lines_does_not_swing(load: float) -> None:
    simulation = mixed(load)
    simulation.run(30)
    factors, _ = leaning(simulation, 60)
    moved = sum(abs(after - before) for before, after in pairwise(factors))
    # With a tenth of the horizon it is 0.7 in each round at 0.9 and 0.95.
    assert moved / len(factors) < 0.02


def test_leaning_keeps_lines_short_where_shares_alone_are_not_right_enough() -> None:
    simulation = mixed(0.95)
    simulation.run(30)
    factors, most = leaning(simulation, 60)
    assert set(factors) != {1.0}
    # Without it there are thousands.
    assert most < 400
