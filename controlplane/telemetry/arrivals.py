"""Where requests arise: how many Envoys have sent to each pool, by class and where they run."""

from collections.abc import Hashable, Mapping
from typing import Final

MOST_COUNTED: Final = 256
"""Classes of places of a pool of which counts are kept though no Envoy runs there any more."""

Arisen = Mapping[tuple[str, Hashable], float]
"""Requests so far, by class and place."""


class Arrivals:
    """Counts that only grow, as long as Envoys run at a place.

    A request counts when it is sent and not when it ends: where queues grow fewer end than come.
    """

    def __init__(self) -> None:
        """Begin without any Envoy."""
        self._places: dict[Hashable, Hashable] = {}
        self._counts: dict[str, dict[tuple[str, Hashable], float]] = {}

    def copy(self) -> "Arrivals":
        """The same, for whoever only reads."""
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
