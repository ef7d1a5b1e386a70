"""What a control plane tells Envoys, and what Envoys tell it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

LOOK: Final = 0.1
"""Seconds between two load reports of every Envoy."""
SCRAPE: Final = 0.5
"""Seconds between two scrapes of a replica."""
TICK: Final = 0.25
"""Seconds between two decisions."""
SAMPLED: Final = 0.2
"""Part of the requests of which Envoys' access logs tell."""

Tiers = Mapping[str, tuple[Sequence[int], float]]
"""Numbers of replicas and locality weight, by the name of the tier."""


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """A class of requests as routes and one cluster see it.

    Attributes:
        name: ``""`` is what no other class takes.
        min_bytes: Bodies of so many bytes or more; of no meaning for ``""``.
        first: Tiers of priority 0.
        rest: Tiers of priority 1, which get requests as far as those of priority 0 are unhealthy.
    """

    name: str = ""
    min_bytes: float = math.inf
    first: Tiers = field(default_factory=dict)
    rest: Tiers = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """All that Envoys know.

    Attributes:
        classes: In the order in which they are matched; the one named ``""`` last.
    """

    classes: tuple[TrafficClass, ...]


class Load(NamedTuple):
    """What all Envoys report of one class's cluster; live, so do not keep it.

    Attributes:
        in_flight: Requests under way, by Envoy and by replica. An Envoy forgets those of a
            replica that has changed its tier.
        ended: Requests that were answered since the begin of the load, likewise; those that were
            forgotten are in none.
    """

    in_flight: Sequence[Sequence[int]]
    ended: Sequence[Sequence[int]]


class Control(Protocol):
    """A control plane. Replicas are numbers, times seconds of one clock."""

    def look(self, loads: Mapping[str, Load], now: float) -> None:
        """Take in the reports of all Envoys, by the name of the class; every `LOOK` seconds."""

    def scraped(self, number: int, text: str, now: float) -> None:
        """Take in what a replica exposes; every `SCRAPE` seconds, half of them at a time."""

    def sampled(self, name: str, number: int, size: int, seconds: float, now: float) -> None:
        """Take in a line of an access log.

        Args:
            name: Of the class whose cluster the request took.
            number: Of the replica that answered it.
            size: Bytes of its body.
            seconds: From when it came to when it was answered.
            now: When it was answered.
        """

    def decide(self, present: Sequence[int], now: float) -> Told:
        """What Envoys know from now on; every `TICK` seconds.

        Args:
            present: The replicas that are ready.
            now: Seconds of the clock.
        """


# What a contender does not look at, it is given all the same.


class Blind:
    """Has no use for what is reported; to be extended by `decide`."""

    blind = True

    def look(self, loads: Mapping[str, Load], now: float) -> None:
        """Nothing."""

    def scraped(self, number: int, text: str, now: float) -> None:
        """Nothing."""

    def sampled(self, name: str, number: int, size: int, seconds: float, now: float) -> None:
        """Nothing."""
