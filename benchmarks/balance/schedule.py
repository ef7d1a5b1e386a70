"""When requests are sent and how long their texts are: the same for everyone with the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from random import Random
from typing import Final

from benchmarks.balance.scenario import MEAN_TOKENS
from controlplane.load.schedule import departures
from controlplane.load.texts import Lognormal

SIGMA: Final = 1.0
"""Of the logarithm of a text's length: one in a hundred has more than six times the mean."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that is to be sent.

    Attributes:
        at: Seconds after the begin of the load.
        tokens: Of its text.
    """

    at: float
    tokens: int


def arrivals(seed: int, rate: float, seconds: float) -> Iterator[Arrival]:
    """A Poisson process with lognormal sizes.

    Args:
        seed: Decides everything.
        rate: Requests per second.
        seconds: How long.
    """
    random = Random(seed)
    sizes = Lognormal(MEAN_TOKENS, SIGMA)
    for at in takewhile(lambda at: at < seconds, departures(rate, random)):
        yield Arrival(at, sizes.draw(random))
