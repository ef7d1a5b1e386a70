"""Where Envoys and replicas run, and how far that is from one another."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A region and a zone in it; empty where it is not said."""

    region: str = ""
    zone: str = ""

    def distance(self, other: "Place") -> int:
        """How far it is: 0 for the same zone, 1 for the same region, 2 for any other."""
        if not self.region and not self.zone:
            return 2
        if self == other:
            return 0
        return 1 if self.region and self.region == other.region else 2


NOWHERE: Final = Place()
"""The place of an Envoy that does not say where it runs."""


def priorities(here: Place, places: Iterable[Place]) -> dict[Place, int]:
    """Which replicas an Envoy uses first, by where they are.

    Args:
        here: Where the Envoy runs.
        places: Where replicas run.

    Returns:
        0 for the nearest, then 1 and 2 without a gap, as Envoy counts priorities.
    """
    distances = {place: here.distance(place) for place in places}
    ranks = {distance: rank for rank, distance in enumerate(sorted({*distances.values()}))}
    return {place: ranks[distance] for place, distance in distances.items()}
