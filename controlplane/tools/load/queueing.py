"""Whether a queue stands or grows: requests in waiting, third by third of a run, in. Pure."""

from collections.abc import Sequence
from typing import Final, Literal

BACKLOG: Final = 0.25
"""Seconds of work for all replicas together; where less is waiting, nothing has grown."""

GROWTH: Final = 2.0
"""A queue that was so many times longer in a run's last third than in its first, with the second
between, grows. Runs begin with empty queues, so even growth with the square root of time shows."""


def queue(thirds: Sequence[float], capacity: float) -> Literal["steady", "growing"]:
    """Whether a queue grew from one third of a run to the next.

    Args:
        thirds: Requests without an answer, on average over each third.
        capacity: Requests per second that all replicas together can serve, or are sent.
    """
    first, second, third = thirds
    grew = first < second < third and third >= GROWTH * first
    return "growing" if grew and third >= BACKLOG * capacity else "steady"
