"""Quantiles of durations, and whether a queue grows. Pure."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

GROWTH: Final = 1.01
"""From one bucket's upper bound to the next: a quantile is at most so many times the true one."""

SMALLEST: Final = 1e-6
"""Seconds; what is shorter is in the first bucket."""

_LOG_GROWTH: Final = math.log(GROWTH)

BACKLOG: Final = 0.25
"""Seconds of work for all replicas together; where less is waiting, no queue has grown."""

QUEUE_GROWTH: Final = 2.0
"""A queue grows if it is so many times longer in a run's last third than in its first, with the
second between. Runs begin with empty queues, so growth with the square root of time shows too."""


def nearest_rank(values: Sequence[float], part: float) -> float:
    """Return the smallest value that so large a part of the values does not exceed."""
    return sorted(values)[_rank(part, len(values)) - 1]


def _rank(part: float, count: int) -> int:
    # 0.999 × 1000 is 999.0000000000001 in binary; a rank must not depend on that.
    return max(math.ceil(round(part * count, 6)), 1)


@dataclass(slots=True)
class Histogram:
    """Durations in buckets that grow by `GROWTH`; an hour of load needs some kilobytes.

    Attributes:
        total: Their sum in seconds.
        longest: The longest one, exactly; 0 of none.
    """

    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    _buckets: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """Add a duration; a negative one, which only a clock's resolution makes, counts as 0."""
        seconds = max(seconds, 0.0)
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        self._buckets[_bucket(seconds)] += 1

    @property
    def mean(self) -> float | None:
        """Seconds; None of nothing."""
        return self.total / self.count if self.count else None

    def quantile(self, part: float, endless: int = 0) -> float | None:
        """Return the duration that so large a part does not exceed, at most `GROWTH` × too long.

        Args:
            endless: How many more there were that never ended.

        Returns:
            Seconds; infinity among the endless ones, None of nothing.
        """
        if not self.count + endless:
            return None
        rank = _rank(part, self.count + endless)
        if rank > self.count:
            return math.inf
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return min(SMALLEST * GROWTH**bucket, self.longest)
        return self.longest

    def curve(self) -> list[tuple[float, float]]:
        """Return points of the distribution: seconds, and the part that takes no longer."""
        seen, points = 0, []
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            points.append((min(SMALLEST * GROWTH**bucket, self.longest), seen / self.count))
        return points


def _bucket(seconds: float) -> int:
    if seconds <= SMALLEST:
        return 0
    return math.ceil(math.log(seconds / SMALLEST) / _LOG_GROWTH)


def queue(thirds: Sequence[float], capacity: float) -> Literal["steady", "growing"]:
    """Tell whether a queue grew from one third of a run to the next.

    Args:
        thirds: Requests without an answer, on average over each third.
        capacity: Requests per second that all replicas together can serve, or are sent.
    """
    first, second, third = thirds
    grew = first < second < third and third >= QUEUE_GROWTH * first
    return "growing" if grew and third >= BACKLOG * capacity else "steady"
