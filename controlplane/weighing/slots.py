"""How many requests a replica computes at the same time, where nobody said it: learned slowly.

In come windows; out comes the number of slots with which a replica's capacity comes out the same
at every load that was seen. While all slots are not taken, more requests at a time take no longer;
from there on latency grows with them. That bend is only seen by who has seen both sides of it, so
what was seen is kept by concurrency, for long.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from controlplane.signals import Window
from controlplane.weighing.evidence import SPREAD, UNLIKE, evidence_of
from controlplane.weighing.explanation import Step, counted, duration, number
from controlplane.weighing.record import BATCH

DEFAULT: Final = 1
"""Slots of a replica of which nothing is known."""
LADDER: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""What can be learned; a step is what a change amounts to."""
LEVELS: Final = 12
"""Ranges of concurrency, each twice as high as the one before; the first is up to ¼."""
ENOUGH: Final = 100.0
"""Requests from which on a level is looked at."""
KEPT: Final = 2000.0
"""Requests that a level keeps; older ones fade."""
SURE: Final = 16.0
"""By how much better another number must fit, as a difference of two chi-squares: four standard
errors."""
PAUSE: Final = 15.0
"""Seconds between two looks, each of which moves by one step of the ladder at most."""


@dataclass(frozen=True, slots=True)
class Level:
    """What was seen at about one concurrency: sums over batches of requests."""

    requests: float = 0.0
    duration: float = 0.0
    seconds: float = 0.0

    @property
    def concurrency(self) -> float:
        """Mean requests in flight, by Little's law."""
        return self.duration / self.seconds

    def with_batch(self, requests: float, duration: float, seconds: float) -> "Level":
        """The level with a batch more."""
        left = min(1.0, KEPT / (self.requests + requests))
        return Level(
            (self.requests + requests) * left,
            (self.duration + duration) * left,
            (self.seconds + seconds) * left,
        )


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of one replica's slots.

    Attributes:
        slots: How many they are taken to be.
        levels: What was seen, by concurrency.
        since: Time of the reading that the newest batch begins with.
        count: Requests since the start of the process at that reading.
        total: Seconds that they took.
        looked_at: When the number was last gone over.
    """

    slots: int
    levels: tuple[Level, ...]
    since: float
    count: float
    total: float
    looked_at: float


def learned(previous: Learned | None, window: Window, sharing: float) -> Learned:
    """Take in a window.

    Args:
        previous: Of the same generation of the replica.
        window: The newest.
        sharing: How many replicas are as good as one queue; see `evidence.evidence_of`.
    """
    if previous is None or window.count < previous.count or window.total < previous.total:
        slots = previous.slots if previous else DEFAULT
        levels = previous.levels if previous else (Level(),) * LEVELS
        return Learned(slots, levels, window.at, window.count, window.total, window.at)
    requests = window.count - previous.count
    seconds = window.at - previous.since
    if requests < BATCH or seconds <= 0:
        return previous
    took = window.total - previous.total
    index = min(max(math.ceil(math.log2(max(took / seconds, 0.25))) + 2, 0), LEVELS - 1)
    seen = list(previous.levels)
    seen[index] = seen[index].with_batch(requests, took, seconds)
    found = replace(
        previous,
        levels=tuple(seen),
        since=window.at,
        count=window.count,
        total=window.total,
    )
    if window.at - previous.looked_at < PAUSE:
        return found
    return replace(found, slots=_towards(found, sharing), looked_at=window.at)


def _towards(found: Learned, sharing: float) -> int:
    """One step of the ladder towards the number that fits best, if it clearly fits better."""
    levels = [level for level in found.levels if level.requests >= ENOUGH and level.duration > 0]
    if len(levels) < 2:
        return found.slots
    fits = {slots: _misfit(levels, slots, sharing) for slots in LADDER}
    best = min(LADDER, key=lambda slots: (fits[slots], slots))
    if fits[found.slots] - fits[best] < SURE:
        return found.slots
    step = 1 if best > found.slots else -1
    return LADDER[LADDER.index(found.slots) + step]


def _misfit(levels: list[Level], slots: int, sharing: float) -> float:
    """Chi-square of the capacities at all levels being one."""
    logs = [
        evidence_of(level.requests, level.duration, level.seconds, slots, sharing).log
        for level in levels
    ]
    weights = [1 / (SPREAD**2 / level.requests + UNLIKE**2) for level in levels]
    mean = math.fsum(w * log for w, log in zip(weights, logs, strict=True)) / math.fsum(weights)
    return math.fsum(w * (log - mean) ** 2 for w, log in zip(weights, logs, strict=True))


def slots_step(found: Learned | None, capacity: float) -> Step:
    """What to tell about slots that nobody declared."""
    seen = [level for level in found.levels if level.requests >= ENOUGH] if found else []
    if found is None or len(seen) < 2:
        words = f"slots are not declared and not learned yet: taken for {DEFAULT}"
        return Step("slots", capacity, capacity, words)
    return Step("slots", capacity, capacity, _fitting, (found.slots, seen[0], seen[-1]))


def _fitting(slots: int, low: Level, high: Level) -> str:
    return (
        f"slots are not declared: {counted(slots, 'slot')} fit a mean latency of"
        f" {duration(low.duration / low.requests)} at {number(low.concurrency)} in flight and of"
        f" {duration(high.duration / high.requests)} at {number(high.concurrency)}"
    )
