"""Zones: what Envoys in three of them send elsewhere, and what that does to p99, in simulated time.

Peers are modelled as their documentation has them. Envoy's zone-aware routing compares the parts
of hosts that are in a zone, of those that send and of those that serve: a zone keeps all of its
requests, or as many as the ratio of the two says, and the others get the rest by what they have
more of. Istio's locality failover gives a zone's requests to the next zones as far as the own one
is not healthy (priorities, with an overprovisioning factor of 140 %).

    python -m benchmarks.simulation.zones --seeds 5
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Final

import click

from benchmarks.simulation.balancing import Balanced, tiers_of
from benchmarks.simulation.envoys import Schedule
from benchmarks.simulation.fleet import LEAD, NOTICED, Fleet
from benchmarks.simulation.measures import run_of
from benchmarks.simulation.told import LOOK, TICK, Load, Tiers
from benchmarks.worlds.scenarios import ONE_TEXT, Scenario, Timing
from benchmarks.worlds.traffic import Arrival
from benchmarks.worlds.worlds import SLOTS
from controlplane.balancing import Place, ZoneInput

ZONES: Final = (Place("eu", "a"), Place("eu", "b"), Place("us", "a"))
TIMING: Final = Timing(20, 40)
LOST_AT: Final = 30.0
"""Seconds after which a zone loses its replicas, in the scenario in which it does."""
MIN_CLUSTER_SIZE: Final = 6
"""Envoy's default: with fewer hosts zones do not matter."""
OVERPROVISIONED: Final = 1.4
"""Envoy's default, which Istio keeps."""

Priorities = Sequence[Tiers]
"""What the Envoys of one zone hold: localities of each priority."""


@dataclass(frozen=True, slots=True)
class Zoned:
    """A scenario.

    Attributes:
        speeds: Of the replicas of each zone.
        envoys: Of each zone.
        load: Tokens a second that arrive, as a part of what all replicas together carry.
        loses: Whether the first zone loses its replicas.
        busy: How many times as many requests an Envoy of each zone gets as the least busy one.
    """

    speeds: tuple[tuple[float, ...], ...]
    envoys: tuple[int, ...]
    load: float
    loses: bool = False
    busy: tuple[int, ...] = (1, 1, 1)

    @property
    def zone_of(self) -> list[int]:
        """Of each replica."""
        return [zone for zone, speeds in enumerate(self.speeds) for _ in speeds]

    @property
    def zone_of_envoy(self) -> list[int]:
        """Of each Envoy."""
        return [zone for zone, count in enumerate(self.envoys) for _ in range(count)]

    @property
    def turns(self) -> list[int]:
        """The Envoys in the order in which requests come to them."""
        return [
            envoy
            for turn in range(max(self.busy))
            for envoy, zone in enumerate(self.zone_of_envoy)
            if turn < self.busy[zone]
        ]

    def scenario(self, name: str) -> Scenario:
        """For a fleet."""
        speeds = tuple(speed for each in self.speeds for speed in each)
        return Scenario(name, SLOTS, speeds, ONE_TEXT, self.load, TIMING)


_FOUR: Final = (1.0,) * 4
SCENARIOS: Final[Mapping[str, Zoned]] = {
    "room everywhere": Zoned((_FOUR,) * 3, (4, 4, 4), 0.6),
    "one zone overloaded": Zoned((_FOUR,) * 3, (8, 2, 2), 0.6),
    "busy Envoys in one zone": Zoned((_FOUR,) * 3, (4, 4, 4), 0.6, busy=(4, 1, 1)),
    "few replicas, many Envoys": Zoned(((1.0,) * 2, (1.0,) * 5, (1.0,) * 5), (6, 3, 3), 0.5),
    "slow replicas in one zone": Zoned(((0.5,) * 4, _FOUR, _FOUR), (4, 4, 4), 0.6),
    "one zone lost": Zoned((_FOUR,) * 3, (4, 4, 4), 0.5, loses=True),
}


class Cluster:
    """The cluster of one pool in all Envoys of a zone: priorities by health, then localities."""

    def __init__(self, fleet: Fleet, factor: float) -> None:
        self._fleet, self._factor = fleet, factor
        self._told: Priorities = ()
        self._loads: list[float] = []
        self._schedules: list[list[Schedule | None]] = []

    def tell(self, told: Priorities) -> None:
        """Take in localities, and look at who is healthy."""
        self._told = told
        fleet, well = self._fleet, set(self._fleet.healthy)
        self._loads, self._schedules, left = [], [], 1.0
        for tiers in told:
            present = [
                (some, weight * min(1.0, self._factor * len(some) / len(members)))
                for _, (members, weight) in sorted(tiers.items())
                if (some := [number for number in members if number in well])
            ]
            members = sum(len(members) for members, _ in tiers.values())
            health = min(1.0, self._factor * sum(len(some) for some, _ in present) / members)
            self._loads.append(min(left, health))
            left -= self._loads[-1]
            self._schedules.append(
                [
                    Schedule(present, fleet.random) if present else None
                    for _ in range(fleet.dispatchers)
                ]
            )

    def check(self) -> None:
        """Others are healthy than before."""
        self.tell(self._told)

    def choose(self, envoy: int, counts: Sequence[int]) -> int | None:
        """Pick a replica; None: there is nobody."""
        at = self._fleet.random.random() * (sum(self._loads) or 1.0)
        for load, schedules in zip(self._loads, self._schedules, strict=True):
            if at < load and (schedule := schedules[envoy]) is not None:
                return schedule.choose(counts)
            at -= load
        return None


