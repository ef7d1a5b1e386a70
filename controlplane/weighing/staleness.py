"""What silence means: one replica's ages towards the median, that of most makes us suspect us.

"If everyone else looks ill, suspect yourself" is the idea of Lifeguard (Dadgar, Phillips and
Currey, 2018), as in hashicorp/memberlist.
"""

import math
from collections.abc import Iterable
from typing import Final

from controlplane.weighing.explanation import Step, duration

FROZEN: Final = 3.0
"""Scrape intervals without a good scrape for which nothing changes."""
FORGOTTEN: Final = 10.0
"""Scrape intervals after which nothing that a replica once said counts."""


def is_stale(age: float | None, interval: float) -> bool:
    """Whether the last good scrape is too long ago.

    Args:
        age: Seconds; None before the first, which is a beginning and not a silence.
        interval: Seconds between two scrapes.
    """
    return age is not None and age > FROZEN * interval


def is_suspect(ages: Iterable[float | None], interval: float) -> bool:
    """Whether more than half of the replicas that were ever scraped are stale."""
    known = [age for age in ages if age is not None]
    return sum(is_stale(age, interval) for age in known) * 2 > len(known)


def by_age(
    age: float | None, interval: float, median: float, before: float
) -> tuple[float, Step | None]:
    """Move a capacity towards the median, on a straight line of its logarithm."""
    if age is None or not is_stale(age, interval):
        return before, None
    faded = min((age / interval - FROZEN) / (FORGOTTEN - FROZEN), 1.0)
    after = median
    if faded < 1:
        after = math.exp(math.log(before) * (1 - faded) + math.log(median) * faded)
    words = f"no good scrape for {duration(age)}: on its way to the pool's median"
    return after, Step("stale", before, after, words)
