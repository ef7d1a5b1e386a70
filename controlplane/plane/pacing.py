"""How soon after a decision the next one may be made. Pure; the clock is passed in."""

from typing import Final

PUSH_INTERVAL: Final = 0.25
"""Seconds between two pushes: every changed weight makes Envoy rebuild its load balancer."""

DECIDING: Final = 0.1
"""Part of the time that decisions may take: with thousands of replicas they are made more rarely,
so that scrapes, streams and requests are not kept waiting."""

SAVED: Final = 1.0
"""Seconds of deciding that are saved up while there is nothing to decide: after a quiet time the
first changes in a pool of thousands do not wait for one another."""


class Pacing:
    """Time that decisions may take, as a bucket that fills by `DECIDING` a second."""

    def __init__(self, now: float) -> None:
        """Begin with all that can be saved.

        Args:
            now: Seconds of a monotonic clock.
        """
        self._left, self._at = SAVED, now

    def pause(self, took: float, now: float) -> float:
        """Seconds until the next decision.

        Args:
            took: Seconds of CPU that the one that is just over took. What is more than can be saved
                is not held against the next: the first one encodes everything.
            now: Seconds of a monotonic clock.
        """
        filled = min(self._left + DECIDING * (now - self._at), SAVED)
        self._left, self._at = filled - min(took, SAVED), now
        return max(PUSH_INTERVAL, -self._left / DECIDING)
