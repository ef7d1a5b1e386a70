"""When requests are due: a rate or a staircase of rates in, Poisson arrivals out. Pure.

Everything is drawn from a seed, so that two runs can send the same.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from random import Random


@dataclass(frozen=True, slots=True)
class Step:
    """A time with one rate; seconds count from the begin of the load.

    Attributes:
        rate: Requests per second.
        counts_from: From when on requests count; before it, connections and queues settle.
    """

    number: int
    rate: float
    begin: float
    counts_from: float
    end: float

    def counts(self, due: float) -> bool:
        """Tell whether a request that was due then is measured."""
        return due >= self.counts_from

    def third(self, due: float) -> int:
        """Return in which third of the step a request was due: 0, 1 or 2."""
        return min(int(3 * (due - self.begin) / (self.end - self.begin)), 2)


@dataclass(frozen=True, slots=True)
class Departure:
    """A request that is to be sent.

    Attributes:
        at: Seconds after the begin of the load when it is due.
        kind: Name of its class; empty where requests have no classes.
    """

    at: float
    step: Step
    target: int = 0
    body: bytes = b""
    kind: str = ""
    tokens: float = 0.0


def staircase(low: float, high: float, steps: int) -> tuple[float, ...]:
    """Return rates from `low` to `high`, each the same number of times the one before.

    The capacity is wanted to within a part of itself, not to within so many requests per second.
    """
    if steps == 1:
        return (low,)
    return tuple(low * (high / low) ** (number / (steps - 1)) for number in range(steps))


def plan(rates: Sequence[float], warm_up: float, seconds: float) -> tuple[Step, ...]:
    """Return steps of these rates, one after the other."""
    length = warm_up + seconds
    return tuple(
        Step(number, rate, number * length, number * length + warm_up, (number + 1) * length)
        for number, rate in enumerate(rates)
    )


def looks(step: Step, every: float) -> list[float]:
    """Return when to look at a step: at both ends of what counts, and at least every so often."""
    length = step.end - step.counts_from
    count = max(math.ceil(length / every), 1)
    return [step.counts_from + number * length / count for number in range(count + 1)]


def measured_at(steps: Sequence[Step], seconds: float) -> Step | None:
    """Return the step that is measured so many seconds after the begin of the load, if any."""
    return next((step for step in steps if step.counts_from <= seconds < step.end), None)


def departures(rate: float, random: Random) -> Iterator[float]:
    """Draw when requests are due, in seconds from now, at so many a second on average."""
    at = 0.0
    while True:
        at += random.expovariate(rate)
        yield at


def schedule(steps: Sequence[Step], seed: int) -> Iterator[tuple[float, Step]]:
    """Draw when requests are due in each step, in seconds after the begin of the load."""
    random = Random(seed)  # noqa: S311 - decides about times, not about secrets
    for step in steps:
        length = step.end - step.begin
        for at in takewhile(lambda at: at < length, departures(step.rate, random)):  # noqa: B023
            yield step.begin + at, step


def turns(weights: Sequence[int]) -> Iterator[int]:
    """Choose the next target, without end: each as often as its weight says, spread evenly.

    This is the smooth weighted round robin of nginx: the target most behind its weight is next.
    """
    total, credit = sum(weights), [0] * len(weights)
    while True:
        credit = [had + weight for had, weight in zip(credit, weights, strict=True)]
        chosen = max(range(len(weights)), key=credit.__getitem__)
        credit[chosen] -= total
        yield chosen
