"""The weighing of the control plane as it was before classes: it parts requests by length at most.

It goes when `controlplane.weighing` does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.told import Load, Tiers, Told, TrafficClass
from benchmarks.worlds.worlds import SlotsWorld
from controlplane.settings import PoolSettings
from controlplane.signals import Histogram, History, Reading, Window, profile_of, read
from controlplane.weighing import ENVOYS, InFlight, ReplicaInput, Weighing, weigh

BULK: Final = "bulk"


@dataclass(slots=True)
class _Seen:
    """What Envoys have in flight at a replica, and its sum over time: request-seconds."""

    at: float
    total: float = 0.0
    in_flight: int = 0
    ended: int = 0
    looks: float = 0.0

    def until(self, now: float) -> float:
        """What the sum comes to if nothing has changed since the last look."""
        return self.total + (now - self.at) * self.in_flight


def settings_of(profile: str, **balancing: object) -> PoolSettings:
    """Of a pool whose servers a profile reads."""
    found = PoolSettings.model_validate(
        {"model": "m", "listener": {"address": "127.0.0.1:10000"}, "metrics": {"profile": profile}}
    )
    return found.model_copy(update={"balancing": found.balancing.model_copy(update=balancing)})


class Measuring:
    """Weighs by what servers expose and by what Envoys have in flight.

    Attributes:
        weighings: All so far.
    """

    def __init__(self, fleet: Fleet, **balancing: object) -> None:
        world = fleet.scenario.world
        self._settings = settings_of(world.profile, **balancing)
        self._profile = profile_of(self._settings.metrics)
        self._slots = world.slots if isinstance(world, SlotsWorld) else 1
        self._envoys = fleet.dispatchers
        self.weighings: list[Weighing] = []
        self._histories: dict[int, History] = {}
        self._windows: dict[int, tuple[float, Window]] = {}
        self._joined: dict[int, float | None] = {}
        self._begun = False
        self._seen: dict[int, _Seen] = {}

    def look(self, loads: Mapping[str, Load], now: float) -> None:
        """Take note of what is in flight."""
        if not loads:
            return
        for number in self._joined:
            seen = self._seen.setdefault(number, _Seen(now))
            seen.total, seen.at, seen.looks = seen.until(now), now, seen.looks + 1
            seen.in_flight = seen.ended = 0
            for load in loads.values():
                seen.in_flight += sum(counts[number] for counts in load.in_flight)
                seen.ended += sum(counts[number] for counts in load.ended)

    def scraped(self, number: int, text: str, now: float) -> None:
        """Take in what a replica exposes."""
        history = self._histories.setdefault(number, History())
        reading = read(text, self._profile, now)
        self._windows[number] = (now, self._window(number, history, reading))

    def sampled(self, name: str, number: int, size: int, seconds: float, now: float) -> None:
        """It has no use for it."""

    def decide(self, present: Sequence[int], now: float) -> Told:
        """Weigh all."""
        inputs = [self._input(number, now) for number in present]
        self._begun = True
        previous = self.weighings[-1] if self.weighings else None
        weighing = weigh(previous, self._settings, inputs, now, envoys=self._envoys)
        self.weighings.append(weighing)
        tiers: dict[str, tuple[tuple[int, ...], float]] = {}
        for number in present:
            weighed = weighing.replicas[f"{number}"]
            members, weight = tiers.get(weighed.tier, ((), 0.0))
            tiers[weighed.tier] = ((*members, number), weight + weighed.weight)
        everything = TrafficClass(first=tiers)
        if (sizes := weighing.sizes) is None or not sizes.is_in_force(now):
            return Told((everything,))
        fast = {weighing.replicas[id_].tier for id_ in sizes.fast if id_ in weighing.replicas}
        long: Tiers = {name: tier for name, tier in tiers.items() if name in fast}
        rest: Tiers = {name: tier for name, tier in tiers.items() if name not in fast}
        return Told((TrafficClass(BULK, sizes.threshold, long, rest), everything))

    def _window(self, number: int, history: History, reading: Reading) -> Window:  # noqa: ARG002
        return history.add(reading)

    def _input(self, number: int, now: float) -> ReplicaInput:
        since = self._joined.setdefault(number, now if self._begun else None)
        if number not in self._windows:
            return ReplicaInput(f"{number}", self._slots, ready_since=since)
        at, window = self._windows[number]
        counts: tuple[InFlight, ...] = ()
        if number in self._seen:
            seen = self._seen[number]
            counts = (InFlight(ENVOYS, seen.in_flight, seen.at),)
        if window.queue is not None:
            in_flight = window.queue + self._slots if window.queue else 0.0
            counts = (InFlight("queue", in_flight, at), *counts)
        return ReplicaInput(
            f"{number}",
            self._slots,
            window=window,
            age=now - at,
            in_flight=counts,
            ready_since=since,
        )


class Reported(Measuring):
    """The same without metrics: all it has is what Envoys report of their requests.

    A load report says how many requests ended and how many are in flight; these, summed over
    time, are what their durations add up to (Little's law).
    """

    def _window(self, number: int, history: History, reading: Reading) -> Window:
        now = reading.at
        seen = self._seen.get(number, _Seen(now))
        ended = Histogram((math.inf,), (float(seen.ended),), seen.until(now))
        return replace(history.add(Reading(now, ended)), looks=seen.looks)
