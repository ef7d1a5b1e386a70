"""What users could pick instead of a control plane, and two that know more than anybody can."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from benchmarks.simulation.envoys import Counts, fewest
from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.told import Blind, Tiers, Told, TrafficClass
from benchmarks.worlds.traffic import Arrival

SPAN: Final = 1.5
"""Of capacities within one tier of somebody who knows them."""


class Choice(Protocol):
    """How a proxy chooses."""

    def choose(self, fleet: Fleet, dispatcher: int, counts: Counts) -> int:
        """Pick one of the healthy replicas."""


class FullScan:
    """Envoy's LEAST_REQUEST with FULL_SCAN: the fewest of its own requests, ties at random."""

    def choose(self, fleet: Fleet, dispatcher: int, counts: Counts) -> int:  # noqa: ARG002
        """Pick a replica."""
        return fewest(fleet.random, fleet.healthy, counts)


class TwoChoices:
    """Envoy's LEAST_REQUEST by default: the better one of two at random."""

    def choose(self, fleet: Fleet, dispatcher: int, counts: Counts) -> int:  # noqa: ARG002
        """Pick a replica."""
        first, second = fleet.random.choices(fleet.healthy, k=2)
        return second if counts[second] < counts[first] else first


class LeastConn:
    """HAProxy's leastconn: the fewest requests for its weight, in turn where none is better."""

    def __init__(self, weights: Sequence[float], dispatchers: int) -> None:
        self._weights = weights
        self._used = [[0] * len(weights) for _ in range(dispatchers)]
        self._turn = 0

    def choose(self, fleet: Fleet, dispatcher: int, counts: Counts) -> int:
        """Pick a replica."""
        used, weights = self._used[dispatcher], self._weights
        chosen = min(fleet.healthy, key=lambda n: (counts[n] / weights[n], used[n]))
        self._turn += 1
        used[chosen] = self._turn
        return chosen


class Proxies:
    """Proxies that nobody steers: each counts its own requests."""

    def __init__(self, fleet: Fleet, choice: Choice) -> None:
        self._fleet, self._choice = fleet, choice
        self._counts = [[0] * len(fleet.servers) for _ in range(fleet.dispatchers)]

    def start(self) -> None:
        """Nothing is to be known."""

    def send(self, dispatcher: int, arrival: Arrival) -> None:
        """Choose a replica."""
        counts = self._counts[dispatcher]
        number = self._choice.choose(self._fleet, dispatcher, counts)
        counts[number] += 1
        self._fleet.admit(arrival, number, dispatcher)

    def ended(self, arrival: Arrival, number: int, token: Any, *, good: bool) -> None:  # noqa: ARG002
        """One less."""
        self._counts[token][number] -= 1

    def health_changed(self) -> None:
        """Who is healthy is asked each time."""


class Router:
    """One router that all requests pass, as smg: the fewest tokens in flight, ties at random."""

    def __init__(self, fleet: Fleet, capacities: Sequence[float] | None = None) -> None:
        """Prepare a router.

        Args:
            fleet: The replicas.
            capacities: Tokens a second that each carries, for a router that knows them: then the
                least work in flight counts. None: all are taken to be alike.
        """
        self._fleet = fleet
        self._capacities = capacities or [1.0] * len(fleet.servers)
        self._work = [0.0] * len(fleet.servers)

    def start(self) -> None:
        """Nothing is to be known."""

    def send(self, dispatcher: int, arrival: Arrival) -> None:  # noqa: ARG002 - it is one
        """Choose a replica."""
        capacities, tokens = self._capacities, arrival.tokens
        # Where all are alike this is the least work: each would have as much more.
        ends = [
            (work + tokens) / capacity
            for work, capacity in zip(self._work, capacities, strict=True)
        ]
        number = fewest(self._fleet.random, self._fleet.healthy, ends)
        self._work[number] += tokens
        self._fleet.admit(arrival, number, None)

    def ended(self, arrival: Arrival, number: int, token: Any, *, good: bool) -> None:  # noqa: ARG002
        """So many tokens less."""
        self._work[number] -= arrival.tokens

    def health_changed(self) -> None:
        """Who is healthy is asked each time."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request of which some texts are not under way yet, or not done."""

    arrival: Arrival
    following: int = 0
    left: int = 0


