"""Envoys that report what is not true take from a replica at most half of its fair share."""

import math
from collections.abc import Callable, Mapping
from statistics import median

import pytest

from benchmarks.simulation.balancing import Balanced
from benchmarks.simulation.envoys import Envoys
from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.told import LOOK
from benchmarks.simulation.told import Load as Counts
from benchmarks.worlds import traffic
from benchmarks.worlds.scenarios import Scenario, Timing
from benchmarks.worlds.worlds import BATCHING, SLOTS, World
from controlplane.balancing import ENVOYS, InFlight, ReplicaInput
from controlplane.telemetry import History, Reading, Window
from controlplane.telemetry.load import Endpoint, Load, LoadReports, report_interval

REPLICAS = 4
VICTIM = 0
MUCH = 100_000
BEGIN = 6.0
"""Seconds after which they lie; until then the others have used all replicas."""

Lie = Callable[[int, Load], Load]
"""What is reported of a replica, by its number and what is true."""

LIES: dict[str, Lie] = {
    "the victim has much in flight": lambda number, true: (
        true._replace(in_progress=MUCH) if number == VICTIM else true
    ),
    "and it ends as much": lambda number, true: Load(MUCH, 0, MUCH) if number == VICTIM else true,
    "the victim fails": lambda number, true: (
        Load(0, MUCH, true.in_progress) if number == VICTIM else true
    ),
    "the others end much": lambda number, true: (
        true if number == VICTIM else Load(MUCH, 0, true.in_progress)
    ),
    "the others end much, the victim nothing": lambda number, _: (
        Load(0, 0, 1) if number == VICTIM else Load(MUCH, 0, 1)
    ),
    "the others take no time": lambda number, _: (
        Load(10, 0, 10) if number == VICTIM else Load(MUCH, 0, 0)
    ),
    "all end as much, the victim takes long": lambda number, _: Load(
        MUCH, 0, MUCH if number == VICTIM else 0
    ),
    "the victim ends little and takes long": lambda number, true: (
        Load(1, 0, MUCH) if number == VICTIM else true
    ),
    "the victim is dropped": lambda number, true: Load(0, 0, 0) if number == VICTIM else true,
}


class ByReports(Balanced):
    """All that is known is what Envoys report, each for itself, and some of them lie."""

    def __init__(self, fleet: Fleet, liars: int, lie: Lie) -> None:
        super().__init__(fleet, slow_start=None)
        self._settings = self._settings.model_copy(
            update={"metrics": self._settings.metrics.model_copy(update={"profile": "none"})}
        )
        self._reports, self._liars, self._lie = LoadReports(), liars, lie
        self._ended: dict[tuple[int, int], int] = {}
        # So many Envoys are asked to report this often.
        self._interval = report_interval(fleet.dispatchers + liars, REPLICAS)
        self._looked = -math.inf

    def look(self, loads: Mapping[str, Counts], now: float) -> None:
        super().look(loads, now)
        if now - self._looked < self._interval - LOOK / 2:
            return
        self._looked = now
        for envoy in range(self._envoys):
            found = {}
            for number in self._joined:
                ended = sum(load.ended[envoy][number] for load in loads.values())
                in_flight = sum(load.in_flight[envoy][number] for load in loads.values())
                new = ended - self._ended.get((envoy, number), 0)
                self._ended[envoy, number] = ended
                found[_endpoint(number)] = Load(new, 0, in_flight)
            self._reports.record(envoy, found, self._interval, now)
            if envoy < self._liars and now >= BEGIN:
                lies = {at: self._lie(at.port, true) for at, true in found.items()}
                self._reports.record(f"liar {envoy}", lies, self._interval, now)

    def _window(self, number: int, history: History, reading: Reading) -> Window:
        window = self._reports.window(_endpoint(number))
        return window if window is not None else super()._window(number, history, reading)

    def _input(self, number: int, now: float) -> ReplicaInput:
        given, at = super()._input(number, now), _endpoint(number)
        window = self._reports.window(at)
        in_flight = self._reports.held_in_flight(at, now)
        if window is None or in_flight is None:
            return given
        counts = self._reports.by_class(at, now)
        ended = {name: float(count.succeeded + count.failed) for name, count in counts.items()}
        return given._replace(
            window=window,
            scraped_at=window.at,
            failing=self._reports.failing(at, now),
            in_flight=(InFlight(ENVOYS, in_flight, now, ended=ended),),
        )


def _endpoint(number: int) -> Endpoint:
    return Endpoint("p", "127.0.0.1", number)


def share_of_the_victim(world: World, liars: int, lie: Lie) -> float:
    """Of its fair one, in the middle of the decisions after a while."""
    made: list[ByReports] = []

    def contender(fleet: Fleet) -> Envoys:
        made.append(ByReports(fleet, liars, lie))
        return Envoys(fleet, made[0])

    scenario = Scenario(
        "", world, (1.0,) * REPLICAS, traffic.single_texts(1.0), 0.6, Timing(10, 15)
    )
    Fleet(scenario, 12, 1, contender).play()
    decisions = [each for each in made[0].decisions if each.at >= 15]
    return REPLICAS * median(
        float(decision.share[decision.rows[f"{VICTIM}"]]) for decision in decisions
    )


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_victim_of_a_lying_envoy_keeps_half_of_its_fair_share(lie: Lie) -> None:
    assert share_of_the_victim(SLOTS, 1, lie) >= 0.5


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_so_does_a_victim_of_eight_among_twenty(lie: Lie) -> None:
    assert share_of_the_victim(BATCHING, 8, lie) >= 0.5
