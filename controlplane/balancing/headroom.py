"""How much of each replica's capacity is kept free: headroom in proportion to a power of capacity.

A fast replica empties its queue sooner, so it needs less in reserve for its speed, the more so the
less the pool has to do (capacity assignment: Kleinrock, 1964). Equal replicas stay equal.
"""

import math
from typing import Final

import numpy as np

from controlplane.balancing.columns import Bools, Floats, median

FLOOR: Final = 0.05
"""Of the median: enough requests to see a slow replica recover."""
CEILING: Final = 10.0
"""Of the median: what a replica can attract at most by reporting that it is fast."""
QUANTUM: Final = 0.05
"""Steps in which utilisation counts: each one changes weights."""
EXPONENT: Final = 0.7
"""Of capacity, that headroom is in proportion to (1: the same utilisation for all; ½: Kleinrock's
square-root rule, which gives the least mean wait but costs the median more than the tail gains)."""
LEAST_BUSY: Final = 0.6
"""Utilisation that a pool is taken to have at least."""
LEAST_PART: Final = 0.4
"""Of a share in proportion to its capacity that a replica keeps."""


def with_headroom(shares: Floats, rows: Bools, used: float | None) -> Floats:
    """Shares that leave each replica its headroom.

    Args:
        shares: In proportion to capacity.
        rows: Those that the traffic is divided among; the others are left as they are.
        used: Utilisation; None: unknown, and nothing changes.
    """
    if used is None or not rows.any():
        return shares
    some = shares[rows]
    spare = (1 - used) * math.fsum(some)
    each = spare / math.fsum(some**EXPONENT)
    left = some * np.maximum(1 - each * some ** (EXPONENT - 1), LEAST_PART)
    found = shares.copy()
    least = np.minimum(some, FLOOR)
    found[rows] = np.clip(left / median(left) * median(some), least, CEILING)
    return found
