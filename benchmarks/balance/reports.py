"""What a simulated replica says of itself: the exposition of TEI, and ORCA's header. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from math import exp
from typing import Final

from benchmarks.balance.replica import Replica

BOUNDS: Final = tuple(0.000015 * 1.5**power for power in range(39))
"""Seconds, of TEI's histograms."""

GPU_BYTES: Final = 16 * 2**30

REFRESH: Final = 0.25
"""Seconds between two measurements of what ORCA reports."""

MEMORY: Final = 3.0
"""Seconds after which a measurement counts 1/e in what ORCA reports. Less, and chance in the sizes
of a few requests moves it; more, and a replica that slows down shows it late."""


class Durations:
    """How long requests took, as a histogram of TEI."""

    def __init__(self) -> None:
        """Prepare an empty histogram."""
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a request."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def lines(self) -> list[str]:
        """In the exposition format."""
        lines, total = ["# TYPE te_request_duration histogram"], 0
        for bound, count in zip((*BOUNDS, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'te_request_duration_bucket{{le="{bound}"}} {total}')
        return [
            *lines,
            f"te_request_duration_sum {self._sum}",
            f"te_request_duration_count {total}",
        ]


def exposition(replica: Replica, durations: Durations, now: float) -> str:
    """What TEI would expose; and its GPU's memory, where it has one that can run out."""
    lines = [
        *durations.lines(),
        "# TYPE te_queue_size gauge",
        f"te_queue_size {replica.queue}",
        "# TYPE te_batch_next_tokens histogram",
        f"te_batch_next_tokens_sum {replica.completed_tokens}",
    ]
    if replica.memory is not None:
        lines += [
            "# TYPE te_gpu_memory_used_bytes gauge",
            f"te_gpu_memory_used_bytes {replica.memory.used(now) * GPU_BYTES:.0f}",
            "# TYPE te_gpu_memory_total_bytes gauge",
            f"te_gpu_memory_total_bytes {GPU_BYTES}",
        ]
    return "\n".join(lines) + "\n"


class Orca:
    """Utilization, requests and errors per second, measured honestly over the last seconds."""

    def __init__(self, replica: Replica) -> None:
        """Prepare reports of a replica that is idle.

        Args:
            replica: Whose.
        """
        self._replica = replica
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
        counters = (replica.busy(now) / replica.slots, replica.completed, replica.out_of_memory)
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
