"""What is simulated: replicas, load, sidecars, and what happens to a replica on the way."""

from dataclasses import dataclass
from typing import Final

from benchmarks.balance.scenario import MIXED_SPEEDS, Change

SERVICE: Final = 0.06
"""Mean seconds of a request at speed 1, as in the benchmark with real Envoys."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet and the load on it.

    Attributes:
        name: As tables call it.
        speeds: Of each replica, relative to one that needs `SERVICE` for a mean request.
        load: Requests that arrive, as a part of those that all replicas together can serve.
        slots: Of each replica.
        changes: In the order of time.
        joins: The last replica is not there before so many seconds, and takes five times as long
            for its first ten: its caches are cold.
        gpus: Pairs of replicas on one GPU, as in the benchmark with real Envoys.
        warm_up: Seconds before any request counts.
        measured: Seconds that count.
    """

    name: str
    speeds: tuple[float, ...]
    load: float
    slots: int = 1
    changes: tuple[Change, ...] = ()
    joins: float | None = None
    gpus: tuple[tuple[int, int], ...] = ()
    warm_up: float = 10.0
    measured: float = 50.0

    @property
    def rate(self) -> float:
        """Requests per second that arrive."""
        return self.load * self.slots * sum(self.speeds) / SERVICE


_SLOWED: Final = (Change(12.0, 1, 10.0), Change(32.0, 1, 0.1))
_COLD: Final = (Change(0.0, 7, 5.0), Change(22.0, 7, 0.2))

SCENARIOS: Final = {
    "mixed-60": Scenario("2 of speed 4, 6 of 1, 60 %", MIXED_SPEEDS, 0.6),
    "mixed-80": Scenario("2 of speed 4, 6 of 1, 80 %", MIXED_SPEEDS, 0.8),
    "mixed-90": Scenario("2 of speed 4, 6 of 1, 90 %", MIXED_SPEEDS, 0.9),
    "spread-80": Scenario(
        "speeds from 1 to 4, 80 %", tuple(4 ** (n / 11) for n in range(12)), 0.8
    ),
    "equal-80": Scenario("8 equal, 80 %", (1.0,) * 8, 0.8),
    "slots-80": Scenario("2 of speed 4, 6 of 1, 4 slots, 80 %", MIXED_SPEEDS, 0.8, slots=4),
    "shared-80": Scenario(
        "4 with a GPU each, 4 in pairs on two, 80 %", (2.0,) * 4 + (1.0,) * 4, 0.8,
        gpus=((4, 5), (6, 7)),
    ),
    "slowed-55": Scenario(
        "a fast replica at a tenth from 12 to 32 s, 55 %", MIXED_SPEEDS, 0.55,
        changes=_SLOWED, measured=30.0,
    ),
    "cold-80": Scenario(
        "an equal one joins at 12 s, cold for 10 s, 80 % of eight", (1.0,) * 8, 0.8,
        changes=_COLD, joins=12.0, measured=20.0,
    ),
}  # fmt: skip