class Contender:
    """All Envoys of all zones, and what they are told; to be extended by `told`.

    Attributes:
        crossed: Requests that counted, by whether they went to another zone.
    """

    factor = 1.0

    def __init__(self, fleet: Fleet, zoned: Zoned) -> None:
        self.fleet, self.zoned = fleet, zoned
        replicas = len(fleet.servers)
        self.in_flight = [[0] * replicas for _ in range(fleet.dispatchers)]
        self.done = [[0] * replicas for _ in range(fleet.dispatchers)]
        self.come = Counter[tuple[str, Place]]()
        self.crossed = Counter[bool]()
        self._of_envoy, self._of_replica = zoned.zone_of_envoy, zoned.zone_of
        self._turns = zoned.turns
        self._clusters = [Cluster(fleet, self.factor) for _ in ZONES]
        self._holds: list[Priorities] = [()] * len(ZONES)

    def told(self) -> list[Priorities]:
        """What the Envoys of each zone are to hold."""
        raise NotImplementedError

    def members(self, zone: int) -> list[int]:
        """The replicas of a zone."""
        return [number for number, this in enumerate(self._of_replica) if this == zone]

    def start(self) -> None:
        """Time begins."""
        clock = self.fleet.clock
        clock.every(TICK, TIMING.total, self._decide)
        if self.zoned.loses:
            clock.call_at(LOST_AT, self._lose)
        clock.wind(-LEAD)

    def send(self, dispatcher: int, arrival: Arrival) -> None:
        """Choose a replica."""
        dispatcher = self._turns[dispatcher]
        zone = self._of_envoy[dispatcher]
        number = self._clusters[zone].choose(dispatcher, self.in_flight[dispatcher])
        self.come["", ZONES[zone]] += 1
        if number is None:
            self.fleet.refuse(arrival)
            return
        if arrival.at >= TIMING.warm_up:
            self.crossed[self._of_replica[number] != zone] += 1
        self.in_flight[dispatcher][number] += 1
        self.fleet.admit(arrival, number, dispatcher)

    def ended(self, arrival: Arrival, number: int, token: Any, *, good: bool) -> None:  # noqa: ARG002
        """Count."""
        self.in_flight[token][number] -= 1
        self.done[token][number] += 1

    def health_changed(self) -> None:
        """Others are healthy than before."""
        for cluster in self._clusters:
            cluster.check()

    def _decide(self) -> None:
        for zone, priorities in enumerate(self.told()):
            if priorities != self._holds[zone]:
                self._holds[zone] = priorities
                self._clusters[zone].tell(priorities)

    def _lose(self) -> None:
        fleet = self.fleet
        for number in self.members(0):
            fleet.servers[number].ready = False
            fleet.clock.call_at(
                fleet.clock.now + NOTICED, partial(fleet.turns, number, ready=False)
            )


class Istio(Contender):
    """Priorities by distance, used as far as the ones before are not healthy."""

    factor = OVERPROVISIONED

    def told(self) -> list[Priorities]:
        """The own zone, the region, the rest."""
        found: list[Priorities] = []
        for here in ZONES:
            priorities: list[Tiers] = []
            for distance in (0, 1, 2):
                zones = [
                    this for this, place in enumerate(ZONES) if here.distance(place) == distance
                ]
                if members := [number for zone in zones for number in self.members(zone)]:
                    priorities.append({"": (members, float(len(members)))})
            found.append(priorities)
        return found


class ZoneAware(Contender):
    """Envoy's own: a zone keeps as much as its part of the hosts that serve, by their number."""

    factor = OVERPROVISIONED

    def told(self) -> list[Priorities]:
        """Weights of zones; where there are too few hosts all are alike."""
        well = set(self.fleet.healthy)
        hosts = [
            [member for member in self.members(zone) if member in well]
            for zone in range(len(ZONES))
        ]
        if len(self.fleet.servers) < MIN_CLUSTER_SIZE or not well:
            return [[{"": (self.fleet.healthy, 1.0)}]] * len(ZONES)
        serving = [len(each) / len(well) for each in hosts]
        sending = [count / sum(self.zoned.envoys) for count in self.zoned.envoys]
        spare = [max(one - other, 0.0) for one, other in zip(serving, sending, strict=True)]
        found: list[Priorities] = []
        for here in range(len(ZONES)):
            kept = min(serving[here] / sending[here], 1.0)
            parts = [(1 - kept) * this / (sum(spare) or 1.0) for this in spare]
            parts[here] = kept
            found.append(
                [
                    {
                        f"{zone}": (hosts[zone], part)
                        for zone, part in enumerate(parts)
                        if part > 0 and hosts[zone]
                    }
                ]
            )
        return found


