"""What is asked of every contender alike: replicas, load, sidecars, and how long."""

from dataclasses import dataclass, replace
from typing import Final, Self

MEAN_TOKENS: Final = 100.0
"""Of a request's text."""

BYTES_PER_TOKEN: Final = 4
"""Of a request's text, as of English: proxies see how long a request is, whoever looks."""

ALONE: Final = 2.0
"""How many times as fast a replica is while the one that shares its GPU has nothing to do. At 2
the two together are never faster than the GPU is, as with CUDA contexts that take turns."""


@dataclass(frozen=True, slots=True)
class Change:
    """From some time on a replica takes so many times as long.

    Attributes:
        at: Seconds after the begin of the load.
        replica: Which one.
        factor: Above 1 it is slower.
    """

    at: float
    replica: int
    factor: float


@dataclass(frozen=True, slots=True)
class Filling:
    """Somebody else's memory grows on the GPU of a replica; see `benchmarks.balance.memory`.

    Attributes:
        replica: Which one; all others have their GPU to themselves.
        begin: Seconds after the begin of the load.
        end: Likewise.
        most: Part of the GPU's memory that is taken in the end.
    """

    replica: int
    begin: float
    end: float
    most: float

    def takes(self, at: float) -> float:
        """What is taken so many seconds after the begin of the load."""
        return self.most * min(max((at - self.begin) / (self.end - self.begin), 0.0), 1.0)


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


STEADY: Final = Timing(warm_up=10, measured=12)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet and the load on it.

    Attributes:
        name: As options and files call it.
        sidecars: Proxies that requests are dealt to in turn.
        speeds: Of each replica, relative to one that needs `token_seconds` for a token.
        load: Requests that arrive, as a part of those that all replicas together can serve.
        slots: Requests that each replica computes at the same time.
        token_seconds: Service time of one token at speed 1. Long enough that proxies, the
            generator and this machine's noise are small beside it.
        timing: How long.
        changes: Of replicas' speeds.
        joins: The last replica has no model before so many seconds, and says so to health checks.
        filling: Of a GPU's memory; None: memory is no matter.
        gpus: Pairs of replicas on one GPU: each has `ALONE` times its speed while the other is
            idle.
    """

    name: str
    sidecars: int
    speeds: tuple[float, ...]
    load: float
    slots: int = 1
    token_seconds: float = 0.0006
    timing: Timing = STEADY
    changes: tuple[Change, ...] = ()
    joins: float | None = None
    filling: Filling | None = None
    gpus: tuple[tuple[int, int], ...] = ()

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

    @property
    def ready_at_first(self) -> int:
        """Replicas that serve from the begin on."""
        return len(self.speeds) - (self.joins is not None)

    @property
    def cell(self) -> str:
        """Its name with the number of sidecars, which together nothing else has."""
        return f"{self.name}, {self.sidecars} sidecar{'s' * (self.sidecars > 1)}"

    def behind(self, sidecars: int) -> Self:
        """The same with so many sidecars."""
        return replace(self, sidecars=sidecars)

    def stretched(self, factor: float) -> Self:
        """The same with service times so many times as long, at the same load."""
        return replace(self, token_seconds=factor * self.token_seconds)


MIXED_SPEEDS: Final = (4.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
