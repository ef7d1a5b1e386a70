"""Who is compared: how its sidecars choose, and what tells them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from benchmarks.balance.scenario import Scenario
from benchmarks.simulation.control import Control, Flat, Knowing, Measuring, Reported
from benchmarks.simulation.sidecars import FullScan, LeastConn, Sidecar, Tiered, TwoChoices
from controlplane.settings import PoolSettings

SETTINGS: Final = PoolSettings.model_validate(
    {"model": "m", "listener": {"address": "127.0.0.1:10000"}}
)

ALIKE: Final = SETTINGS.model_copy(
    update={
        "balancing": SETTINGS.balancing.model_copy(update={"long_requests": "any-replica"}),
    }
)


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are compared.

    Attributes:
        name: As tables call it.
        sidecar: Makes one, with its own source of chance.
        control: Makes what tells so many of them.
        peer: Whether it is something that users could pick instead.
    """

    name: str
    sidecar: Callable[[Scenario, Random], Sidecar]
    control: Callable[[Scenario, int], Control]
    peer: bool = False


def _true_weights(scenario: Scenario, _: Random) -> Sidecar:
    return LeastConn(scenario.speeds)


OURS: Final = "Plimsoll"

CONTENDERS: Final[Sequence[Contender]] = (
    Contender("two choices", lambda _, random: TwoChoices(random), lambda *_: Flat(), peer=True),
    Contender("FULL_SCAN", lambda _, random: FullScan(random), lambda *_: Flat(), peer=True),
    Contender("leastconn, true weights", _true_weights, lambda *_: Flat(), peer=True),
    Contender("tiers of true capacities", lambda _, random: Tiered(random), lambda *_: Knowing()),
    Contender(
        OURS,
        lambda _, random: Tiered(random),
        lambda scenario, envoys: Measuring(SETTINGS, scenario.slots, envoys),
    ),
    Contender(
        f"{OURS}, all lengths alike",
        lambda _, random: Tiered(random),
        lambda scenario, envoys: Measuring(ALIKE, scenario.slots, envoys),
    ),
    Contender(
        f"{OURS}, load reports only",
        lambda _, random: Tiered(random),
        lambda scenario, envoys: Reported(SETTINGS, scenario.slots, envoys),
    ),
)
