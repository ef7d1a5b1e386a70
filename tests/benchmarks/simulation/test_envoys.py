"""Dispatchers do as Envoy does, and tell what Envoys tell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from benchmarks.simulation.envoys import Envoys, Schedule
from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.told import Load, Tiers, Told, TrafficClass
from benchmarks.worlds.scenarios import SCENARIOS, Scenario, Timing
from benchmarks.worlds.traffic import Arrival

SCENARIO = replace(SCENARIOS["classes-70"], timing=Timing(2, 8))


@dataclass
class Scripted:
    """Tells what a test says, and keeps what it is told."""

    told: list[Told]
    looks: list[tuple[float, dict[str, tuple[int, int]]]] = field(default_factory=list)
    scrapes: list[tuple[float, int]] = field(default_factory=list)
    samples: list[tuple[str, int, int, float]] = field(default_factory=list)

    def look(self, loads: Mapping[str, Load], now: float) -> None:
        found = {
            name: (sum(map(sum, load.in_flight)), sum(map(sum, load.ended)))
            for name, load in loads.items()
        }
        self.looks.append((now, found))

    def scraped(self, number: int, text: str, now: float) -> None:
        self.scrapes.append((now, number))

    def sampled(self, name: str, number: int, size: int, seconds: float, now: float) -> None:
        self.samples.append((name, number, size, seconds))

    def decide(self, present: Sequence[int], now: float) -> Told:
        return self.told.pop(0) if len(self.told) > 1 else self.told[0]


def tier(*members: int, weight: float = 1.0) -> Tiers:
    return {"tier": (members, weight)}


def one(first: Tiers, rest: Tiers | None = None) -> Told:
    return Told((TrafficClass(first=first, rest=rest or {}),))


class Watching(Envoys):
    """Envoys, and who got which requests."""

    def __init__(self, fleet: Fleet, control: Scripted, gateways: int | None = None) -> None:
        super().__init__(fleet, control, gateways)
        self.got: Counter[int] = Counter()
        self.by_kind: Counter[tuple[str, int]] = Counter()
        self.through: Counter[tuple[str, int]] = Counter()

    def ended(self, arrival: Arrival, number: int, token: object, *, good: bool) -> None:
        super().ended(arrival, number, token, good=good)
        self.got[number] += 1
        self.by_kind[arrival.kind, number] += 1
        assert isinstance(token, tuple)
        self.through[token[1], token[0]] += 1


def played(
    *told: Told, scenario: Scenario = SCENARIO, dispatchers: int = 3, gateways: int | None = None
) -> tuple[Watching, Scripted]:
    control, made = Scripted([*told]), list[Watching]()

    def make(fleet: Fleet) -> Envoys:
        made.append(Watching(fleet, control, gateways))
        return made[0]

    Fleet(scenario, dispatchers, 1, make).play()
    return made[0], control


def test_localities_get_requests_by_their_weights_and_hosts_in_one_alike() -> None:
    tiers = {"fast": ((0, 1), 3.0), "slow": ((2, 3), 1.0)}
    envoys, _ = played(one(tiers), scenario=replace(SCENARIO, load=0.2))
    total = sum(envoys.got.values())
    assert (envoys.got[0] + envoys.got[1]) / total == pytest.approx(0.75, abs=0.02)
    assert envoys.got[0] / total == pytest.approx(0.375, abs=0.04)


def test_the_second_priority_gets_nothing_while_the_first_is_healthy() -> None:
    envoys, _ = played(one(tier(0, 1), tier(2, 3)))
    assert envoys.got.keys() == {0, 1}


def test_the_second_priority_gets_as_much_as_the_first_is_unhealthy() -> None:
    scenario = replace(SCENARIO, dies=(0.0, 1), timing=Timing(2, 20))
    envoys, _ = played(one(tier(0, 1), tier(2, 3)), scenario=scenario)
    rest = envoys.got[2] + envoys.got[3]
    assert rest / (rest + envoys.got[0]) == pytest.approx(0.5, abs=0.06)
    none, _ = played(one(tier(1), tier(2, 3)), scenario=scenario)
    assert none.got[2] + none.got[3] > 0.9 * sum(none.got.values())


def test_requests_are_parted_by_the_size_of_their_bodies() -> None:
    bulk = TrafficClass("bulk", 1_000, first=tier(0, 1), rest=tier(6, 7))
    envoys, _ = played(Told((bulk, TrafficClass(first=tier(6, 7), rest=tier(0, 1)))))
    assert {number for kind, number in envoys.by_kind if kind == "bulk"} == {0, 1}
    assert {number for kind, number in envoys.by_kind if kind == "search"} == {6, 7}


def test_a_gateway_sends_all_that_is_in_a_class_of_its_own() -> None:
    bulk = TrafficClass("bulk", 1_000, first=tier(0, 1))
    envoys, _ = played(Told((bulk, TrafficClass(first=tier(6, 7)))), gateways=1)
    assert {envoy for name, envoy in envoys.through if name == "bulk"} == {0}
    assert {envoy for name, envoy in envoys.through if not name} == {0, 1, 2}


def in_flight(control: Scripted, around: float) -> int:
    """At the first look after a time."""
    return next(found[""][0] for at, found in control.looks if at > around and "" in found)


def test_a_host_that_changes_its_tier_has_nothing_in_flight_as_far_as_envoy_knows() -> None:
    scenario = replace(SCENARIO, speeds=(1.0, 1.0))
    # The first decision comes 1.25 s before the load, the last one 5 s after its begin.
    before, after = one(tier(0)), one({"other": ((0,), 1.0)})
    moved, moving = played(*[before] * 25, after, scenario=replace(scenario, load=2.0))
    _, standing = played(before, scenario=replace(scenario, load=2.0))
    assert in_flight(moving, 4.9) == in_flight(standing, 4.9)
    assert in_flight(moving, 5.0) < 0.2 * in_flight(standing, 5.0)
    assert moved.got[0] > 0


def test_a_host_that_moves_between_priorities_keeps_what_it_has_in_flight() -> None:
    scenario = replace(SCENARIO, speeds=(1.0, 1.0), load=2.0)
    here, there = {"a": ((0,), 1.0)}, {"b": ((1,), 1.0)}
    before, after = one(here, there), one(there, here)
    _, moving = played(*[before] * 25, after, scenario=scenario)
    _, standing = played(before, scenario=scenario)
    # All that was under way at 4.9 s, but for what has come and ended since.
    assert in_flight(moving, 5.0) == pytest.approx(in_flight(standing, 5.0), abs=5)
    assert in_flight(standing, 5.0) > 100


def test_what_is_in_flight_and_what_has_ended_are_all_that_came() -> None:
    envoys, control = played(one(tier(*range(8))), scenario=replace(SCENARIO, load=0.3))
    at, found = control.looks[-1]
    assert at > 9.8
    assert sum(found[""]) == pytest.approx(sum(envoys.got.values()), rel=0.05)


def test_replicas_are_scraped_every_half_second_and_reports_come_ten_times_a_second() -> None:
    _, control = played(one(tier(*range(8))))
    scrapes = Counter(number for _, number in control.scrapes)
    assert scrapes.keys() == set(range(8))
    assert set(scrapes.values()) == {22, 23}
    assert len(control.looks) == pytest.approx(112, abs=1)


def test_one_request_in_five_is_told_of_with_its_size_and_its_replica() -> None:
    envoys, control = played(one(tier(*range(8))), scenario=replace(SCENARIO, timing=Timing(2, 40)))
    total = sum(envoys.got.values())
    assert len(control.samples) / total == pytest.approx(0.2, abs=0.02)
    assert {size for _, _, size, _ in control.samples} == {107, 8_100}
    assert all(seconds > 0.03 for _, _, _, seconds in control.samples)


def test_schedules_of_equal_tiers_begin_at_any_of_them() -> None:
    tiers = [([number], 1000.0) for number in range(3)]
    first = Counter(Schedule(tiers, Random(seed)).choose([0, 0, 0]) for seed in range(300))  # noqa: S311 - to be repeated
    assert all(70 <= first[number] <= 130 for number in range(3))
