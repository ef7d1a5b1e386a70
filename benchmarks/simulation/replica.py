"""A simulated replica: requests wait in line for slots, and durations are counted as TEI does."""

import heapq
from bisect import bisect_left
from math import inf
from typing import Final

from benchmarks.balance.scenario import ALONE, MEAN_TOKENS
from controlplane.signals import Histogram, Reading

BOUNDS: Final = (*(0.000015 * 1.5**power for power in range(39)), inf)
"""Seconds, of TEI's histograms."""

Sender = tuple[int, int]
"""A sidecar, and how often it had forgotten what it had sent to the replica."""


class Replica:
    """First come, first served by the slot that is free first."""

    def __init__(self, service: float, slots: int = 1) -> None:
        """Prepare a replica that is idle.

        Args:
            service: Mean seconds that a request takes in a slot.
            slots: Requests that it computes at the same time.
        """
        self.service = service
        self.slots = slots
        self.in_flight = 0
        self._free_at = [0.0] * slots
        self._pending: list[tuple[float, float, Sender, float]] = []
        self._counts = [0] * len(BOUNDS)
        self._total = 0.0
        self._tokens = 0.0
        self._partner: Replica | None = None

    def share_with(self, partner: "Replica") -> None:
        """Compute on the same GPU as another: each is `ALONE` times as fast while the other idles.

        Call it once for each of the two, while both are idle; the service time given before is
        that beside a busy partner.
        """
        self._partner = partner
        self.service /= ALONE

    @property
    def next_end(self) -> float:
        """When the next of its requests is done, if nothing changes until then."""
        return self._pending[0][0] if self._pending else inf

    @property
    def capacity(self) -> float:
        """Requests per second that it can serve."""
        return self.slots / self.service

    @property
    def ended(self) -> int:
        """Requests that it has served so far."""
        return sum(self._counts)

    def admit(self, at: float, size: float, sender: Sender) -> None:
        """Take in a request of so many times the mean size."""
        if self._partner is not None and not self.in_flight:
            self._partner.slow_down(at, ALONE)
        start = max(at, self._free_at[0])
        end = start + size * self.service
        heapq.heapreplace(self._free_at, end)
        heapq.heappush(self._pending, (end, at, sender, size))
        self.in_flight += 1

    def finished(self, until: float) -> list[tuple[float, float, Sender]]:
        """Take out what is done by then: when, when it came, and from whom."""
        done = []
        while self._pending and self._pending[0][0] <= until:
            end, came, sender, size = heapq.heappop(self._pending)
            self._counts[bisect_left(BOUNDS, end - came)] += 1
            self._total += end - came
            self._tokens += size * MEAN_TOKENS
            self.in_flight -= 1
            done.append((end, came, sender))
            if self._partner is not None and not self.in_flight:
                self._partner.slow_down(end, 1 / ALONE)
        return done

    def slow_down(self, at: float, factor: float) -> None:
        """Take so many times as long from now on, for what is left of every request too."""
        self.service *= factor
        self._free_at = [at + (end - at) * factor if end > at else end for end in self._free_at]
        self._pending = [
            (at + (end - at) * factor, came, sender, size)
            for end, came, sender, size in self._pending
        ]

    def scrape(self, at: float) -> Reading:
        """What TEI would expose: durations of what is done, and how many wait for a slot."""
        running, cumulative = 0, []
        for count in self._counts:
            running += count
            cumulative.append(float(running))
        waiting = float(max(self.in_flight - self.slots, 0))
        latency = Histogram(BOUNDS, tuple(cumulative), self._total)
        return Reading(at, latency, queue=waiting, tokens=self._tokens or None)
