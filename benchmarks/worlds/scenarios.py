"""What is asked of every contender alike: servers, fleet, traffic, load, and what happens to it."""

from dataclasses import dataclass, replace
from typing import Final, Self

from benchmarks.worlds import traffic
from benchmarks.worlds.memory import Filling
from benchmarks.worlds.traffic import Traffic
from benchmarks.worlds.worlds import (
    BATCHING,
    GPU,
    INFINITY,
    SLOTS,
    TEI,
    TRITON,
    VLLM,
    SlotsWorld,
    World,
)


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
class Timing:
    """How long a run takes.

    Attributes:
        warm_up: Seconds of load before any request counts, for what a contender learns; the same
            for all.
        measured: Seconds of load that count.
    """

    warm_up: float
    measured: float

    @property
    def total(self) -> float:
        """Seconds of load."""
        return self.warm_up + self.measured


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet and the load on it.

    Attributes:
        name: As options and files call it.
        world: What its servers are.
        speeds: Of each replica, relative to that of the world.
        traffic: What comes.
        load: Tokens a second that arrive, as a part of what all replicas together carry.
        timing: How long.
        changes: Of replicas' speeds.
        joins: The last replica has no model before so many seconds, and says so to health checks.
        dies: A replica, and when it stops serving.
        filling: Of a GPU's memory; None: memory is no matter.
        gpus: Pairs of replicas on one GPU: each is twice as fast while the other is idle.
        searches_on: So many of the slowest replicas are the searches' in the split of somebody
            who knows everything; None: by `split`.
    """

    name: str
    world: World
    speeds: tuple[float, ...]
    traffic: Traffic
    load: float
    timing: Timing = Timing(40, 60)
    changes: tuple[Change, ...] = ()
    joins: float | None = None
    dies: tuple[float, int] | None = None
    filling: Filling | None = None
    gpus: tuple[tuple[int, int], ...] = ()
    searches_on: int | None = None

    def carries(self, number: int) -> float:
        """Tokens a second that a replica computes at most, before anything happens to it."""
        return self.world.carries(self.speeds[number], self.traffic)

    @property
    def capacity(self) -> float:
        """Tokens a second that all replicas together compute at most."""
        return sum(self.carries(number) for number in range(len(self.speeds)))

    @property
    def tokens_rate(self) -> float:
        """Tokens a second that arrive while no rate changes."""
        return self.load * self.capacity

    @property
    def rate(self) -> float:
        """Requests a second that arrive while no rate changes."""
        return self.tokens_rate / self.traffic.tokens

    @property
    def slowest_first(self) -> list[int]:
        """Numbers of replicas."""
        return sorted(range(len(self.speeds)), key=lambda number: self.speeds[number])

    def at_load(self, load: float) -> Self:
        """The same at another load."""
        return replace(self, name=f"{self.name.rpartition('-')[0]}-{load:.0%}"[:-1], load=load)


FAST_AND_SLOW: Final = (4.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
EIGHT_EQUAL: Final = (1.0,) * 8
FOUR_SPEEDS: Final = (4.0, 4.0, 2.0, 2.0, 1.0, 1.0, 0.5, 0.5)
THREE_UNEQUAL: Final = (4.0, 1.0, 1.0)
THREE_EQUAL: Final = (1.0,) * 3
FORTY: Final = FAST_AND_SLOW * 5
SPREAD: Final = tuple(4 ** (n / 11) for n in range(12))
PAIRED: Final = (2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0)

SHORT: Final = Timing(10, 12)
"""Of the rows of the first table, as with real Envoys."""

ONE_TEXT: Final = traffic.single_texts(1.0)

_SLOTS_ROWS: Final = (
    Scenario("mixed-60", SLOTS, FAST_AND_SLOW, ONE_TEXT, 0.6, SHORT),
    Scenario("mixed-80", SLOTS, FAST_AND_SLOW, ONE_TEXT, 0.8, SHORT),
    Scenario("mixed-90", SLOTS, FAST_AND_SLOW, ONE_TEXT, 0.9, SHORT),
    Scenario("spread-80", SlotsWorld(1, 0.0012), SPREAD, ONE_TEXT, 0.8, SHORT),
    Scenario("equal-80", SLOTS, EIGHT_EQUAL, ONE_TEXT, 0.8, SHORT),
    Scenario(
        "slowed-55", SLOTS, FAST_AND_SLOW, ONE_TEXT, 0.55, Timing(10, 30),
        changes=(Change(12, 1, 10.0), Change(32, 1, 0.1)),
    ),
    Scenario(
        "cold-80", SLOTS, EIGHT_EQUAL, ONE_TEXT, 0.8, Timing(10, 20),
        changes=(Change(0, 7, 5.0), Change(22, 7, 0.2)), joins=12,
    ),
    Scenario(
        "memory-70", SLOTS, EIGHT_EQUAL, ONE_TEXT, 0.7, Timing(10, 20),
        filling=Filling(1, 12, 24, 0.625),
    ),
    Scenario("slots-80", SlotsWorld(4, 0.0024), FAST_AND_SLOW, ONE_TEXT, 0.8, SHORT),
    Scenario(
        "shared-80", SlotsWorld(1, 0.0005), PAIRED, ONE_TEXT, 0.8, SHORT, gpus=((4, 5), (6, 7))
    ),
)  # fmt: skip
"""The first table: no batches, one text in each request."""

_MIXED: Final = traffic.MIXED

_CLASSES_ROWS: Final = (
    *(
        Scenario(f"classes-{load}", BATCHING, FAST_AND_SLOW, _MIXED, load / 100)
        for load in (40, 70, 85, 90, 95)
    ),
    Scenario("classes-equal-70", BATCHING, EIGHT_EQUAL, _MIXED, 0.7),
    Scenario("classes-speeds-70", BATCHING, FOUR_SPEEDS, _MIXED, 0.7),
    Scenario("classes-unequal3-50", BATCHING, THREE_UNEQUAL, _MIXED, 0.5),
    Scenario("classes-equal3-70", BATCHING, THREE_EQUAL, _MIXED, 0.7),
    Scenario("classes-40-replicas-70", BATCHING, FORTY, _MIXED, 0.7),
    Scenario("classes-slots-70", SlotsWorld(2, 0.0005), FAST_AND_SLOW, _MIXED, 0.7),
    # Thousands of requests a second: less time is as many of them.
    Scenario("classes-gpu-70", GPU, FAST_AND_SLOW, _MIXED, 0.7, Timing(40, 20)),
    Scenario("classes-tei-70", TEI, FAST_AND_SLOW, _MIXED, 0.7),
    Scenario("classes-vllm-70", VLLM, FAST_AND_SLOW, _MIXED, 0.7),
    Scenario("classes-triton-70", TRITON, FAST_AND_SLOW, _MIXED, 0.7),
    Scenario("classes-infinity-70", INFINITY, FAST_AND_SLOW, _MIXED, 0.7),
    Scenario("classes-2-bytes-70", BATCHING, FAST_AND_SLOW, _MIXED.with_bytes(2), 0.7),
    Scenario("classes-8-bytes-70", BATCHING, FAST_AND_SLOW, _MIXED.with_bytes(8), 0.7),
    Scenario("rare-bulk-70", BATCHING, FAST_AND_SLOW, traffic.RARE_BULK, 0.7),
    Scenario("half-bulk-70", BATCHING, FAST_AND_SLOW, traffic.HALF_BULK, 0.7),
    Scenario("bulk-job-70", BATCHING, FAST_AND_SLOW, traffic.bulk_job(50, 85), 0.7),
    Scenario("workers-32", BATCHING, FAST_AND_SLOW, traffic.workers(32), 0.05),
    Scenario("burst-70", BATCHING, FAST_AND_SLOW, traffic.burst(50, 80, 0.95 / 0.7), 0.7),
    Scenario("searches-70", BATCHING, FAST_AND_SLOW, traffic.more_searches(50, 80, 4.0), 0.7),
    Scenario("classes-dies-50", BATCHING, FAST_AND_SLOW, _MIXED, 0.5, dies=(60, 7)),
)

_BATCHING_ROWS: Final = (
    Scenario("batching-80", BATCHING, FAST_AND_SLOW, ONE_TEXT, 0.8),
    Scenario("batching-heavy-70", BATCHING, FAST_AND_SLOW, traffic.single_texts(2.0, 2_048), 0.7),
    Scenario("batching-alike-80", BATCHING, FAST_AND_SLOW, traffic.alike(100), 0.8),
    Scenario("batching-equal-80", BATCHING, EIGHT_EQUAL, ONE_TEXT, 0.8),
    Scenario(
        "batching-slowed-55", BATCHING, FAST_AND_SLOW, ONE_TEXT, 0.55, Timing(40, 40),
        changes=(Change(45, 1, 10.0), Change(65, 1, 0.1)),
    ),
    Scenario(
        "batching-clocks-60", BATCHING, FAST_AND_SLOW, ONE_TEXT, 0.6, Timing(40, 40),
        changes=(Change(45, 1, 2.0),),
    ),
    Scenario(
        "batching-cold-80", BATCHING, EIGHT_EQUAL, ONE_TEXT, 0.8, Timing(40, 30),
        changes=(Change(0, 7, 5.0), Change(55, 7, 0.2)), joins=45,
    ),
    Scenario(
        "batching-memory-70", BATCHING, EIGHT_EQUAL, ONE_TEXT, 0.7, Timing(40, 30),
        filling=Filling(1, 42, 54, 0.625),
    ),
    Scenario(
        "batching-shared-80", BATCHING, PAIRED, ONE_TEXT, 0.8, gpus=((4, 5), (6, 7)),
    ),
)  # fmt: skip

SCENARIOS: Final = {
    scenario.name: scenario for scenario in (*_CLASSES_ROWS, *_BATCHING_ROWS, *_SLOTS_ROWS)
}
