"""What tells the sidecars about replicas: the real weighing, or one that knows the truth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from benchmarks.balance.scenario import MEAN_TOKENS
from benchmarks.simulation.replica import Replica
from benchmarks.simulation.sidecars import Told
from controlplane.settings import PoolSettings
from controlplane.signals import Histogram, History, Reading, Window
from controlplane.weighing import ENVOYS, InFlight, ReplicaInput, Weighing, weigh
from controlplane.weighing.sizes import BYTES_PER_TOKEN
from controlplane.weighing.tiers import SPAN

TICK: Final = 0.25
"""Seconds between two decisions; each replica is scraped at every second one."""

LOOK: Final = 0.1
"""Seconds between two load reports."""


@dataclass(slots=True)
class _Sum:
    """What was in flight at a replica, summed over looks: request-seconds."""

    at: float
    total: float = 0.0
    in_flight: float = 0
    looks: float = 0.0

    def until(self, now: float) -> float:
        """What it comes to if nothing has changed since the last look."""
        return self.total + (now - self.at) * self.in_flight


class Control(Protocol):
    """Decides what sidecars are told."""

    def look(self, replicas: Sequence[Replica], present: Sequence[int], now: float) -> None:
        """Take note of what is in flight, as every report of a sidecar says."""

    def decide(self, replicas: Sequence[Replica], present: Sequence[int], now: float) -> Told:
        """What sidecars know from now on."""


# What a contender does not look at, it is given all the same.
# ruff: noqa: ARG002


class _Blind:
    """Has no use for what is in flight."""

    def look(self, replicas: Sequence[Replica], present: Sequence[int], now: float) -> None:
        """Nothing."""


class Flat(_Blind):
    """Tells who is there and nothing else."""

    def decide(self, replicas: Sequence[Replica], present: Sequence[int], now: float) -> Told:
        """One tier."""
        return Told({"": (present, float(len(present)))})


class Knowing(_Blind):
    """Knows what every replica can carry at this moment."""

    def decide(self, replicas: Sequence[Replica], present: Sequence[int], now: float) -> Told:
        """Tiers of the true capacities."""
        found: dict[str, list[int]] = {}
        for number in present:
            band = round(math.log(replicas[number].capacity) / math.log(SPAN))
            found.setdefault(f"{band}", []).append(number)
        return Told(
            {
                name: (members, sum(replicas[number].capacity for number in members))
                for name, members in found.items()
            }
        )


class Measuring:
    """The weighing of the control plane, on what it scrapes and on what sidecars have in flight."""

    def __init__(self, settings: PoolSettings, slots: int | None, envoys: int | None) -> None:
        self._envoys = envoys
        self.weighings: list[Weighing] = []
        self._settings, self._slots = settings, slots
        self._histories: dict[int, History] = {}
        self._windows: dict[int, tuple[float, Window]] = {}
        self._joined: dict[int, float | None] = {}
        self._turn = 0
        self._in_flight: dict[int, InFlight] = {}
        # By replica: its tier, and how many had come to it by the time that it came there.
        self._tiers: dict[int, tuple[str, int]] = {}

    def look(self, replicas: Sequence[Replica], present: Sequence[int], now: float) -> None:
        """Take note of what is in flight.

        An Envoy forgets what it has sent to a replica that changes its tier.
        """
        for number in present:
            replica = replicas[number]
            _, forgotten = self._tiers.get(number, ("", 0))
            seen = min(replica.in_flight, replica.ended + replica.in_flight - forgotten)
            self._in_flight[number] = InFlight(ENVOYS, seen, now)

    def decide(self, replicas: Sequence[Replica], present: Sequence[int], now: float) -> Told:
        """Scrape every second replica, then weigh all."""
        self._turn += 1
        for number in present:
            if (number + self._turn) % 2 == 0:
                history = self._histories.setdefault(number, History())
                window = self._seen(replicas[number], history, now)
                self._windows[number] = (now, window)
        inputs = [self._input(number, now) for number in present]
        previous = self.weighings[-1] if self.weighings else None
        weighing = weigh(previous, self._settings, inputs, now, envoys=self._envoys)
        self.weighings.append(weighing)
        tiers: dict[str, tuple[list[int], float]] = {}
        for number in present:
            weighed = weighing.replicas[f"{number}"]
            if self._tiers.get(number, ("", 0))[0] != weighed.tier:
                come = replicas[number].ended + replicas[number].in_flight
                self._tiers[number] = (weighed.tier, come)
            members, weight = tiers.get(weighed.tier, ([], 0.0))
            tiers[weighed.tier] = ([*members, number], weight + weighed.weight)
        if (sizes := weighing.sizes) is None or not sizes.is_in_force(now):
            return Told(tiers)
        fast = {weighing.replicas[id_].tier for id_ in sizes.fast}
        long = {name: tier for name, tier in tiers.items() if name in fast}
        return Told(tiers, long, sizes.threshold / BYTES_PER_TOKEN / MEAN_TOKENS)

    def _seen(self, replica: Replica, history: History, now: float) -> Window:
        return history.add(replica.scrape(now))

    def _input(self, number: int, now: float) -> ReplicaInput:
        since = self._joined.setdefault(number, now if self._turn > 1 else None)
        if number not in self._windows:
            return ReplicaInput(f"{number}", self._slots or 1, ready_since=since)
        at, window = self._windows[number]
        counts = (self._in_flight[number],) if number in self._in_flight else ()
        if window.queue is not None:
            in_flight = window.queue + (self._slots or 1) if window.queue else 0.0
            counts = (InFlight("queue", in_flight, at), *counts)
        return ReplicaInput(
            f"{number}",
            self._slots or 1,
            window=window,
            age=now - at,
            in_flight=counts,
            ready_since=since,
        )


class Reported(Measuring):
    """The same without metrics: all it has is what sidecars report of their requests.

    A load report says how many requests ended and how many are in flight; these, summed over
    time, are what their durations add up to (Little's law).
    """

    def __init__(self, settings: PoolSettings, slots: int | None, envoys: int | None) -> None:
        super().__init__(settings, slots, envoys)
        self._sums: dict[int, _Sum] = {}

    def look(self, replicas: Sequence[Replica], present: Sequence[int], now: float) -> None:
        """Add up what is in flight."""
        super().look(replicas, present, now)
        for number in present:
            seen = self._sums.setdefault(id(replicas[number]), _Sum(now))
            seen.total = seen.until(now)
            in_flight = self._in_flight[number].requests
            seen.at, seen.in_flight, seen.looks = now, in_flight, seen.looks + 1

    def _seen(self, replica: Replica, history: History, now: float) -> Window:
        read, seen = replica.scrape(now), self._sums.get(id(replica), _Sum(now))
        assert read.latency is not None
        ended = Histogram((math.inf,), (read.latency.count,), seen.until(now))
        return replace(history.add(Reading(now, ended)), looks=seen.looks)
