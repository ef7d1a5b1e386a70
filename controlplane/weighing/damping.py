"""How fast shares may move: relative to the median, within limits, step by step, or all equal."""

import math
from collections.abc import Iterable
from typing import Final

from controlplane.weighing.explanation import Step, number

FLOOR: Final = 0.05
"""Of the median: enough requests to see a slow replica recover."""
CEILING: Final = 10.0
"""Of the median: what a replica can attract at most by reporting that it is fast."""
STEP_DOWN: Final = 0.5
STEP_UP: Final = 1.5
"""What one scrape interval may change a share by."""
DEAD_BAND: Final = 0.05
"""Changes below this are noise, and every change makes Envoy rebuild its load balancer."""
EQUAL_WITHIN: Final = 0.15
EQUAL_UNTIL: Final = 0.22
"""Replicas of one kind differ by so much by chance. They become equal within the first limit and
stop to be beyond the second, so that a pool at the limit does not flap."""


def clamped(relative: float) -> float:
    """Within floor and ceiling."""
    return min(max(relative, FLOOR), CEILING)


def are_equal(relatives: Iterable[float], *, before: bool) -> bool:
    """Whether capacities, relative to their median, are to be treated as equal.

    Args:
        relatives: Of the replicas that get traffic.
        before: Whether they were equal so far.
    """
    limit = 1 + (EQUAL_UNTIL if before else EQUAL_WITHIN)
    return all(1 / limit <= relative <= limit for relative in relatives)


def rounds(since: float | None, now: float, interval: float) -> float:
    """How much of a step may be taken: the part of a scrape interval that has passed, at most 1.

    Steps compose: a pool that is weighed ten times in an interval moves as far as one that is
    weighed once; one that was not weighed for an hour still takes a single step.
    """
    return 1.0 if since is None else min(max((now - since) / interval, 0.0), 1.0)


def damped(previous: float | None, target: float, part: float) -> float:
    """Move a relative share towards its target.

    Args:
        previous: None for a replica that had none, which gets its target at once.
        target: Clamped.
        part: Of a full step, 0 to 1, by `rounds`.
    """
    if previous is None:
        return target
    low, high = math.pow(STEP_DOWN, part), math.pow(STEP_UP, part)
    return min(max(target, previous * low), previous * high)


def held(previous: int | None, weight: int, *, equal: bool) -> int:
    """The weight that Envoy is told: the one that it has, while the difference is only noise.

    Args:
        previous: What Envoy was told of the tier before; None if nothing.
        weight: What it should be.
        equal: All replicas are as good as equal, and so are to be all weights, exactly.
    """
    if previous is None or equal or abs(weight / previous - 1) > DEAD_BAND:
        return weight
    return previous


def median_step(relative: float, are_equal: bool) -> Step:  # noqa: FBT001 - of a key
    """From what a replica can carry, relative to the pool's median, to its target.

    Args:
        relative: To the median.
        are_equal: Whether it is treated as equal to all others.
    """
    target = 1.0 if are_equal else clamped(relative)
    return Step("median", relative, target, _to_the_median, (relative, target, are_equal))


def _to_the_median(relative: float, target: float, are_equal: bool) -> str:  # noqa: FBT001 - a fact
    words = f"{number(relative)} × the pool's median"
    if are_equal:
        words += ", and so are all, near enough: all are equal"
    elif target != relative:
        words += f", kept between {FLOOR:g} and {CEILING:g}"
    return words


def damping_step(previous: float | None, target: float, after: float) -> Step | None:
    """What to tell about a share that is not where it should be."""
    if previous is None or after == target:
        return None
    return Step("damping", target, after, _moving, (previous, after))


def _moving(previous: float, after: float) -> str:
    return f"moves from {number(previous)} to {number(after)} × the median, a step at a time"
