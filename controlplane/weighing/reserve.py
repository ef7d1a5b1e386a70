"""How much of each replica's capacity is kept free: for the mean wait to be least, not all alike.

In come shares in proportion to capacity and the pool's utilisation; out come shares that leave
each replica a reserve in proportion to the square root of its capacity (for M/M/1 queues that
minimises the mean time, the classical square-root rule of capacity assignment, Kleinrock 1964). A
fast replica empties its queue sooner, so it needs less in reserve for its speed, the more so the
less the pool has to do. Equal replicas stay equal.
"""

import math
from collections.abc import Mapping
from statistics import median
from typing import Final

from controlplane.weighing.explanation import Step, percent

QUANTUM: Final = 0.05
"""Steps in which the utilisation is taken: each one changes weights."""
EXPONENT: Final = 0.7
"""Of capacity, that reserves are in proportion to. By theory ½ gives the least mean for queues of
their own and 1 the same utilisation to all; in simulation ½ cost the median more than it gained
in the tail (see docs/decisions/0007)."""
LEAST_BUSY: Final = 0.6
"""Below this utilisation a pool is treated as if it had it: to take even more from slow replicas
would gain little, and what is known of them would rest on few requests."""
LEAST_PART: Final = 0.4
"""Of a share in proportion to its capacity that a replica keeps."""


def utilisation(previous: float | None, rate: float, capacity: float) -> float | None:
    """Of a pool: requests per second that come, of those that it can carry.

    Args:
        previous: The last value; it stays until it is wrong by a whole `QUANTUM`.
        rate: Requests per second.
        capacity: Of all, in the same unit.
    """
    if rate <= 0 or capacity <= 0:
        return previous
    now = min(max(rate / capacity, LEAST_BUSY), 1.0)
    if previous is not None and abs(now - previous) < QUANTUM:
        return previous
    return round(now / QUANTUM) * QUANTUM


def with_reserve(relatives: Mapping[str, float], used: float | None) -> dict[str, float]:
    """Shares relative to their median.

    Args:
        relatives: In proportion to capacity.
        used: By `utilisation`; None where that is not known, and nothing changes.
    """
    if used is None or not relatives:
        return dict(relatives)
    spare = (1 - used) * math.fsum(relatives.values())
    each = spare / math.fsum(relative**EXPONENT for relative in relatives.values())
    kept = {
        id_: relative * max(1 - each * relative ** (EXPONENT - 1), LEAST_PART)
        for id_, relative in relatives.items()
    }
    middle, usual = median(kept.values()), median(relatives.values())
    return {id_: value / middle * usual for id_, value in kept.items()}


def reserve_step(used: float | None, before: float, after: float) -> Step | None:
    """What to tell about it."""
    if used is None or before == after:
        return None
    return Step("reserve", before, after, _busy, (used,))


def _busy(used: float) -> str:
    return f"the pool is {percent(used)} busy: the faster a replica, the less it keeps in reserve"
