"""How a pool's requests were answered, as clients saw it: what Envoys sampled in, counters out.

Unlike load reports, which count tries, a sample is a request with all its tries and the time that
its client waited. Envoys sample at random, so a part of the samples is that part of the requests.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from controlplane.telemetry.sizes import Sample

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; upper bounds of the buckets, the one without a bound left out."""

TOO_MANY_REQUESTS: Final = 429


@dataclass(slots=True)
class Answers:
    """Requests of one class, since the control plane began.

    Attributes:
        ok: Answered.
        errors: Answered with 429 or 5xx, by a replica or by Envoy.
        abandoned: Their client left before the answer.
        slow: Of `ok` and `abandoned`, those that took longer than their objective says; 0 without
            an objective.
        seconds: That all of `ok` took.
    """

    ok: int = 0
    errors: int = 0
    abandoned: int = 0
    slow: int = 0
    seconds: float = 0.0
    _counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, samples: Iterable[Sample], objective: float | None) -> None:
        """Count more requests.

        Args:
            samples: Of the class.
            objective: Seconds that one may take; None: nothing is promised.
        """
        for sample in samples:
            if sample.status == TOO_MANY_REQUESTS or sample.status >= 500:
                # An error is fast or slow for its own reasons, and counts against another promise.
                self.errors += 1
                continue
            if sample.status:
                self.ok += 1
                self.seconds += sample.seconds
                self._counts[bisect_left(BOUNDS, sample.seconds)] += 1
            else:
                self.abandoned += 1
            self.slow += objective is not None and sample.seconds > objective

    @property
    def results(self) -> Mapping[str, int]:
        """How many there were, by how they ended."""
        return {"ok": self.ok, "error": self.errors, "abandoned": self.abandoned}

    @property
    def buckets(self) -> tuple[int, ...]:
        """How many of `ok` took at most each of `BOUNDS`, and the number of all of them."""
        return tuple(accumulate(self._counts))
