"""The autoscalers that are compared."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.scaling import hpa
from benchmarks.scaling.fleet import BUDGET, CURVE, Fleet
from controlplane.balancing import fleet as fleets
from controlplane.balancing.frame import COUNTING, recent_rate
from controlplane.balancing.prediction import Flow
from controlplane.config import PoolSettings, validated
from controlplane.resources.listeners import SAMPLED_PERCENT
from controlplane.scaling import PoolScaling, ReplicaState
from controlplane.scaling.demand import ClassDemand
from controlplane.telemetry.sizes import Sizes

OBJECTIVE: Final = 2.0
"""Seconds of p99."""
AT_ONCE: Final = 10.0
"""As many times as many pods in 15 s as a policy of 900 % allows, see docs/scaling.md."""


@dataclass(frozen=True, slots=True)
class Scaler:
    """One of them.

    Attributes:
        name: As in the table.
        made: Makes what is asked for a number of replicas every `hpa.SYNC`.
        look: Makes what looks at the fleet every `LOOK`, if anything does.
    """

    name: str
    made: Callable[[Fleet], hpa.Hpa]


def _cpu(fleet: Fleet, target: float, growth: float = hpa.GROWTH) -> hpa.Hpa:
    def wanted() -> int:
        now, begin = fleet.now, fleet.now - hpa.METRIC_WINDOW
        old = [replica for replica in fleet.replicas if replica.ready <= begin]
        usages = [item.busy_part(begin, now) for item in old]
        pods = hpa.Pods(len(fleet.replicas), usages, len(fleet.replicas) - len(old))
        return hpa.by_utilization(pods, target)

    return hpa.Hpa(wanted, growth=growth)


def _queue(fleet: Fleet, target: float) -> hpa.Hpa:
    def wanted() -> int:
        return hpa.by_average_value(len(fleet.replicas), fleet.waiting()[0], target)

    return hpa.Hpa(wanted)


def _in_flight(fleet: Fleet, target: float, growth: float = hpa.GROWTH) -> hpa.Hpa:
    def wanted() -> int:
        return hpa.by_average_value(len(fleet.replicas), fleet.in_flight(), target)

    return hpa.Hpa(wanted, growth=growth)


class Plimsoll:
    """The rule of the control plane, fed with what it would know of this fleet."""

    def __init__(self, fleet: Fleet, max_utilization: float) -> None:
        self._fleet = fleet
        body = {
            "model": "m",
            "listener": {"address": "127.0.0.1:10000"},
            "objective": {"p99": f"{OBJECTIVE:g}s"},
            "scaling": {"max_utilization": max_utilization},
        }
        self._settings = validated(PoolSettings, body)
        self._scaling = PoolScaling(0.0)
        self._counts: list[tuple[float, float]] = []
        self._sizes, self._seen_until = Sizes(), 0.0
        self._random = np.random.default_rng(0)

    def look(self) -> None:
        """What it does every few seconds."""
        fleet, now = self._fleet, self._fleet.now
        came = float(np.searchsorted(fleet.requests.at, now, side="right"))
        self._counts.append((now, came))
        self._counts = [count for count in self._counts if count[0] >= now - COUNTING]
        rate = recent_rate(self._counts) or 0.0
        # Envoys tell of a part of the requests.
        came_now = fleet.came(self._seen_until, now)
        told = came_now[self._random.random(len(came_now)) < SAMPLED_PERCENT / 100]
        self._sizes.add([round(each) for each in told], now)
        self._seen_until = now
        if not self._sizes.samples:
            return
        whole = self._sizes.whole
        square = whole.squares / whole.requests
        flow = Flow(rate, self._sizes.newest_mean, square, self._sizes.quantile(0.99))
        ready = fleet.ready
        many, pace = len(ready), fleet.pace(now)
        capacity = np.asarray([pace * item.capacity for item in ready])
        serving = fleets.fleet_of(
            [entry.id for entry in ready],
            capacity,
            np.full(many, CURVE.fixed / pace),
            np.full(many, BUDGET),
            np.ones(many),
            np.ones(many),
        )
        backlog = max(fleet.waiting()[1] - OBJECTIVE * float(capacity.sum()), 0.0)
        demand = ClassDemand("", "all requests", flow, serving, backlog, OBJECTIVE)
        self._scaling.take(self._settings, (demand,), self._states(), now, is_measured=many > 0)

    def wanted(self) -> int:
        """What KEDA is told: the metric has a target of 1."""
        fleet = self._fleet
        found = self._scaling.recommend("m", self._settings, self._states(), 1, fleet.now)
        return hpa.by_average_value(len(fleet.replicas), found.replicas, 1.0)

    def _states(self) -> dict[str, ReplicaState]:
        now = self._fleet.now
        return {
            replica.id: ReplicaState(
                1,
                is_ready=replica.ready <= now,
                since=replica.ready if replica.ready <= now else replica.created,
                ready_since=replica.ready if replica.created > 0 else None,
            )
            for replica in self._fleet.replicas
        }


def _plimsoll(fleet: Fleet, max_utilization: float = 0.7) -> hpa.Hpa:
    rule = Plimsoll(fleet, max_utilization)
    fleet.watch = rule.look
    return hpa.Hpa(rule.wanted, stabilization=0.0, growth=AT_ONCE)


SCALERS: Final = (
    Scaler("HPA, CPU 70 %", lambda fleet: _cpu(fleet, 0.7)),
    Scaler("HPA, 5 waiting", lambda fleet: _queue(fleet, 5.0)),
    # Of the targets tried on the ramp the one with the fewest replica-hours and no late request.
    Scaler("HPA, 1.5 in flight", lambda fleet: _in_flight(fleet, 1.5)),
    # As many replica-hours as the one before.
    Scaler("Plimsoll, 45 % used", lambda fleet: _plimsoll(fleet, 0.45)),
    Scaler("Plimsoll", _plimsoll),
)


@dataclass(frozen=True, slots=True)
class Family:
    """An autoscaler whose target is varied.

    Attributes:
        name: As in the table.
        targets: From most headroom to least.
        made: Makes one with a target.
    """

    name: str
    targets: tuple[float, ...]
    made: Callable[[Fleet, float], hpa.Hpa]

    def scaler(self, target: float) -> Scaler:
        """Make the one with this target."""
        return Scaler(f"{self.name} {target:g}", lambda fleet: self.made(fleet, target))


FAMILIES: Final = (
    # As many at once as Plimsoll may have.
    Family(
        "CPU",
        (0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        lambda fleet, target: _cpu(fleet, target, AT_ONCE),
    ),
    Family("waiting", (1.0, 5.0, 20.0), _queue),
    Family(
        "in flight",
        (0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0),
        lambda fleet, target: _in_flight(fleet, target, AT_ONCE),
    ),
    Family("Plimsoll", (0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9), _plimsoll),
)


def begin_with(rate: float) -> int:
    """Replicas that a run begins with."""
    return max(math.ceil(rate / 0.7), 1)
