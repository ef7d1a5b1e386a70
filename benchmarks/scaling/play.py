"""One autoscaler on one load: how many requests were late, and what the replicas came to."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from benchmarks.scaling import hpa
from benchmarks.scaling.fleet import FULL, Fleet
from benchmarks.scaling.loads import Shape, drawn
from benchmarks.scaling.scalers import OBJECTIVE, Scaler, begin_with

LOOK: Final = 5.0
"""Seconds between two looks; both it and `hpa.SYNC` are multiples of it."""
SETTLED: Final = 600.0
"""Seconds of a run that do not count: what it begins with is nobody's choice."""


class Run(NamedTuple):
    """What is played.

    Attributes:
        shape: The load.
        seed: Of chance.
        times: Factor of all rates.
        cold_start: Seconds from creating a replica to one that serves.
    """

    shape: Shape
    seed: int
    times: float
    cold_start: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        late: Part of the requests that took longer than the objective.
        minutes: In which more than one in a hundred did: the p99 was not kept.
        hours: Replica-hours.
        most: Replicas at a time.
    """

    late: float
    minutes: int
    hours: float
    most: int


def play(scaler: Scaler, shape: Shape, seed: int, times: float, cold_start: float) -> Result:
    """Play a run, see `Run`."""
    requests = drawn(shape, seed, times, FULL)
    begin = begin_with(times * (shape.searches(0.0) + shape.bulk(0.0)))
    fleet = Fleet(requests, seed, cold_start, begin)
    fleet.pace = shape.pace
    controller = scaler.made(fleet)
    hours_before, most, step = 0.0, 0, 0
    while fleet.now < shape.seconds:
        fleet.go_on(fleet.now + LOOK)
        step += 1
        fleet.watch()
        if step % round(hpa.SYNC / LOOK) == 0:
            fleet.scale(controller.desired(len(fleet.replicas), fleet.now))
        if fleet.now <= SETTLED:
            hours_before = fleet.hours
        else:
            most = max(most, len(fleet.replicas))
    hours = fleet.hours - hours_before
    counts = requests.at >= SETTLED
    at = requests.at[counts]
    took = np.nan_to_num(fleet.done[counts] - at, nan=np.inf)
    is_late = took > OBJECTIVE
    minute = (at // 60).astype(int)
    late = np.bincount(minute, weights=is_late)
    minutes = int((late > 0.01 * np.bincount(minute)).sum())
    return Result(float(is_late.mean()), minutes, hours, most)
