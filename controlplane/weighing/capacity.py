"""How many requests per second a replica can carry, from what it did at the load that it had.

In come windows and the previous estimate; out comes the next one. Latency alone would not do: it
is service time times load, so an idle replica would look fast, be flooded and look slow.
"""

import math
from dataclasses import dataclass
from typing import Final

from controlplane.signals import Window
from controlplane.weighing.explanation import Step, counted, duration, number

TRUSTED: Final = 20
"""Samples from which on a window speaks for itself; the mean of fewer is mostly chance when
request sizes are heavy-tailed."""
SMOOTHING_DOWN: Final = 0.5
SMOOTHING_UP: Final = 0.3
"""Share of a new measurement in the estimate, in the log domain. Down is faster: to overload a
replica costs latency at once, to underuse one costs little."""
COLLAPSE: Final = 0.5
"""Below this part of the previous estimate a trusted measurement counts at once."""
_SHORTEST, _LONGEST = 1e-6, 1e6
"""Seconds that a mean duration is kept between, so that no estimate is zero or infinite."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A capacity and the reading that it knows of.

    Attributes:
        capacity: Requests per second, above 0.
        at: Time of the newest reading that is in it; a reading counts once, however often a
            pool is weighed.
    """

    capacity: float
    at: float


def measured(window: Window, slots: int) -> float | None:
    """Capacity by one window, in requests per second; None without samples.

    ``(c^q + L^q)^(1/q) / R`` with ``q = 1 + ½·log₂ c``, for c slots, L requests in flight (Little's
    law) and the mean duration R. Idle it is c/R, saturated it is L/R = X, the rate itself; with
    one slot it is (1 + L)/R, which is exact for the M/M/1 queue, where L = ρ/(1−ρ) and
    R = 1/(μ−λ). With more, q keeps it within 10 % of the truth for M/M/c queues (Erlang C).
    """
    if window.latency is None:
        return None
    latency = min(max(window.latency, _SHORTEST), _LONGEST)
    c, load = float(slots), window.rate * latency
    q = 1 + 0.5 * math.log2(c)
    high, low = max(c, load), min(c, load)
    return float(high * (1 + (low / high) ** q) ** (1 / q) / latency)


def trusted(previous: Estimate | None, window: Window | None) -> bool:
    """Whether an estimate needs nothing of the rest of the pool."""
    return previous is not None or (window is not None and window.samples >= TRUSTED)


def estimated(
    previous: Estimate | None, window: Window | None, slots: int, median: float | None
) -> tuple[Estimate | None, tuple[Step, ...]]:
    """Take a window into an estimate.

    Args:
        previous: Of the same generation of the replica.
        window: The newest; taken in only if `previous` does not know it yet.
        slots: As declared.
        median: Of the capacities of the pool, for a replica that has too few samples of its own.

    Returns:
        The estimate, None while there is nothing to go by, and what to tell about it.
    """
    value = measured(window, slots) if window else None
    base = previous.capacity if previous else median
    if window is None or value is None:
        if base is None:
            return previous, ()
        whose = "its last estimate stays" if previous else "it gets the pool's median"
        return previous, (Step("estimate", None, base, f"no requests were measured: {whose}"),)
    steps = [Step("estimate", None, value, _words(window, slots, value))]
    if previous is not None and window.at <= previous.at:
        return previous, (*steps, *_smoothed(value, previous.capacity))
    if window.samples < TRUSTED and base is not None:
        share = window.samples / TRUSTED
        blended = _between(base, value, share)
        other = "previous estimate" if previous else "pool's median"
        words = f"{counted(window.samples, 'request')} are fewer than {TRUSTED}: mixed with the"
        steps.append(Step("few samples", value, blended, f"{words} {other} {number(base)}/s"))
        value = blended
    if previous is None:
        return Estimate(value, window.at), tuple(steps)
    before = previous.capacity
    if value < before * COLLAPSE and window.samples >= TRUSTED:
        words = f"less than half of the previous {number(before)}/s counts at once"
        return Estimate(value, window.at), (*steps, Step("collapse", value, value, words))
    after = _between(before, value, SMOOTHING_DOWN if value < before else SMOOTHING_UP)
    return Estimate(after, window.at), (*steps, *_smoothed(value, after))


def _between(start: float, end: float, share: float) -> float:
    """The geometric mean of two rates with the weights 1 − share and share."""
    return (
        start if start == end else math.exp(math.log(start) * (1 - share) + math.log(end) * share)
    )


def _smoothed(value: float, after: float) -> tuple[Step, ...]:
    words = f"smoothed over time to {number(after)} requests/s"
    return () if value == after else (Step("smoothing", value, after, words),)


def _words(window: Window, slots: int, value: float) -> str:
    latency = duration(window.latency or 0.0)
    return (
        f"estimated {number(value)} requests/s from {counted(window.samples, 'request')} in"
        f" {window.seconds:.1f} s: mean latency {latency} at {number(window.in_flight)} in flight"
        f" of {counted(slots, 'slot')}"
    )
