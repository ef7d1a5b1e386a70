"""A scenario played through: arrivals, choices, queues, changes and decisions in simulated time."""

from collections.abc import Sequence
from itertools import chain
from math import inf
from typing import Final

from benchmarks.balance.scenario import MEAN_TOKENS, Scenario
from benchmarks.balance.schedule import Arrival, arrivals
from benchmarks.simulation.control import LOOK, TICK, Control
from benchmarks.simulation.replica import Replica
from benchmarks.simulation.sidecars import Sidecar, Tiers, Told

LEAD: Final = 1.25
"""Seconds for which replicas are watched before the first request comes."""
MOST: Final = 4000
"""Requests in flight at which a run has collapsed."""


class Fleet:
    """Replicas and sidecars while they are played."""

    def __init__(
        self,
        scenario: Scenario,
        sidecars: Sequence[Sidecar],
        seed: int,
        long: Sequence[Sidecar] = (),
    ) -> None:
        self._scenario, self._sidecars = scenario, sidecars
        self._seed = seed
        service = MEAN_TOKENS * scenario.token_seconds
        self._replicas = [Replica(service / speed, scenario.slots) for speed in scenario.speeds]
        for pair in scenario.gpus:
            one, other = (self._replicas[number] for number in pair)
            one.share_with(other)
            other.share_with(one)
        # Those of long requests last: they are a cluster of their own, which counts for itself.
        self._long = list(long)
        self._counts = [[0] * len(self._replicas) for _ in (*sidecars, *long)]
        self._places: dict[int, str] = {}
        # How often Envoys have forgotten what they had sent to each.
        self._moves = [0] * len(self._replicas)
        self._latencies: list[float] = []
        self._told = Told()

    def play(self, control: Control) -> list[float]:
        """Run the scenario from its begin to its end; the latencies that count."""
        scenario = self._scenario
        end = scenario.timing.total
        changes = list(scenario.changes)
        # As the generator of real runs reads the rate.
        sent = arrivals(self._seed, float(f"{scenario.rate:g}"), end)
        requests = chain(sent, (Arrival(end, 0),))
        decision, look, turn, request = -LEAD, -LEAD, 0, next(requests)
        while (now := min(request.at, decision, look)) < end:
            while changes and changes[0].at <= now:
                change = changes.pop(0)
                self._finish(change.at)
                self._replicas[change.replica].slow_down(change.at, change.factor)
            self._finish(now)
            if look == now:
                control.look(self._replicas, self._present(now), now)
                look += LOOK
                continue
            if decision <= request.at:
                self._decide(control, now)
                decision += TICK
                continue
            sidecar = turn % len(self._sidecars)
            turn += 1
            size = request.tokens / MEAN_TOKENS
            proxy = self._sidecars[sidecar]
            if size >= self._told.threshold:
                proxy, sidecar = self._long[sidecar], len(self._sidecars) + sidecar
            counts = self._counts[sidecar]
            chosen = proxy.choose(counts)
            counts[chosen] += 1
            self._replicas[chosen].admit(now, size, (sidecar, self._moves[chosen]))
            request = next(requests)
            if turn % 512 == 0 and sum(it.in_flight for it in self._replicas) > MOST:
                break
        self._finish(float("inf"))
        return self._latencies

    def _finish(self, until: float) -> None:
        if self._scenario.gpus:
            # In the order of time: who is done makes its partner faster.
            while (first := min(it.next_end for it in self._replicas)) <= until and first < inf:
                self._finish_each(first)
        self._finish_each(until)

    def _finish_each(self, until: float) -> None:
        for number, replica in enumerate(self._replicas):
            for end, came, (sidecar, moves) in replica.finished(until):
                self._counts[sidecar][number] -= moves == self._moves[number]
                if came >= self._scenario.timing.warm_up:
                    self._latencies.append(end - came)

    def _decide(self, control: Control, now: float) -> None:
        told = control.decide(self._replicas, self._present(now), now)
        if told != self._told:
            self._told = told
            self._forget(told.tiers)
            for sidecar in self._sidecars:
                sidecar.tell(told.tiers)
            for sidecar in self._long if told.long else ():
                sidecar.tell(told.long)

    def _forget(self, tiers: Tiers) -> None:
        """An Envoy makes a host of another locality anew, and that has nothing in flight."""
        for name, (members, _) in tiers.items():
            for number in members:
                if self._places.get(number, name) != name:
                    self._moves[number] += 1
                    for counts in self._counts:
                        counts[number] = 0
                self._places[number] = name

    def _present(self, now: float) -> range:
        joins = self._scenario.joins
        return range(len(self._replicas) - (joins is not None and now < joins))
