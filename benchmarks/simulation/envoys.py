"""Envoys that a control plane steers: clusters, priorities, localities, and requests in flight.

As Envoy 1.40 does it: each Envoy counts its own requests, and in each cluster for itself. A
priority gets as much as the healthy part of its hosts says (with an overprovisioning factor of
100), the next one gets the rest. In a priority the locality is chosen by an earliest-deadline-first
schedule over weights, and in a locality the host with the fewest requests (LEAST_REQUEST with
FULL_SCAN). A host that changes its locality is made anew, and has nothing in flight then.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from benchmarks.simulation.fleet import LEAD, Fleet
from benchmarks.simulation.told import (
    LOOK,
    SAMPLED,
    TICK,
    Control,
    Load,
    Tiers,
    Told,
    TrafficClass,
)
from benchmarks.worlds.traffic import Arrival

Counts = Sequence[int]
"""Of one cluster in one Envoy: its requests in flight, by replica."""

Token = tuple[int, str, int]
"""An Envoy, a cluster, and how often that had forgotten what it had sent to the replica."""


class Schedule:
    """Localities of one priority in one Envoy."""

    def __init__(self, tiers: Sequence[tuple[Sequence[int], float]], random: Random) -> None:
        """Begin a schedule.

        It begins, as in Envoy, somewhere in its middle, so that Envoys that are told at the same
        time do not all choose the same tier at the same time.
        """
        self._tiers, self._random = tiers, random
        picks = random.randrange(1000)
        passed = picks / sum(weight for _, weight in tiers)
        begun = [int(passed * weight) for _, weight in tiers]
        self._deadlines = [
            (each + 1) / weight for each, (_, weight) in zip(begun, tiers, strict=True)
        ]
        for _ in range(picks - sum(begun)):
            self._next()

    def choose(self, counts: Counts) -> int:
        """Pick a replica."""
        return fewest(self._random, self._next(), counts)

    def _next(self) -> Sequence[int]:
        """The members of the tier whose turn it is."""
        deadlines = self._deadlines
        tier = deadlines.index(min(deadlines))
        members, weight = self._tiers[tier]
        deadlines[tier] += 1 / weight
        return members


class Cluster:
    """The cluster of one class in all Envoys."""

    def __init__(self, fleet: Fleet) -> None:
        envoys, replicas = fleet.dispatchers, len(fleet.servers)
        self._fleet = fleet
        self.in_flight = [[0] * replicas for _ in range(envoys)]
        self.ended = [[0] * replicas for _ in range(envoys)]
        # How often Envoys have forgotten what they had sent to each.
        self.moves = [0] * replicas
        self._places: dict[int, str] = {}
        self._first: list[Schedule | None] = []
        self._rest: list[Schedule | None] = []
        self._healthy = 1.0

    def tell(self, told: TrafficClass) -> None:
        """Take in members and weights."""
        places = {
            number: name
            for tiers in (told.rest, told.first)
            for name, (members, _) in tiers.items()
            for number in members
        }
        for number, name in self._places.items():
            if places.get(number) != name:
                self._forget(number)
        self._places = places
        self.check(told)

    def check(self, told: TrafficClass) -> None:
        """Look at who is healthy, and begin new schedules."""
        envoys, random = range(self._fleet.dispatchers), self._fleet.random
        first, rest = self._present(told.first), self._present(told.rest)
        self._first = [Schedule(first, random) if first else None for _ in envoys]
        self._rest = [Schedule(rest, random) if rest else None for _ in envoys]
        members = sum(len(members) for members, _ in told.first.values())
        well = sum(len(members) for members, _ in first)
        self._healthy = well / members if members else 0.0

    def choose(self, envoy: int) -> int | None:
        """Pick a replica; None: there is nobody."""
        schedule = self._first[envoy]
        if self._healthy < 1 and self._fleet.random.random() >= self._healthy:
            schedule = self._rest[envoy] or schedule
        return None if schedule is None else schedule.choose(self.in_flight[envoy])

    def _present(self, tiers: Tiers) -> list[tuple[list[int], float]]:
        healthy, found = set(self._fleet.healthy), []
        for name in sorted(tiers):
            members, weight = tiers[name]
            well = [number for number in members if number in healthy]
            if well:
                found.append((well, weight * len(well) / len(members)))
        return found

    def _forget(self, number: int) -> None:
        self.moves[number] += 1
        for counts in self.in_flight:
            counts[number] = 0


class Envoys:
    """All Envoys and their control plane.

    Attributes:
        history: What they were told, and when, each time that it was something else.
    """

    def __init__(self, fleet: Fleet, control: Control, gateways: int | None = None) -> None:
        """Prepare Envoys that know nothing.

        Args:
            fleet: The replicas.
            control: Their control plane.
            gateways: So many of them get all requests that are in a class of their own; None:
                each sends those that come to it.
        """
        self._fleet, self._control, self._gateways = fleet, control, gateways
        self._clusters: dict[str, Cluster] = {}
        self._told = Told(())
        self._turn = self._through = 0
        self._chance = Random(len(fleet.servers))
        self._blind = getattr(control, "blind", False)
        self.history: list[tuple[float, Told]] = []

    def start(self) -> None:
        """Time begins."""
        fleet, clock = self._fleet, self._fleet.clock
        until = fleet.scenario.timing.total
        if not self._blind:
            clock.every(LOOK, until, self._look)
        clock.every(TICK, until, self._decide)
        clock.wind(-LEAD)

    def send(self, dispatcher: int, arrival: Arrival) -> None:
        """Choose a cluster by the size of the body, and in it a replica."""
        for told in self._told.classes:
            if not told.name or arrival.bytes >= told.min_bytes:
                break
        if told.name and self._gateways is not None:
            self._through += 1
            dispatcher = self._through % self._gateways
        cluster = self._clusters[told.name]
        number = cluster.choose(dispatcher)
        if number is None:
            self._fleet.refuse(arrival)
            return
        cluster.in_flight[dispatcher][number] += 1
        self._fleet.admit(arrival, number, (dispatcher, told.name, cluster.moves[number]))

    def ended(self, arrival: Arrival, number: int, token: Any, *, good: bool) -> None:
        """A request has ended; its Envoy counts, and its access log may tell."""
        envoy, name, moves = token
        cluster = self._clusters[name]
        if moves == cluster.moves[number]:
            cluster.in_flight[envoy][number] -= 1
            cluster.ended[envoy][number] += 1
        if good and not self._blind and self._chance.random() < SAMPLED:
            now = self._fleet.clock.now
            self._control.sampled(name, number, arrival.bytes, now - arrival.at, now)

    def health_changed(self) -> None:
        """Other replicas are healthy than before."""
        for told in self._told.classes:
            self._clusters[told.name].check(told)

    def _look(self) -> None:
        loads = {
            told.name: Load(cluster.in_flight, cluster.ended)
            for told in self._told.classes
            for cluster in (self._clusters[told.name],)
        }
        self._control.look(loads, self._fleet.clock.now)

    def _decide(self) -> None:
        fleet, now = self._fleet, self._fleet.clock.now
        self._turn += 1
        for number in () if self._blind else fleet.healthy:
            if (number + self._turn) % 2 == 0:
                self._control.scraped(number, fleet.servers[number].exposition(now), now)
        told = self._control.decide(fleet.healthy, now)
        if told == self._told:
            return
        before = {each.name: each for each in self._told.classes}
        self._told = told
        self.history.append((now, told))
        for each in told.classes:
            if each.name not in self._clusters:
                self._clusters[each.name] = Cluster(fleet)
            if before.get(each.name) != each:
                self._clusters[each.name].tell(each)


def fewest(random: Random, members: Sequence[int], counts: Sequence[float]) -> int:
    """The member with the fewest requests, one of the best at random."""
    found = [counts[member] for member in members]
    least = min(found)
    if found.count(least) == 1:
        return members[found.index(least)]
    best = [member for member, count in zip(members, found, strict=True) if count == least]
    return best[int(random.random() * len(best))]
