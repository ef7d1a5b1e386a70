"""Requests as Envoys tell of them: how they were answered, and where they arise.

Answers are counted from samples. Unlike load reports, which count tries, a sample is a request with
all its tries and the time that its client waited. Envoys sample at random.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping
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
        errors: Answered with 429 or 5xx, by a replica or by Envoy.
        abandoned: Their client left before the answer.
        slow: Of `ok` and `abandoned`, those that took longer than the objective.
        seconds: That all of `ok` took.
    """

    ok: int = 0
    errors: int = 0
    abandoned: int = 0
    slow: int = 0
    seconds: float = 0.0
    _counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, samples: Iterable[Sample], objective: float | None) -> None:
        """Count requests of the class; `objective`: the seconds that one may take."""
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


MOST_COUNTED: Final = 256
"""Counts of a pool, by class and place, that stay though no Envoy runs there any more."""

Arisen = Mapping[tuple[str, Hashable], float]
"""Requests so far, by class and place."""


class Arrivals:
    """Counts that only grow, as long as Envoys run at a place.

    A request counts when it is sent and not when it ends: where queues grow fewer end than come.
    """

    def __init__(self) -> None:
        self._places: dict[Hashable, Hashable] = {}
        self._counts: dict[str, dict[tuple[str, Hashable], float]] = {}

    def copy(self) -> "Arrivals":
        """Copy the counts, for a reader."""
        other = Arrivals()
        other._counts = {pool: dict(counts) for pool, counts in self._counts.items()}
        return other

    def of(self, pool: str) -> Arisen:
        """What has arisen for a pool."""
        return self._counts.get(pool, {})

    def came(self, reporter: Hashable, place: Hashable) -> None:
        """Take note of where an Envoy runs that is about to report."""
        self._places[reporter] = place

    def left(self, reporter: Hashable) -> None:
        """An Envoy has gone. One that connects anew is counted on."""
        self._places.pop(reporter, None)
        for counts in self._counts.values():
            # Names of places are anybody's invention.
            if len(counts) > MOST_COUNTED:
                used = {*self._places.values()}
                for key in [key for key in counts if key[1] not in used]:
                    del counts[key]

    def forget(self, pool: str) -> None:
        """A pool has gone."""
        self._counts.pop(pool, None)

    def sent(self, pool: str, reporter: Hashable, requests: Mapping[str, float]) -> None:
        """Count what an Envoy has sent to a pool since it reported last, by class."""
        if reporter not in self._places:
            return
        place, counts = self._places[reporter], self._counts.setdefault(pool, {})
        for name, count in requests.items():
            counts[name, place] = counts.get((name, place), 0) + max(count, 0)
