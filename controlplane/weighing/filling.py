"""How fast GPU memory fills, so that a replica gets less before its memory is full.

By the time that a reading over the limit has led to less traffic, and what is already there is
served, a request more may not fit. So memory that has grown for some readings is taken for what it
will be by then. A caching allocator grows in jumps, and a jump is not growth: it must go on.
"""

from typing import Final

LOOKS: Final = 4
"""Intervals in which memory must have grown, in their first half and in their second."""
AHEAD: Final = 2.0
"""Intervals until less traffic shows: one for the next reading, one for what is there already."""

Trail = tuple[tuple[float, float], ...]
"""Memory in use, 0 to 1, at some times an interval apart: seconds and fractions, oldest first."""


def followed(trail: Trail, fraction: float | None, interval: float, now: float) -> Trail:
    """With what is in use now; nothing where that is not known.

    Args:
        trail: Before.
        fraction: Memory in use, 0 to 1.
        interval: Seconds between two readings.
        now: Seconds of a monotonic clock.
    """
    if fraction is None:
        return ()
    # Pools are weighed more often than their replicas are read.
    if trail and now - trail[-1][0] < 0.9 * interval:
        return trail
    return (*trail[-LOOKS:], (now, fraction))


def growth(trail: Trail) -> float:
    """What is filled per second, 0 or more: the slower half counts."""
    if len(trail) <= LOOKS:
        return 0.0
    (t0, first), (t1, middle), (t2, last) = trail[0], trail[LOOKS // 2], trail[-1]
    return max(min((middle - first) / (t1 - t0), (last - middle) / (t2 - t1)), 0.0)
