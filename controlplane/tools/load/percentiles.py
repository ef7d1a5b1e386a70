"""Quantiles: of a few values exactly, of many within a hundredth in little memory. Pure."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

GROWTH: Final = 1.01
"""From one bucket's upper bound to the next: a quantile is at most so many times the true one."""

SMALLEST: Final = 1e-6
"""Seconds; what is shorter is in the first bucket."""

_LOG_GROWTH: Final = math.log(GROWTH)


def nearest_rank(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part of the values does not exceed.

    Args:
        values: At least one.
        part: 0 to 1.
    """
    return sorted(values)[_rank(part, len(values)) - 1]


def _rank(part: float, count: int) -> int:
    # 0.999 × 1000 is 999.0000000000001 in binary; a rank must not depend on that.
    return max(math.ceil(round(part * count, 6)), 1)


@dataclass(slots=True)
class Histogram:
    """Durations in buckets that grow by `GROWTH`; what an hour of load needs is some kilobytes.

    Attributes:
        count: How many durations there are.
        total: Their sum in seconds.
        longest: The longest one, exactly; 0 of none.
    """

    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    _buckets: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """Take one in; a negative one, which only a clock's resolution makes, is 0."""
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
        """The duration that so large a part of all does not exceed, at most `GROWTH` times as long.

        Args:
            part: 0 to 1.
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
        """Points of the distribution: a duration in seconds, and the part that it covers."""
        seen, points = 0, []
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            points.append((min(SMALLEST * GROWTH**bucket, self.longest), seen / self.count))
        return points


def _bucket(seconds: float) -> int:
    if seconds <= SMALLEST:
        return 0
    return math.ceil(math.log(seconds / SMALLEST) / _LOG_GROWTH)