class Plimsoll(Contender):
    """Tiers by what replicas carry, alike for all zones."""

    def __init__(
        self, fleet: Fleet, zoned: Zoned, locality: str = "any", *, declares: bool = True
    ) -> None:
        super().__init__(fleet, zoned)
        self._control = _Control(self, locality, declares=declares)

    def start(self) -> None:
        """Time begins."""
        self.fleet.clock.every(LOOK, TIMING.total, self._look)
        super().start()

    def told(self) -> list[Priorities]:
        """One priority of all, or what each zone sends where, with the others behind it."""
        fleet, control, now = self.fleet, self._control, self.fleet.clock.now
        for number in fleet.healthy:
            control.scraped(number, fleet.servers[number].exposition(now), now)
        control.decide(range(len(fleet.servers)), now)
        decision = control.decisions[-1]
        plan = decision.pool.zones
        tiers = [
            tiers_of(
                decision,
                decision.weight,
                self.members(zone)
                if plan is None
                else [member for member in self.members(zone) if member in fleet.healthy],
                decision.tier_of,
            )
            for zone in range(len(ZONES))
        ]
        found: list[Priorities] = []
        for here in ZONES:
            shares = plan.told[""].get(here, {here: 1.0}) if plan is not None else {}
            first = dict[str, tuple[Sequence[int], float]]()
            rest = dict[str, tuple[Sequence[int], float]]()
            for place, each in zip(ZONES, tiers, strict=True):
                total = sum(weight for _, weight in each.values())
                part = shares[place] / total if place in shares and total else 1.0
                into = first if not shares or place in shares else rest
                into |= {f"{place}-{this}": (some, w * part) for this, (some, w) in each.items()}
            found.append([this for this in (first, rest) if this])
        return found

    def _look(self) -> None:
        loads = {"": Load(self.in_flight, self.done)}
        self._control.look(loads, self.fleet.clock.now)


class _Control(Balanced):
    def __init__(self, contender: Contender, locality: str, *, declares: bool) -> None:
        super().__init__(contender.fleet, long_requests="any-replica", locality=locality)
        if not declares:
            self._slots = None
        self._contender, self._is_near = contender, locality == "nearest"

    def _zones(self) -> ZoneInput | None:
        if not self._is_near:
            return None
        this = self._contender
        healthy = {*this.fleet.healthy}
        places = {f"{number}": ZONES[zone] for number, zone in enumerate(this.zoned.zone_of)}
        gone = {id_ for id_ in places if int(id_) not in healthy}
        nodes = dict(zip(ZONES, this.zoned.envoys, strict=True))
        return ZoneInput(places, gone, nodes, dict(this.come), {})


CONTENDERS: Final[Mapping[str, Callable[[Fleet, Zoned], Contender]]] = {
    "Plimsoll, any": Plimsoll,
    "Istio, locality failover": Istio,
    "Envoy, zone-aware routing": ZoneAware,
    "Plimsoll, nearest": partial(Plimsoll, locality="nearest"),
    "Plimsoll, nearest, no slots": partial(Plimsoll, locality="nearest", declares=False),
}


@dataclass(frozen=True, slots=True)
class Result:
    """One contender once.

    Attributes:
        p99: Milliseconds.
        crossed: Part of the requests that went to another zone.
        failed: Part of the requests that got an error.
        collapsed: It was given up: more and more requests were waiting.
    """

    p99: float
    crossed: float
    failed: float
    collapsed: bool


def play(scenario: str, contender: str, seed: int) -> Result:
    """Run one contender once."""
    zoned, made = SCENARIOS[scenario], list[Contender]()

    def make(fleet: Fleet) -> Contender:
        made.append(CONTENDERS[contender](fleet, zoned))
        return made[0]

    record = Fleet(zoned.scenario(scenario), len(zoned.turns), seed, make).play()
    run, crossed = run_of(record), made[0].crossed
    return Result(run.p99(), crossed[True] / max(crossed.total(), 1), run.failed, run.collapsed)


@click.command
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True)
def main(seeds: int) -> None:
    """Compare what contenders do with zones."""
    for scenario in SCENARIOS:
        click.echo(f"\n{scenario}\n{'':28}{'p99 ms':>8}{'×':>7}{'crossed':>9}{'failed':>8}")
        usual = 0.0
        for name in CONTENDERS:
            found = [play(scenario, name, seed) for seed in range(1, seeds + 1)]
            p99 = median(this.p99 for this in found)
            usual = usual or p99
            line = f"{name:28}{p99:8.0f}{p99 / usual:7.2f}"
            line += f"{median(this.crossed for this in found):9.1%}"
            line += f"{median(this.failed for this in found):8.1%}"
            click.echo(line + ("  collapsed" if any(this.collapsed for this in found) else ""))


if __name__ == "__main__":
    main()
