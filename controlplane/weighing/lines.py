"""How much work is in line at each replica, and how soon that is known again.

In come counts of requests in flight from whoever makes them, out come seconds.
"""

from collections.abc import Collection, Mapping
from typing import Final

from controlplane.signals.reporting import report_interval
from controlplane.weighing import lengths
from controlplane.weighing.capacities import Capacities
from controlplane.weighing.replica import ReplicaInput
from controlplane.weighing.veto import ENVOYS, OWN, InFlight

HORIZON: Final = 2.0
"""Times after which a line that was read has changed traffic, in which a difference between lines
is to be gone."""
SOONEST: Final = 0.2
"""That time at least, seconds: decisions are a quarter of one apart, and reports a tenth."""


def horizon(
    replicas: Mapping[str, ReplicaInput],
    ids: Collection[str],
    interval: float,
    envoys: int | None,
) -> float:
    """Seconds in which a difference between lines is to be gone.

    Args:
        replicas: Of the pool.
        ids: Of those whose lines count.
        interval: Seconds between two scrapes.
        envoys: How many report; None where that is not known.
    """
    reported = report_interval(envoys or 1, len(replicas))
    times = ((interval, OWN), (reported, ENVOYS))
    of_all = [seconds for seconds, source in times if _are_counted(replicas, ids, source)]
    return HORIZON * max(min(of_all, default=max(interval, reported)), SOONEST)


def waits(
    replicas: Mapping[str, ReplicaInput],
    known: Capacities,
    ids: Collection[str],
    oldest: float,
    now: float,
) -> dict[str, float]:
    """Seconds of work in line, by id, of those of whom it is known.

    Args:
        replicas: Of the pool.
        known: What each can carry.
        ids: Of those that are asked for.
        oldest: Counts from before that say nothing about now, seconds of a monotonic clock.
        now: On that clock.
    """
    found = {}
    for id_ in ids:
        replica = replicas[id_]
        # Where nobody counts, that is of thousands.
        if not replica.in_flight:
            continue
        recent = lengths.lately(replica.window) if replica.window is not None else None
        times = recent[0] / known.tokens if recent is not None and known.tokens else 1.0
        carries = known.carried[id_] / times
        counts = {it.source: it for it in replica.in_flight if it.at >= oldest}
        if counts:
            found[id_] = max(_counted(counts, carries, now) - known.slots[id_], 0.0) / carries
    return found


def _are_counted(replicas: Mapping[str, ReplicaInput], ids: Collection[str], source: str) -> bool:
    return all(any(it.source == source for it in replicas[id_].in_flight) for id_ in ids)


def _counted(counts: Mapping[str, InFlight], carries: float, now: float) -> float:
    """What a replica has in flight now.

    Its own count is complete, but as old as its last scrape. That of Envoys is newer, but they
    forget what they sent to a replica that has changed its tier, and one may be stuck: it counts
    as far as the other can have become it since, at the pace of the replica.
    """
    own, reported = counts.get(OWN), counts.get(ENVOYS)
    if own is None or reported is None:
        return next(it.requests for it in (own, reported) if it is not None)
    since = carries * (now - own.at)
    return min(max(reported.requests, own.requests - since), own.requests + since)
