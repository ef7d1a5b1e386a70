"""How soon after a decision the next one may be made. Pure; the clock is passed in."""

from typing import Final

PUSH_INTERVAL: Final = 0.25
"""Seconds between two pushes: every changed weight makes Envoy rebuild its load balancer."""

DECIDING: Final = 0.1
"""Part of the time that decisions may take: with thousands of replicas they are made more rarely,
so that scrapes, streams and requests are not kept waiting. What needs no decision does not wait."""

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

    def spend(self, seconds: float, now: float) -> None:
        """Take in what a decision took.

        Args:
            seconds: Of CPU. What is more than can be saved is not held against the next decision:
                the first one encodes everything.
            now: Seconds of a monotonic clock.
        """
        self._left, self._at = self._saved(now) - min(seconds, SAVED), now

    def wait(self, now: float) -> float:
        """Seconds until the next decision may be made; 0: at once.

        Args:
            now: Seconds of a monotonic clock.
        """
        return max(0.0, -self._saved(now) / DECIDING)

    def _saved(self, now: float) -> float:
        return min(self._left + DECIDING * (now - self._at), SAVED)