class Pooled:
    """One queue of texts for all replicas: whoever is free takes a batch, shortest requests first.

    Nobody can do that, and no replica ever idles while anything waits. It is no optimum where a
    batch that is taken as a whole keeps a slow replica at it for long, or is padded.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        scenario = fleet.scenario
        streams = sorted(scenario.traffic.streams, key=lambda stream: stream.tokens)
        self._queues: dict[str, deque[_Waiting]] = {stream.kind: deque() for stream in streams}
        self._fastest_first = scenario.slowest_first[::-1]
        self._asked = False

    def start(self) -> None:
        """Nothing is to be known."""

    def send(self, dispatcher: int, arrival: Arrival) -> None:  # noqa: ARG002 - there is one queue
        """Wait for a replica that is free."""
        self._queues[arrival.kind].append(_Waiting(arrival, left=len(arrival.texts)))
        self._serve()

    def ended(self, arrival: Arrival, number: int, token: Any, *, good: bool) -> None:  # noqa: ARG002
        """Once all of a batch is answered, its replica is free."""
        waiting, texts = token
        waiting.left -= texts
        if good and not waiting.left:
            self._fleet.done(arrival)
        if not self._asked:
            self._asked = True
            self._fleet.clock.call_at(self._fleet.clock.now, self._serve)

    def health_changed(self) -> None:
        """Another one may be free."""
        self._serve()

    def _serve(self) -> None:
        self._asked = False
        fleet = self._fleet
        healthy = set(fleet.healthy)
        for number in self._fastest_first:
            while number in healthy and fleet.servers[number].hungry:
                parts = self._batch(*fleet.scenario.world.most)
                if not parts:
                    return
                for waiting, first, last in parts:
                    arrival, texts = waiting.arrival, waiting.arrival.texts[first:last]
                    fleet.admit(arrival, number, (waiting, last - first), texts)

    def _batch(self, tokens: float, texts: float) -> list[tuple[_Waiting, int, int]]:
        """Which texts of which requests go next."""
        if not texts:
            queue = next((queue for queue in self._queues.values() if queue), None)
            if queue is None:
                return []
            waiting = queue.popleft()
            return [(waiting, 0, waiting.left)]
        parts: list[tuple[_Waiting, int, int]] = []
        for queue in self._queues.values():
            while queue:
                waiting = queue[0]
                first = last = waiting.following
                for length in waiting.arrival.texts[first:]:
                    # The first is taken however long it is.
                    if (length > tokens or texts < 1) and (parts or last > first):
                        break
                    tokens -= length
                    texts -= 1
                    last += 1
                if last == first:
                    return parts
                parts.append((waiting, first, last))
                waiting.following = last
                if last < len(waiting.arrival.texts):
                    return parts
                queue.popleft()
        return parts


class Flat(Blind):
    """Tells Envoys who is there and nothing else."""

    def decide(self, present: Sequence[int], now: float) -> Told:  # noqa: ARG002
        """One tier."""
        return Told((TrafficClass(first={"": (tuple(present), float(len(present)))}),))


class Knowing(Blind):
    """Knows what every replica can carry, before anything happens to it."""

    def __init__(self, fleet: Fleet) -> None:
        self._capacities = [fleet.scenario.carries(n) for n in range(len(fleet.servers))]

    def decide(self, present: Sequence[int], now: float) -> Told:  # noqa: ARG002
        """Tiers of the true capacities."""
        shares = {number: self._capacities[number] for number in present}
        return Told((TrafficClass(first=tiers(self._capacities, shares)),))


class Split(Blind):
    """Knows sizes and capacities, and gives searches some of the slowest replicas for themselves.

    They get as many as bring them to `LIGHT` of what these carry, or if bulk requests need too many
    for that, as many as are left up to `BUSY`, unless the scenario says how many; bulk requests get
    the others by equal slack. Where that cannot be, or all requests are of one class, it is
    `Knowing`.
    """

    LIGHT: Final = 0.4
    BUSY: Final = 0.8
    FULL: Final = 0.96

    def __init__(self, fleet: Fleet) -> None:
        scenario = self._scenario = fleet.scenario
        self._capacities = [scenario.carries(n) for n in range(len(fleet.servers))]
        streams = sorted(scenario.traffic.streams, key=lambda stream: stream.bytes)
        self._limit = math.inf
        self._searches: frozenset[int] = frozenset()
        if len(streams) == 2:
            self._limit = math.sqrt(streams[0].bytes * streams[1].bytes)
            short = scenario.traffic.part(streams[0].kind)
            self._searches = self._for_searches(short * scenario.tokens_rate)
            self._bulk_rate = (1 - short) * scenario.tokens_rate

    def _for_searches(self, rate: float) -> frozenset[int]:
        slowest = self._scenario.slowest_first
        if (given := self._scenario.searches_on) is not None:
            return frozenset(slowest[:given])
        found: frozenset[int] = frozenset()
        for count in range(1, len(slowest)):
            chosen = slowest[:count]
            rest = sum(self._capacities[number] for number in slowest[count:])
            if self._scenario.tokens_rate - rate > self.FULL * rest:
                break
            used = rate / sum(self._capacities[number] for number in chosen)
            if used <= self.BUSY:
                found = frozenset(chosen)
            if used <= self.LIGHT:
                break
        return found

    def decide(self, present: Sequence[int], now: float) -> Told:  # noqa: ARG002
        """Two classes."""
        capacities = self._capacities
        ours = [number for number in present if number in self._searches]
        others = [number for number in present if number not in self._searches]
        if not ours or not others:
            return Told(
                (TrafficClass(first=tiers(capacities, {n: capacities[n] for n in present})),)
            )
        slack = equal_slack({number: capacities[number] for number in others}, self._bulk_rate)
        alone = {number: capacities[number] for number in ours}
        first, second = tiers(capacities, slack), tiers(capacities, alone)
        return Told(
            (
                TrafficClass("bulk", self._limit, first=first, rest=second),
                TrafficClass(first=second, rest=first),
            )
        )


def equal_slack(capacities: dict[int, float], rate: float) -> dict[int, float]:
    """Shares w = max(0, C − k) that add up to a rate: all that are used have the same left.

    A replica that gets nothing by that is given a thousandth, as Envoy knows no less.
    """
    ordered = sorted(capacities.values(), reverse=True)
    slack, total = 0.0, 0.0
    for count, capacity in enumerate(ordered, 1):
        total += capacity
        slack = (total - rate) / count
        if count == len(ordered) or slack >= ordered[count]:
            break
    return {n: max(carried - slack, 0.001 * carried) for n, carried in capacities.items()}


def tiers(capacities: Sequence[float], shares: dict[int, float]) -> Tiers:
    """One tier for those that carry about as much."""
    found: dict[str, list[int]] = {}
    for number in shares:
        band = round(math.log(capacities[number]) / math.log(SPAN))
        found.setdefault(f"tier-{band}", []).append(number)
    return {
        name: (tuple(members), sum(shares[number] for number in members))
        for name, members in found.items()
    }
