"""What is asked of every contender alike: a scenario of the worlds behind so many sidecars."""

from dataclasses import dataclass, replace
from typing import Final, Self

from benchmarks.worlds.scenarios import Scenario, Timing
from benchmarks.worlds.traffic import Arrival
from benchmarks.worlds.worlds import SlotsWorld

MODEL: Final = "m"
"""As requests call it; model gateways want a name."""

MOST: Final = 300.0
"""Requests a second that two cores carry through twelve proxies, with as many beside them."""

COST: Final = Timing(warm_up=5, measured=8)
"""What only a start costs (programs are read from the disk, connections opened) is over by then."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of the benchmark.

    Attributes:
        scenario: Fleet and load.
        sidecars: Proxies that requests are dealt to in turn.
        stretch: Times as long that requests take in slots; see `slower`.
        instant: Replicas answer at once, so that what is left is the cost of measuring.
    """

    scenario: Scenario
    sidecars: int
    stretch: float = 1.0
    instant: bool = False

    @property
    def name(self) -> str:
        """Of the scenario with the number of sidecars, which together nothing else has."""
        return f"{self.scenario.name}, {self.sidecars} sidecar{'s' * (self.sidecars > 1)}"

    @property
    def slower(self) -> float:
        """Times as long that everything takes, with as many times fewer requests.

        What proxies, the generator and this machine add is to be small beside a request in a slot.
        It is small beside a batch; and a control plane that looks every so many seconds would be
        another one in a slower world. So batches are slower only where too many requests came.
        """
        return max(self.stretch if self.slots else 1.0, self.scenario.rate / MOST)

    @property
    def slowness(self) -> float:
        """Times as long that replicas take."""
        return 0.0 if self.instant else self.slower

    @property
    def rate(self) -> float:
        """Requests per second that arrive while no rate changes."""
        return self.scenario.rate / self.slower

    @property
    def capacity(self) -> float:
        """Requests per second that all replicas together can serve."""
        return self.rate / self.scenario.load

    @property
    def kinds(self) -> tuple[str, ...]:
        """The classes of requests; none where there is one only."""
        kinds = self.scenario.traffic.kinds
        return kinds if len(kinds) > 1 else ()

    @property
    def ready_at_first(self) -> int:
        """Replicas that serve from the begin on."""
        return len(self.scenario.speeds) - (self.scenario.joins is not None)

    @property
    def slots(self) -> int | None:
        """Requests that each replica computes at the same time; None where texts are batched."""
        world = self.scenario.world
        return world.slots if isinstance(world, SlotsWorld) else None

    def at_no_cost(self) -> Self:
        """The same, with replicas that answer at once and to which nothing happens."""
        plain = replace(
            self.scenario, changes=(), joins=None, dies=None, filling=None, gpus=(), timing=COST
        )
        return replace(self, scenario=plain, instant=True)


def body(arrival: Arrival) -> bytes:
    """The JSON of a request: a list of texts, as many bytes as the worlds say."""
    texts = '","'.join("x" * (4 * tokens) for tokens in arrival.texts)
    head = f'{{"model":"{MODEL}","input":["'
    # Spaces make up for what the names are shorter than in a real request.
    return f'{head}{texts}"]{" " * (arrival.bytes - len(head) - len(texts) - 3)}}}'.encode()
