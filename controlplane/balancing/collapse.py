"""A collapse, seen before the requests that suffer from it have ended.

Durations speak only of requests that have ended, and those of a replica that has become ten times
slower end ten times later. But while it had more in line than it finished, it was busy all the
time, and the work that it then did not do is known at once. The shortfall is a cumulative sum chart
(E. S. Page, "Continuous inspection schemes", 1954) of half the work that it should have done less
the work that it did.
"""

from typing import Final

import numpy as np

from controlplane.balancing.columns import Bools, Floats

LATE: Final = 0.5
"""Part of the work it should do that a replica is held to."""
FEW: Final = 0.5
"""Longest requests that the shortfall may be when some have just ended."""
MOST: Final = 2.0
"""The same when none has ended, or it is not known how long they were: the one that it
computes may be very long."""
BATCHES: Final = 4.0
"""Full batches that it may be: what a batch computes ends all at once."""

TOKENS, SECONDS, ENDED, WORK, IN_FLIGHT = range(5)
COLUMNS: Final = 5


def shortfall(
    before: Floats,
    *,
    in_flight: Floats,
    ended: Floats,
    work: Floats,
    seconds: Floats,
    capacity: Floats,
    slots: Floats,
    in_flight_length: Floats,
    longest: Floats,
    full: Floats,
    are_measured: Bools,
) -> tuple[Floats, Bools]:
    """Take in what replicas did between two readings.

    Args:
        before: The shortfall of each: tokens, seconds for which the replica has been busy since,
            requests and tokens that ended meanwhile, and requests in flight at the reading before.
        in_flight: Requests at the newer reading; NaN: nobody counts.
        ended: Requests that ended in between.
        work: The same in tokens.
        seconds: In between.
        capacity: Tokens per second that each is taken to carry; NaN: unknown.
        slots: Requests that each computes at a time.
        in_flight_length: Mean tokens of a request in flight at each.
        longest: Tokens of the longest request that is to be expected at each.
        full: Tokens of a full batch; 0 where nothing is batched.
        are_measured: Whether the tokens of ended requests were counted.

    Returns:
        The shortfall now, and which replicas have more of it than long requests explain.
    """
    # So many of the first requests are still there, however many came since.
    left = before[:, IN_FLIGHT] - ended
    busy = (left >= slots) & ~np.isnan(capacity) & (seconds > 0)
    # Batches of little take about as long as full ones of a fast replica.
    waiting = left * in_flight_length
    filled = np.where(full > 0, np.minimum(waiting / np.maximum(full, 1.0), 1.0), 1.0)
    expected = np.where(busy, LATE * capacity * filled * seconds, 0.0)
    tokens = before[:, TOKENS] + expected - work
    has_shortfall = tokens > 0
    found = np.zeros_like(before)
    found[:, IN_FLIGHT] = in_flight
    found[has_shortfall, TOKENS] = tokens[has_shortfall]
    added = np.column_stack([seconds, ended, work])
    grown = before[:, SECONDS : WORK + 1] + np.where(busy[:, None], added, 0.0)
    found[has_shortfall, SECONDS : WORK + 1] = grown[has_shortfall]
    few = FEW * longest + expected
    explained = np.where((ended > 0) & are_measured, few, MOST * longest)
    explained += (slots - 1) * in_flight_length
    explained = np.maximum(explained, BATCHES * full)
    return found, np.asarray(has_shortfall & busy & (tokens > explained))
