"""Loads that change as those of real fleets do; rates are in replicas that would be just full."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from controlplane.balancing.columns import Floats

WOBBLE: Final = 0.06
"""Standard deviation of what rates differ by from their shape; it lasts for minutes."""
LASTS: Final = 120.0
STEP: Final = 5.0
"""Seconds for which a rate stays."""
LONGEST: Final = 2048
"""Tokens of a text, at most: the model cuts the rest."""
BULK: Final = 1500
"""Tokens of each text of a bulk job."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A load.

    Attributes:
        name: As in the table.
        seconds: It lasts.
        searches: Work of short requests by the time, in full replicas.
        bulk: The same of a bulk job.
        pace: How fast replicas are by the time; 1 is usual.
    """

    name: str
    seconds: float
    searches: Callable[[float], float]
    bulk: Callable[[float], float] = lambda _: 0.0
    pace: Callable[[float], float] = lambda _: 1.0


def _wave(at: float) -> float:
    return 5.5 - 4 * math.cos(2 * math.pi * at / 86_400)


def _spike(at: float) -> float:
    return 9.0 if 1200 <= at % 3600 < 1800 else 3.0


def _ramp(at: float) -> float:
    up = min(max((at - 1200) / 900, 0.0), 1.0)
    down = min(max((at - 4200) / 900, 0.0), 1.0)
    return 2.0 + 8.0 * (up - down)


def _job(at: float) -> float:
    return 5.0 if 1800 <= at % 7200 < 3600 else 0.0


def _two_spikes(at: float) -> float:
    return 3.0 + (5.0 if 1200 <= at < 1500 else 0.0) + (9.0 if 2700 <= at < 3000 else 0.0)


def _step(at: float) -> float:
    return 7.0 if at >= 1800 else 3.0


def _noise(at: float) -> float:
    return 4.0 * math.exp(0.25 * math.sin(at / 97) + 0.2 * math.sin(at / 41))


def _leak(at: float) -> float:
    return 1 - 0.5 * at / 7200


def _hours(at: float) -> float:
    return 3.0 + math.sin(2 * math.pi * at / 3600)


def _jobs(at: float) -> float:
    return 2.0 if at % 2400 >= 1500 else 0.5


SHAPES: Final = (
    Shape("daily wave", 86_400.0, _wave),
    Shape("spikes", 3 * 3600.0, _spike),
    Shape("ramp", 6600.0, _ramp),
    Shape("bulk job", 7200.0, lambda _: 3.0, _job),
    # The rule was chosen with those above in view, and not with these.
    Shape("two spikes", 4200.0, _two_spikes),
    Shape("step", 5400.0, _step),
    Shape("noise", 5400.0, _noise),
    Shape("slow leak", 7200.0, lambda _: 4.0, pace=_leak),
    Shape("two classes", 7200.0, _hours, _jobs),
)


@dataclass(frozen=True, slots=True)
class Requests:
    """What comes, in the order of time.

    Attributes:
        at: Seconds.
        tokens: Of each.
    """

    at: Floats
    tokens: Floats


def drawn(shape: Shape, seed: int, times: float, capacity: float) -> Requests:
    """Draw the requests of a shape.

    Args:
        shape: The load.
        seed: Of chance.
        times: Factor of all rates.
        capacity: Tokens per second of a full replica.
    """
    random = np.random.default_rng(seed)
    steps = np.arange(0.0, shape.seconds, STEP)
    kept = math.exp(-STEP / LASTS)
    wobble, value = np.empty(len(steps)), 0.0
    for index, each in enumerate(random.normal(0, WOBBLE * math.sqrt(1 - kept**2), len(steps))):
        value = kept * value + each
        wobble[index] = math.exp(value)
    at, tokens = [], []
    for part, of_bulk in ((shape.searches, False), (shape.bulk, True)):
        work = np.asarray([part(each) for each in steps]) * wobble * times * capacity
        mean = BULK if of_bulk else 250.0
        counts = random.poisson(work * STEP / mean)
        times_of = np.repeat(steps, counts) + random.uniform(0, STEP, counts.sum())
        at.append(times_of)
        if of_bulk:
            tokens.append(np.full(len(times_of), float(BULK)))
        else:
            drawn_tokens = random.lognormal(math.log(mean) - 0.32, 0.8, len(times_of))
            tokens.append(np.clip(drawn_tokens, 1, LONGEST))
    together, sizes = np.concatenate(at), np.concatenate(tokens)
    order = np.argsort(together)
    return Requests(together[order], sizes[order])
