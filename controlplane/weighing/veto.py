"""A fast veto beside the slow estimate: more in flight than a replica's capacity explains.

In come requests in flight from whoever counts them; out comes what is left of a share until they
are fewer. It needs one count and no request that has ended, so it speaks before any latency does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low
from typing import Final

from controlplane.weighing.damping import FLOOR
from controlplane.weighing.explanation import Step, counted, duration, number

SLACK: Final = 16.0
"""Requests in line that chance explains at a replica. Where one is slower than the pool's median
they are fewer in proportion, because a line of them takes so much longer."""
TIMES: Final = 3.0
"""How many times as long as usual in the pool a line may take to be served."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests that a replica had at one time, waiting ones included.

    Attributes:
        source: Who counted, as an operator knows it: ``"queue"``, ``"load reports"``.
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


def by_in_flight(
    count: InFlight, capacity: float, slots: int, usual: float, before: float
) -> tuple[float, Step | None]:
    """Less for a replica with a longer line than its capacity explains.

    Args:
        count: What it has.
        capacity: Requests per second that it is taken to carry.
        slots: Requests that it computes at the same time.
        usual: Seconds, by `usual_wait`.
        before: Its share, relative to the median.
    """
    explained = slots + SLACK * min(before, 1.0) + TIMES * usual * capacity
    if count.requests <= explained:
        return before, None
    after = max(before * explained / count.requests, min(before, FLOOR))
    return after, Step("veto", before, after, _too_many, (count, capacity, explained))


def _too_many(count: InFlight, capacity: float, explained: float) -> str:
    return (
        f"{counted(count.requests, 'request')} in flight ({count.source}) would take it"
        f" {duration(count.requests / capacity)}, {number(explained)} are explained"
    )
