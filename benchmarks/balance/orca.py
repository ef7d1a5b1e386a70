"""What a replica reports in ORCA's header. Pure."""

from collections.abc import Sequence
from math import exp
from typing import Final

from benchmarks.worlds.server import OUT_OF_MEMORY, Server

REFRESH: Final = 0.25
"""Seconds between two measurements of what ORCA reports."""

MEMORY: Final = 3.0
"""Seconds after which a measurement counts 1/e in what ORCA reports. Less, and chance in the sizes
of a few requests moves it; more, and a replica that slows down shows it late."""


class Orca:
    """Utilization, requests and errors per second, measured honestly over the last seconds."""

    def __init__(self, replica: Server, slots: int) -> None:
        """Prepare reports of a replica that is idle.

        Args:
            replica: Whose.
            slots: Requests, or batches, that it computes at the same time.
        """
        self._replica, self._slots = replica, slots
        self._measured_at: float | None = None
        self._counters: Sequence[float] = (0.0, 0, 0)
        self._rates = [0.0, 0.0, 0.0]
        self._known = 0.0
        self._header = ""

    def header(self, now: float) -> str:
        """The value of ``endpoint-load-metrics``; empty before anything is known."""
        if self._measured_at is None:
            self._measured_at = now
        if now - self._measured_at >= REFRESH:
            self._measure(now, now - self._measured_at)
        return self._header

    def _measure(self, now: float, seconds: float) -> None:
        replica = self._replica
        errors = replica.refused.get(OUT_OF_MEMORY, 0)
        counters = (replica.busy(now) / self._slots, replica.answered, errors)
        fresh = 1 - exp(-seconds / MEMORY)
        # Weights of the past that begins with nothing add up to `known`, not to 1.
        self._known = self._known * (1 - fresh) + fresh
        self._rates = [
            rate * (1 - fresh) + fresh * (new - old) / seconds
            for rate, new, old in zip(self._rates, counters, self._counters, strict=True)
        ]
        self._counters, self._measured_at = counters, now
        utilization, rps, eps = (rate / self._known for rate in self._rates)
        self._header = (
            f"TEXT application_utilization={min(utilization, 1.0):.4f},"
            f"rps_fractional={rps + eps:.3f},eps={eps:.3f}"
        )
