"""A fast veto beside the slow estimate: more in flight than a replica's capacity explains.

In come requests in flight from whoever counts them; out comes the line for whose sake a replica
gets next to nothing until it is served. It needs one count and no request that has ended, so it
speaks before any latency does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low
from typing import Final

from controlplane.weighing.damping import FLOOR
from controlplane.weighing.explanation import Step, counted, duration, number

SLACK: Final = 16.0
"""Requests in line that chance explains at a replica at the pool's median. Elsewhere they are more
or fewer in proportion to its share: as many as it serves in the same time."""
TIMES: Final = 3.0
"""How many times as long as usual in the pool a line may take to be served."""
LEFT: Final = 0.25
"""Part of `SLACK` to which a line must come down until the veto is over; and it must be no longer
than is usual. With one limit alone a line that stays near it would be vetoed again and again."""
OWN: Final = "queue"
"""The source that is the replica itself. It counts all that it has; an Envoy does not count what it
sent before the replica changed its tier."""
ENVOYS: Final = "load reports"
"""The source that is all Envoys together."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests that a replica had at one time, waiting ones included.

    Attributes:
        source: Who counted, as an operator knows it: `OWN` or `ENVOYS`.
        requests: How many.
        at: When, seconds of a monotonic clock.
    """

    source: str
    requests: float
    at: float


def most(counts: tuple[InFlight, ...], oldest: float) -> InFlight | None:
    """The highest of the counts that are not older than that: any source can object."""
    recent = [count for count in counts if count.at >= oldest]
    return max(recent, key=lambda count: (count.requests, count.source), default=None)


def usual_wait(
    counts: Mapping[str, InFlight], capacities: Mapping[str, float], slots: Mapping[str, int]
) -> float:
    """Seconds that a request waits in line, in the median over replicas, of two the shorter."""
    waits = [
        max(count.requests - slots[id_], 0.0) / capacities[id_] for id_, count in counts.items()
    ]
    return median_low(waits) if waits else 0.0


def line_to_serve(
    before: InFlight | None,
    count: InFlight,
    capacity: float,
    slots: int,
    usual: float,
    share: float,
    now: float,
) -> InFlight | None:
    """The line for whose sake a replica is to get next to nothing.

    Args:
        before: What this returned the last time.
        count: What it has.
        capacity: Requests per second that it is taken to carry.
        slots: Requests that it computes at the same time.
        usual: Seconds, by `usual_wait`.
        share: What it would get, relative to the median.
        now: Seconds of a monotonic clock.

    Returns:
        As it was when it was counted; None where there is nothing to object to.
    """
    if count.requests > explained(capacity, slots, usual, share, over=before is not None):
        lines = (count,) if before is None else (count, before)
        return max(lines, key=lambda line: line.at + line.requests / capacity)
    # What Envoys count is less as soon as the replica is in a tier of its own.
    if before is None or count.source == OWN or now >= before.at + before.requests / capacity:
        return None
    return before


def explained(capacity: float, slots: int, usual: float, share: float, *, over: bool) -> float:
    """Requests in flight that are nothing to object to.

    Args:
        capacity: See `line_to_serve`.
        slots: Likewise.
        usual: Likewise.
        share: Likewise.
        over: Whether they are to be so few that a veto is over.
    """
    if over:
        return slots + LEFT * SLACK * share + usual * capacity
    return slots + SLACK * share + TIMES * usual * capacity


def veto_step(count: InFlight, capacity: float, expected: float, before: float) -> Step:
    """What to tell about a share that is vetoed.

    Args:
        count: What the replica has.
        capacity: Requests per second that it is taken to carry.
        expected: By `explained`.
        before: Its share, relative to the median.
    """
    return Step("veto", before, min(before, FLOOR), _too_many, (count, capacity, expected))


def _too_many(count: InFlight, capacity: float, expected: float) -> str:
    if count.requests <= expected:
        now = counted(count.requests, "request")
        return f"its line of before is given time; {now} in flight by now"
    return (
        f"{counted(count.requests, 'request')} in flight ({count.source}) would take it"
        f" {duration(count.requests / capacity)}, {number(expected)} are explained"
    )
