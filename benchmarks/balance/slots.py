"""A queue in front of slots that work at the same time: when a request will be done."""

from heapq import heapify, heapreplace


class Slots:
    """First come, first served by the slot that is free first.

    Times are computed, not waited for: a timer that fires a millisecond late delays one answer
    and not everything behind it, so a replica has exactly the capacity that it should have.
    """

    def __init__(self, count: int) -> None:
        """Prepare slots that are free.

        Args:
            count: How many.
        """
        self._free_at = [float("-inf")] * count
        heapify(self._free_at)

    def admit(self, now: float, service: float) -> float:
        """Take a request in.

        Args:
            now: When it came, in seconds; never less than at the call before.
            service: Seconds that it takes in a slot.

        Returns:
            When it will be done.
        """
        done = max(now, self._free_at[0]) + service
        heapreplace(self._free_at, done)
        return done
