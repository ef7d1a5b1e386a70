"""What a busy replica owes: a sum that shows a collapse before the requests that suffer have ended.

In come readings one after the other; out comes how far a replica is behind what it should have
done meanwhile. Durations speak only of requests that have ended, and those of a replica that has
become ten times slower end ten times later. But while it had more in line than it finished, it was
busy all the time, and what it then did not do is known at once. The sum is a cumulative sum chart
(E. S. Page, "Continuous inspection schemes", 1954) of half the work that it should do less the
work that it did.
"""

from dataclasses import dataclass
from typing import Final

LATE: Final = 0.5
"""Part of the work it should do that a replica is held to. One that does more is no collapse: what
its requests say about it shows in time."""
FEW: Final = 10.0
"""Requests of the usual length that it may owe, beside one for each slot, when some have just
ended: servers that compute a batch finish all of it at once. It may also owe what it should have
done since the reading before, because what it computes now may be a long one, begun since."""
MOST: Final = 40.0
"""That it may owe when none has ended, or it is not known how long those were: the one that it
computes may be a very long one. It would be eighty times the usual length; of lognormal ones with
sigma 1 one in two million is."""


@dataclass(frozen=True, slots=True)
class Owed:
    """How far a replica is behind.

    Attributes:
        requests: Of the usual length, that it should have done and has not.
        seconds: For which it has been busy since it owes anything.
        ended: Requests that ended meanwhile.
        work: The same in requests of the usual length.
        in_flight: Requests at the newest reading, waiting ones included; None where nobody counts.
        is_collapse: Whether that is more than long requests explain.
    """

    requests: float = 0.0
    seconds: float = 0.0
    ended: float = 0.0
    work: float = 0.0
    in_flight: float | None = None
    is_collapse: bool = False


def owed(
    before: Owed,
    *,
    in_flight: float | None,
    ended: float,
    work: float,
    seconds: float,
    capacity: float,
    slots: int,
    are_measured: bool,
) -> Owed:
    """Take in what a replica did from one reading to the next.

    Args:
        before: At the reading before.
        in_flight: Requests at the newer one, waiting ones included; None where nobody counts.
        ended: Requests that ended in between.
        work: The same in requests of the usual length.
        seconds: In between.
        capacity: Usual requests per second that it is taken to carry.
        slots: Requests that it computes at the same time.
        are_measured: Whether it is known how long those that ended were; a very long one that is
            counted as a usual one pays nothing back.
    """
    if not ended and in_flight == before.in_flight:
        # Not a number is another one: perhaps a page that is served from a cache.
        return before
    # Whatever came meanwhile: of those that were there at first, so many are there still.
    left = -1.0 if before.in_flight is None else before.in_flight - ended
    expected = LATE * capacity * seconds if left >= slots else 0.0
    requests = before.requests + expected - work
    if requests <= 0:
        return Owed(in_flight=in_flight)
    if not expected:
        return Owed(requests, before.seconds, before.ended, before.work, in_flight)
    explained = slots + (FEW + expected if ended and are_measured else MOST)
    return Owed(
        requests,
        before.seconds + seconds,
        before.ended + ended,
        before.work + work,
        in_flight,
        requests > explained,
    )
