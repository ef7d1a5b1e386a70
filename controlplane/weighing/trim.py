"""Mild corrections of a capacity by what it does not show: the tail, the objective, errors.

In come windows; out come factors, each with the `Step` that says why.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

from controlplane.signals import Window
from controlplane.weighing.capacity import TRUSTED
from controlplane.weighing.explanation import Step, duration, number, percent

TAIL_SAMPLES: Final = 50
"""Requests from which on a p99 is looked at."""
TAIL_EXPONENT: Final = 0.15
TAIL_LIMITS: Final = (0.7, 1.3)
"""A trim and no more: a p99 counts load, which the capacity has just been freed of."""
OBJECTIVE_EXPONENT: Final = 0.25
OBJECTIVE_LEAST: Final = 0.5
"""Over the objective by 16 times and more, a replica gets half. When all are over it, all get the
same factor and nothing changes: then it is replicas that are missing."""
BUSY_LEAST: Final = 0.5
"""Utilisation that an idle replica is taken to have when its errors are weighed; ORCA's formula
would leave nothing of an idle replica after one failed request."""
ERRORS_LEAST: Final = 0.01
_SHORTEST: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Tail:
    """What is usual in a pool, in seconds: the medians of the replicas' p99 and mean latency."""

    p99: float | None
    latency: float | None


def usual_tail(windows: Iterable[Window]) -> Tail:
    """The medians over the windows that hold enough requests."""
    enough = [window for window in windows if window.samples >= TAIL_SAMPLES]
    tails = [window.p99 for window in enough if window.p99 and window.resolution == "ok"]
    means = [window.latency for window in enough if window.latency]
    return Tail(median(tails) if tails else None, median(means) if means else None)


def by_tail(window: Window, tail: Tail, before: float) -> tuple[float, Step | None]:
    """Trim by the p99 against the pool's; by the mean where the p99 is not resolved."""
    if window.samples < TAIL_SAMPLES:
        return before, None
    coarse = window.resolution != "ok"
    own = window.latency if coarse else window.p99
    usual = tail.latency if coarse else tail.p99
    if own is None or usual is None:
        return before, None
    ratio = max(usual, _SHORTEST) / max(own, _SHORTEST)
    low, high = TAIL_LIMITS
    after = before * min(max(ratio**TAIL_EXPONENT, low), high)
    what = (
        f"the p99 fell into the {window.resolution} of the histogram, so the mean is compared:"
        if coarse
        else "p99"
    )
    words = f"{what} {duration(own)} is {number(1 / ratio)} × the pool's median"
    return after, Step("tail", before, after, words)


def by_objective(window: Window, objective: float, before: float) -> tuple[float, Step | None]:
    """Less for a replica whose p99 is over what the pool promises (seconds)."""
    coarse = window.resolution != "ok"
    own = window.latency if coarse else window.p99
    if window.samples < TAIL_SAMPLES or own is None or own <= objective:
        return before, None
    after = before * max((objective / own) ** OBJECTIVE_EXPONENT, OBJECTIVE_LEAST)
    what = "mean latency" if coarse else "p99"
    words = f"{what} {duration(own)} is over the objective of {duration(objective)}"
    return after, Step("objective", before, after, words)


def by_errors(window: Window, slots: int, before: float) -> tuple[float, Step | None]:
    """Less for a replica that fails: errors are fast, and must not make it look so.

    ``(1 − e) · u / (u + e)`` for the error fraction e and the utilisation u = L/c. The second
    factor is ORCA's, rate / (utilisation + errors/rate), relative to no errors (gRFC A58); the
    first undoes that failures among the measured durations shorten their mean.
    """
    if window.error_fraction <= 0:
        return before, None
    evidence = min((window.samples + window.errors) / TRUSTED, 1.0)
    e = window.error_fraction * evidence
    u = min(max(window.in_flight / slots, BUSY_LEAST), 1.0)
    after = before * max((1 - e) * u / (u + e), ERRORS_LEAST)
    words = f"{percent(window.error_fraction)} of the requests failed"
    return after, Step("errors", before, after, words)
