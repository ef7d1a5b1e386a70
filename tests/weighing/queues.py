"""A small deterministic simulation of a pool: M/G/c queues behind one Envoy with capacity tiers.

Requests arrive as a Poisson process, sizes are log-normal, a tier is drawn by its locality weight
and in it the replica with the fewest requests is picked, as LEAST_REQUEST with FULL_SCAN does.
"""

import heapq
import random
from bisect import bisect_left
from dataclasses import dataclass, field
from math import inf

from controlplane.signals import Histogram, History, Reading
from controlplane.weighing import OWN, InFlight, ReplicaInput, Weighing, weigh
from tests.weighing.pools import INTERVAL, SETTINGS

BOUNDS = (*(0.0005 * 1.5**i for i in range(30)), inf)
_SIGMA = 0.8
_MEAN = 2.718281828459045 ** (_SIGMA * _SIGMA / 2)


@dataclass
class Server:
    """One replica: `speed` requests per second and slot."""

    speed: float
    slots: int = 1
    free_at: list[float] = field(default_factory=list)
    finishing: list[tuple[float, float]] = field(default_factory=list)
    counts: list[float] = field(default_factory=lambda: [0.0] * len(BOUNDS))
    total: float = 0.0
    history: History = field(default_factory=History)

    def take(self, at: float, size: float) -> None:
        """Queue a request: first come, first served, by the slot that is free first."""
        if not self.free_at:
            self.free_at = [0.0] * self.slots
        start = max(at, heapq.heappop(self.free_at))
        end = start + size / self.speed
        heapq.heappush(self.free_at, end)
        heapq.heappush(self.finishing, (end, end - at))

    def finish(self, until: float) -> None:
        while self.finishing and self.finishing[0][0] <= until:
            took = heapq.heappop(self.finishing)[1]
            self.counts[bisect_left(BOUNDS, took)] += 1
            self.total += took

    def scrape(self, at: float) -> Reading:
        self.finish(at)
        running, cumulative = 0.0, []
        for count in self.counts:
            running += count
            cumulative.append(running)
        waiting = max(len(self.finishing) - self.slots, 0)
        return Reading(at, Histogram(BOUNDS, tuple(cumulative), self.total), queue=float(waiting))


class Simulation:
    """A pool under a constant arrival rate, weighed after every round of scrapes."""

    def __init__(self, servers: dict[str, Server], rate: float, seed: int = 1) -> None:
        self.servers, self.rate = servers, rate
        self.now = 0.0
        self.weighing: Weighing | None = None
        self._random = random.Random(seed)  # noqa: S311 - a simulation, to be repeated
        self._next = 0.0

    def run(self, seconds: float) -> list[Weighing]:
        """Every weighing of so many seconds."""
        weighings = []
        for _ in range(round(seconds / INTERVAL)):
            end = self.now + INTERVAL
            while self._next < end:
                self._arrive(self._next)
                self._next += self._random.expovariate(self.rate)
            self.now = end
            inputs = [
                ReplicaInput(
                    id_,
                    server.slots,
                    window=server.history.add(server.scrape(end)),
                    age=0.0,
                    in_flight=(InFlight(OWN, len(server.finishing), end),),
                )
                for id_, server in self.servers.items()
            ]
            self.weighing = weigh(self.weighing, SETTINGS, inputs, end)
            weighings.append(self.weighing)
        return weighings

    def _arrive(self, at: float) -> None:
        for server in self.servers.values():
            server.finish(at)
        tiers: dict[str, list[str]] = {}
        weight: dict[str, int] = {}
        for id_ in self.servers:
            weighed = self.weighing.replicas[id_] if self.weighing else None
            tier = weighed.tier if weighed else ""
            tiers.setdefault(tier, []).append(id_)
            weight[tier] = weight.get(tier, 0) + (weighed.weight if weighed else 1)
        (tier,) = self._random.choices(list(tiers), [weight[tier] for tier in tiers])
        ids = tiers[tier]
        self._random.shuffle(ids)
        chosen = min(ids, key=lambda id_: len(self.servers[id_].finishing))
        self.servers[chosen].take(at, self._random.lognormvariate(0, _SIGMA) / _MEAN)
