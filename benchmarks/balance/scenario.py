"""What is asked of every contender alike: replicas, load, sidecars, and how long."""

from dataclasses import dataclass
from typing import Final

MEAN_TOKENS: Final = 100.0
"""Of a request's text."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet and the load on it.

    Attributes:
        name: As tables and files call it.
        sidecars: Proxies that requests are dealt to in turn.
        speeds: Of each replica, relative to one that needs `token_seconds` for a token.
        load: Requests that arrive, as a part of those that all replicas together can serve.
        slots: Requests that each replica computes at the same time.
        token_seconds: Service time of one token at speed 1. Long enough that proxies, the
            generator and this machine's noise are small beside it.
    """

    name: str
    sidecars: int
    speeds: tuple[float, ...]
    load: float
    slots: int = 1
    token_seconds: float = 0.0006

    @property
    def capacity(self) -> float:
        """Requests per second that all replicas together can serve."""
        return self.slots * sum(self.speeds) / (MEAN_TOKENS * self.token_seconds)

    @property
    def rate(self) -> float:
        """Requests per second that arrive."""
        return self.load * self.capacity

    @property
    def fast(self) -> frozenset[int]:
        """The replicas that are faster than the slowest."""
        return frozenset(n for n, speed in enumerate(self.speeds) if speed > min(self.speeds))

    @property
    def fair_to_fast(self) -> float:
        """The part of all requests that the fast replicas get where all are loaded alike."""
        return sum(self.speeds[number] for number in self.fast) / sum(self.speeds)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a run takes.

    Attributes:
        warm_up: Seconds of load before any request counts, for connections and for what a
            contender learns; the same for all.
        measured: Seconds of load that count.
    """

    warm_up: float
    measured: float

    @property
    def total(self) -> float:
        """Seconds of load."""
        return self.warm_up + self.measured


MIXED_SPEEDS: Final = (4.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def scenarios(sidecars: int) -> tuple[Scenario, ...]:
    """Two fast replicas among eight, behind one proxy and behind many sidecars."""
    return tuple(
        Scenario(f"{count} sidecar{'s' * (count > 1)}", count, MIXED_SPEEDS, load=0.8)
        for count in sorted({1, sidecars})
    )
