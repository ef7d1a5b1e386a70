"""Histograms as servers expose them in the Prometheus text format."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

DURATIONS: Final = tuple(accumulate([0.00001 * 1.5] + [1.5] * 34, lambda bound, by: bound * by))
"""Seconds: the 35 buckets of text-embeddings-inference (router/src/prometheus.rs)."""


class Counts:
    """A histogram."""

    def __init__(self, family: str, bounds: Sequence[float], labels: str = "") -> None:
        """Prepare an empty histogram.

        Args:
            family: Its name.
            bounds: Upper bounds of its buckets but the last, which is infinite.
            labels: What all its samples carry beside ``le``, such as ``engine="0"``.
        """
        self.count = 0
        self.total = 0.0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        also, own = (f",{labels}", f"{{{labels}}}") if labels else ("", "")
        self._type = f"# TYPE {family} histogram"
        self._buckets = [f'{family}_bucket{{le="{bound}"{also}}} ' for bound in (*bounds, "+Inf")]
        self._sum, self._count = f"{family}_sum{own} ", f"{family}_count{own} "

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += times
        self.total += value * times
        self.count += times

    def lines(self) -> list[str]:
        """In the exposition format."""
        cumulative = accumulate(self._counts)
        samples = zip(self._buckets, cumulative, strict=True)
        return [
            self._type,
            *[f"{before}{count}" for before, count in samples],
            f"{self._sum}{self.total}",
            f"{self._count}{self.count}",
        ]


def sample(family: str, kind: str, value: float, labels: str = "") -> list[str]:
    """A family with one sample."""
    own = f"{{{labels}}}" if labels else ""
    return [f"# TYPE {family} {kind}", f"{family}{own} {value}"]
