"""The balancing of the control plane, fed with what simulated servers and Envoys tell."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.told import Load, Tiers, Told, TrafficClass
from benchmarks.worlds.worlds import SlotsWorld
from controlplane.balancing import (
    ENVOYS,
    OWN,
    STAGES,
    Decision,
    InFlight,
    ReplicaInput,
    Table,
    ZoneInput,
    decide,
)
from controlplane.balancing.columns import Ints
from controlplane.balancing.pipeline import Stage
from controlplane.config import PoolSettings
from controlplane.telemetry import Histogram, History, Reading, Window, profile_of, read
from controlplane.telemetry.sizes import Sizes


@dataclass(slots=True)
class _Seen:
    """What Envoys have in flight at a replica, and its sum over time: request-seconds."""

    at: float
    total: float = 0.0
    in_flight: int = 0
    ended: int = 0
    looks: float = 0.0
    by_class: Mapping[str, float] | None = None
    by_ended: Mapping[str, float] | None = None

    def until(self, now: float) -> float:
        """What the sum comes to if nothing has changed since the last look."""
        return self.total + (now - self.at) * self.in_flight


def settings_of(profile: str, **balancing: object) -> PoolSettings:
    """Of a pool whose servers a profile reads."""
    found = PoolSettings.model_validate(
        {"model": "m", "listener": {"address": "127.0.0.1:10000"}, "metrics": {"profile": profile}}
    )
    return found.model_copy(update={"balancing": found.balancing.model_copy(update=balancing)})


class Balanced:
    """Decides by what servers expose, by what Envoys have in flight, and by samples of sizes.

    Attributes:
        decisions: All so far.
    """

    def __init__(
        self, fleet: Fleet, stages: tuple[Stage, ...] = STAGES, **balancing: object
    ) -> None:
        world = fleet.scenario.world
        self._settings = settings_of(world.profile, **balancing)
        self._profile = profile_of(self._settings.metrics)
        self._slots = world.slots if isinstance(world, SlotsWorld) else None
        self._envoys, self._stages = fleet.dispatchers, stages
        self.decisions: list[Decision] = []
        self._table, self._sizes = Table(), Sizes()
        self._histories: dict[int, History] = {}
        self._windows: dict[int, tuple[float, Window]] = {}
        self._joined: dict[int, float | None] = {}
        self._seen: dict[int, _Seen] = {}

    def look(self, loads: Mapping[str, Load], now: float) -> None:
        """Take note of what is in flight."""
        if not loads:
            return
        for number in self._joined:
            seen = self._seen.setdefault(number, _Seen(now))
            seen.total, seen.at, seen.looks = seen.until(now), now, seen.looks + 1
            by_class = {
                name: float(sum(counts[number] for counts in load.in_flight))
                for name, load in loads.items()
            }
            seen.in_flight = round(sum(by_class.values()))
            seen.by_class = by_class if len(by_class) > 1 else {}
            seen.by_ended = {
                name: float(sum(counts[number] for counts in load.ended))
                for name, load in loads.items()
            }
            seen.ended = round(sum(seen.by_ended.values()))

    def scraped(self, number: int, text: str, now: float) -> None:
        """Take in what a replica exposes."""
        history = self._histories.setdefault(number, History())
        reading = read(text, self._profile, now)
        self._windows[number] = (now, self._window(number, history, reading))

    def sampled(self, name: str, number: int, size: int, seconds: float, now: float) -> None:  # noqa: ARG002
        """Take in the size of a request."""
        self._sizes.add((size,), now)

    def decide(self, present: Sequence[int], now: float) -> Told:
        """Decide about all."""
        for id_ in [*self._table.rows]:
            if int(id_) not in present:
                self._table.remove(id_)
        for number in present:
            self._table.put(self._input(number, now))
        before = self.decisions[-1] if self.decisions else None
        decision = decide(
            before,
            self._settings,
            self._table,
            now,
            envoys=self._envoys,
            sizes=self._sizes,
            zone_input=self._zones(),
            stages=self._stages,
        )
        if before is not None:
            self.decisions[-1] = replace(before, frame=None)
        self.decisions.append(decision)
        if not decision.classes:
            return Told(
                (
                    TrafficClass(
                        first=tiers_of(decision, decision.weight, present, decision.tier_of)
                    ),
                )
            )
        found = []
        for each in decision.classes:
            inside = [n for n in present if each.weights[decision.rows[f"{n}"]] > 0]
            outside = [n for n in present if n not in inside]
            found.append(
                TrafficClass(
                    each.name,
                    decision.division.threshold or math.inf,
                    tiers_of(decision, each.weights, inside, each.tier_of),
                    tiers_of(decision, decision.weight, outside, decision.tier_of),
                )
            )
        return Told(tuple(sorted(found, key=lambda each: each.name == "")))

    def _zones(self) -> ZoneInput | None:
        """Where replicas and Envoys are, where that matters."""
        return None

    def _window(self, number: int, history: History, reading: Reading) -> Window:  # noqa: ARG002
        return history.add(reading)

    def _input(self, number: int, now: float) -> ReplicaInput:
        begun = bool(self.decisions)
        since = self._joined.setdefault(number, now if begun else None)
        if number not in self._windows:
            return ReplicaInput(f"{number}", self._slots, ready_since=since)
        at, window = self._windows[number]
        counts: tuple[InFlight, ...] = ()
        if number in self._seen:
            seen = self._seen[number]
            by_class, ended = seen.by_class or {}, seen.by_ended or {}
            counts = (InFlight(ENVOYS, seen.in_flight, seen.at, by_class=by_class, ended=ended),)
        if window.queue is not None:
            are_texts = window.queue_unit == "texts"
            computed = 0 if are_texts or not window.queue else self._slots or 1
            counts = (InFlight(OWN, window.queue + computed, at, are_texts), *counts)
        return ReplicaInput(
            f"{number}",
            self._slots,
            window=window,
            scraped_at=at,
            in_flight=counts,
            ready_since=since,
        )


class Reported(Balanced):
    """The same without metrics: all it has is what Envoys report of their requests.

    A load report says how many requests ended and how many are in flight; these, summed over
    time, are what their durations add up to (Little's law).
    """

    def _window(self, number: int, history: History, reading: Reading) -> Window:
        now = reading.at
        seen = self._seen.get(number, _Seen(now))
        ended = Histogram((math.inf,), (float(seen.ended),), seen.until(now))
        return replace(history.add(Reading(now, ended)), looks=seen.looks)


def tiers_of(
    decision: Decision, weights: Ints, members: Sequence[int], name_of: Callable[[int], str]
) -> Tiers:
    """The tiers of some replicas, by the name that each row has, with the sums of their weights."""
    found: dict[str, tuple[tuple[int, ...], float]] = {}
    for number in members:
        row = decision.rows[f"{number}"]
        if decision.drained[row]:
            continue
        name = name_of(row)
        some, weight = found.get(name, ((), 0.0))
        found[name] = ((*some, number), weight + float(weights[row]))
    return found
