import random
from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.simulation.clock import Clock
from benchmarks.worlds.slots import Slots
from controlplane.settings import MetricsSettings
from controlplane.signals import History, profile_of, read
from controlplane.weighing import ReplicaInput, explain, weigh
from controlplane.weighing.slots import LADDER, Learned, learned
from tests.weighing.pools import INTERVAL, SETTINGS, replica


def watched(slots: int, loads: tuple[float, float], seconds: float) -> list[int]:
    """What is learned of a replica whose load changes every minute, minute by minute."""
    chance = random.Random(3)  # noqa: S311 - a simulation, to be repeated
    clock, history, profile = Clock(), History(), profile_of(MetricsSettings())
    # 0.06 s for a request of the mean length, of a thousand tokens.
    served = Slots(slots, 0.06 / 1000, clock.call_at)
    now = came = 0.0
    found: Learned | None = None
    minutes = []
    while now < seconds:
        now += INTERVAL
        load = loads[int(now // 60) % 2]
        while came < now:
            clock.wind(came)
            served.admit(came, [int(1000 * chance.lognormvariate(-0.5, 1)) + 1], lambda _: None)
            came += chance.expovariate(load * slots / 0.06)
        clock.wind(now)
        reading = read(served.exposition(now), profile, now)
        found = learned(found, history.add(reading), 1.0)
        if now % 60 == 0:
            minutes.append(found.slots)
    return minutes


@pytest.mark.parametrize("slots", [1, 2, 4, 8, 32])
def test_slots_are_learned_from_where_latency_starts_to_grow(slots: int) -> None:
    assert slots / 1.5 <= watched(slots, (0.3, 0.9), 360)[-1] <= slots * 1.5


@pytest.mark.parametrize("slots", [1, 4, 32])
def test_at_one_load_nothing_can_be_learned(slots: int) -> None:
    assert set(watched(slots, (0.8, 0.8), 240)) == {1}


def test_what_is_learned_is_bounded_and_changes_by_one_step_at_a_time() -> None:
    minutes = watched(32, (0.3, 0.9), 180)
    steps = [LADDER.index(slots) for slots in minutes]
    assert max(new - old for old, new in pairwise(steps)) <= 4
    assert set(minutes) <= set(LADDER)
    assert LADDER[-1] == 256


def test_an_operator_reads_that_slots_are_not_known_yet() -> None:
    inputs = [replace(replica("a"), slots=None), replica("b")]
    weighing = weigh(None, SETTINGS, inputs, 0.0)
    words = "slots are not declared and not learned yet: taken for 1"
    assert words in explain(weighing.replicas["a"].steps)
    assert words not in explain(weighing.replicas["b"].steps)


def test_a_restart_forgets_what_was_learned() -> None:
    inputs = [replace(replica("a"), slots=None)]
    before = weigh(None, SETTINGS, inputs, 0.0)
    assert before.replicas["a"].state.learned is not None
    again = weigh(before, SETTINGS, [ReplicaInput("a", None, generation=1)], 1.0)
    assert again.replicas["a"].state.learned is None
