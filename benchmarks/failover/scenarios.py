"""What happens to whom under which load, and what is wanted of it. Pure."""

from dataclasses import dataclass, replace
from math import inf
from typing import Final, Literal

from benchmarks.balance.cell import Cell
from benchmarks.worlds import scenarios as worlds
from benchmarks.worlds.scenarios import Timing
from benchmarks.worlds.traffic import alike
from benchmarks.worlds.worlds import SlotsWorld

FAULT_AT: Final = 3.0
"""Seconds of load before the fault: connections are open, and every replica has served."""

SLOW: Final = 0.5
"""Seconds beyond the service time from which a request is slow. Queues at 90 % load stay below a
fifth of it, and a request that is cut off at its end and repeated at once is not slow."""

PATIENCE: Final = 15.0
"""Seconds after the last request for the answers. Who has none by then has waited for far longer
than any fault here takes to be seen."""

POISON: Final = 1_313
"""Tokens of a request that crashes the replica that reads it. No other has as many."""

Mode = Literal["well", "status-429", "status-500", "status-503", "half-500", "cuts", "resets"]
"""How a replica answers: as it should; with a status, at once; every second request with 500; with
half of a body, then the connection ends; with a reset where a connection is used again."""

Deed = Literal[
    "kill",  # SIGKILL
    "hang",  # SIGSTOP: connections are accepted by the kernel, and nothing is read
    "cut",  # the network before it stands still, without a FIN or a reset
    "heal",  # the network goes on
    "restart",  # SIGTERM, and again once it has ended
    "well", "status-429", "status-500", "status-503", "half-500", "cuts", "resets",  # a `Mode`
    "poison",  # one request that crashes whoever reads it
    "trickle",  # clients that send a byte now and then, and never come to an end
    "kill plane",
    "start plane",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is done.

    Attributes:
        at: Seconds after the fault.
        do: What.
        to: Numbers of the replicas that it is done to.
    """

    at: float
    do: Deed
    to: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a run.

    Attributes:
        failed: Requests that fail at most.
        ratio: Time to the last failed or slow request, as a part of the best peer's.
        reached: Requests that reach replicas for each one of a client.
        died: Replicas that end by themselves.
        kept: Uploads without an end that are still open when the load ends.
    """

    failed: float = 0
    ratio: float = 0.5
    reached: float = inf
    died: float = inf
    kept: float = inf


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet, a load and a fault.

    Attributes:
        name: As options and files call it.
        title: As tables call it.
        acts: In the order of their times.
        wanted: Of ours.
        seconds: Of load after the fault.
        replicas: How many.
        sidecars: Proxies that requests are dealt to in turn.
        load: Part of what all replicas together carry.
        slots: Requests that a replica computes at the same time. With many of them, many are in
            flight when it dies: more than a fixed number of retries.
        service: Seconds that it takes for one.
        tokens: Of a request, four bytes each.
        only: The only contender that it is for; None: all.
        quick: Whether ``--quick`` has it.
    """

    name: str
    title: str
    acts: tuple[Act, ...]
    wanted: Wanted = Wanted()
    seconds: float = 9.0
    replicas: int = 4
    sidecars: int = 1
    load: float = 0.6
    slots: int = 25
    service: float = 0.25
    tokens: int = 100
    only: str | None = None
    quick: bool = True

    @property
    def total(self) -> float:
        """Seconds of load."""
        return FAULT_AT + self.seconds

    @property
    def cell(self) -> Cell:
        """The same as the benchmark of balance knows it: what its parts are started with."""
        world = SlotsWorld(self.slots, self.service / self.tokens)
        scenario = worlds.Scenario(
            self.name, world, (1.0,) * self.replicas, alike(self.tokens), self.load,
            Timing(FAULT_AT, self.seconds),
        )  # fmt: skip
        return Cell(scenario, self.sidecars)

    @property
    def slow_after(self) -> float:
        """Seconds from which a request is slow."""
        return SLOW + self.service * self.cell.slowness

    @property
    def stalled(self) -> frozenset[int]:
        """Replicas that are behind a relay, so that the network before them can be cut."""
        return frozenset(number for act in self.acts if act.do == "cut" for number in act.to)

    @property
    def ended(self) -> frozenset[int]:
        """Replicas whose end is somebody's deed."""
        return frozenset(number for act in self.acts if act.do == "kill" for number in act.to)


def _kill(of: int) -> Scenario:
    return Scenario(f"kill-1-of-{of}", f"SIGKILL of 1 of {of}", (Act(0, "kill", (0,)),),
                    replicas=of)  # fmt: skip


def _kill_at(rate: int, *, quick: bool) -> Scenario:
    """One of eight, at so many requests per second."""
    of = _kill(8)
    return replace(of, name=f"{of.name}-at-{rate}", title=f"{of.title}, {rate} requests/s",
                   load=rate * of.service / (of.slots * of.replicas), quick=quick)  # fmt: skip


_EVERY: Final = (0, 1, 2, 3)
_ALL_REFUSE: Final = Wanted(failed=inf, ratio=inf, reached=1.5)

_ROWS: Final = (
    Scenario("big-bodies", "2 MiB bodies, 2 of 4 reset reused connections",
             (Act(0, "resets", (0, 1)),), seconds=12, load=0.3, slots=2, service=0.4,
             tokens=524_288),
    Scenario("three-dead", "SIGKILL of 3 of 4", (Act(0, "kill", (0, 1, 2)),), load=0.15),
    _kill(3),
    _kill(4),
    _kill_at(30, quick=False),
    _kill_at(300, quick=True),
    Scenario("all-503", "all answer 503", (Act(0, "status-503", _EVERY),), _ALL_REFUSE, 5),
    Scenario("all-503-many", "all answer 503, 4 sidecars", (Act(0, "status-503", _EVERY),),
             _ALL_REFUSE, 5, sidecars=4),
    Scenario("all-429", "all answer 429", (Act(0, "status-429", _EVERY),), _ALL_REFUSE, 5),
    # At most two may die, and what is left is to carry the load.
    Scenario("poison", "a request that crashes replicas, 6 of them", (Act(0, "poison"),),
             Wanted(died=2), replicas=6, load=0.5),
    Scenario("one-429", "1 of 4 answers 429", (Act(0, "status-429", (0,)),)),
    Scenario("half-500", "1 of 4 fails every second request", (Act(0, "half-500", (0,)),)),
    Scenario("half-500-many", "1 of 4 fails every second request, 12 sidecars",
             (Act(0, "half-500", (0,)),), sidecars=12, quick=False),
    Scenario("one-500", "1 of 4 answers 500", (Act(0, "status-500", (0,)),)),
    Scenario("cut-bodies", "1 of 4 cuts its bodies off", (Act(0, "cuts", (0,)),)),
    Scenario("hung", "SIGSTOP of 1 of 4", (Act(0, "hang", (0,)),)),
    Scenario("network-cut", "network of 1 of 4 stands still for 6 s",
             (Act(0, "cut", (0,)), Act(6, "heal", (0,))), seconds=10),
    Scenario("trickle", "20 uploads that trickle, 70 s", (Act(0, "trickle"),), Wanted(kept=0),
             seconds=70, load=0.2, quick=False),
    Scenario("plane-killed", "control plane SIGKILLed, back after 4 s",
             (Act(0, "kill plane"), Act(4, "start plane")), only="plimsoll"),
    Scenario("plane-and-replica", "SIGKILL of 1 of 4 while the control plane is dead",
             (Act(-1, "kill plane"), Act(0, "kill", (0,)), Act(4, "start plane"))),
    Scenario("rolling", "each of 4 restarted in turn",
             tuple(Act(3.0 * number, "restart", (number,)) for number in _EVERY), seconds=14),
)  # fmt: skip

SCENARIOS: Final = {scenario.name: scenario for scenario in _ROWS}
