"""How much work is in line at each replica, and how soon that is known again.

In come counts of requests in flight from whoever makes them, out come seconds.
"""

from collections.abc import Collection, Mapping
from typing import Final

from controlplane.signals.reporting import report_interval
from controlplane.weighing import lengths
from controlplane.weighing.capacities import Capacities
from controlplane.weighing.replica import ReplicaInput
from controlplane.weighing.veto import OWN, InFlight

HORIZON: Final = 2.0
"""Intervals between two readings of lines in which a difference between them is to be gone."""


def horizon(replicas: Mapping[str, ReplicaInput], interval: float, envoys: int | None) -> float:
    """Seconds in which a difference between lines is to be gone.

    Args:
        replicas: Of the pool.
        interval: Seconds between two scrapes.
        envoys: How many report; None where that is not known.
    """
    if all(any(it.source == OWN for it in each.in_flight) for each in replicas.values()):
        return HORIZON * interval
    return HORIZON * max(interval, report_interval(envoys or 1, len(replicas)))


def waits(
    replicas: Mapping[str, ReplicaInput], known: Capacities, ids: Collection[str], oldest: float
) -> dict[str, float]:
    """Seconds of work in line, by id, of those of whom it is known.

    Args:
        replicas: Of the pool.
        known: What each can carry.
        ids: Of those that are asked for.
        oldest: Counts from before that say nothing about now, seconds of a monotonic clock.
    """
    found = {}
    for id_ in ids:
        replica = replicas[id_]
        # Where nobody counts, that is of thousands.
        count = _count(replica.in_flight, oldest) if replica.in_flight else None
        if count is None:
            continue
        recent = lengths.lately(replica.window) if replica.window is not None else None
        times = recent[0] / known.tokens if recent is not None and known.tokens else 1.0
        line = max(count.requests - known.slots[id_], 0.0)
        found[id_] = line * times / known.carried[id_]
    return found


def _count(counts: tuple[InFlight, ...], oldest: float) -> InFlight | None:
    """By itself where it counts, else by Envoys: these forget what they sent to another tier."""
    recent = [count for count in counts if count.at >= oldest]
    return min(recent, key=lambda count: count.source != OWN, default=None)
