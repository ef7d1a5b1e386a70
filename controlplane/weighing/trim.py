"""Mild corrections of a capacity by what it does not show: the tail, the objective, errors.

In come windows; out come factors, each with the `Step` that says why.
"""

from collections.abc import Iterable
from statistics import median
from typing import Final

from controlplane.signals import Window
from controlplane.weighing.capacity import TRUSTED
from controlplane.weighing.explanation import Step, duration, number, percent

TAIL_SAMPLES: Final = 50
"""Requests from which on a p99 is held against the objective."""
SHAPE_SAMPLES: Final = 100
"""Requests from which on the shape of a tail is looked at; the p99 of fewer is one of the two or
three longest, and those are chance."""
UNUSUAL: Final = 2.0
"""Times the pool's p99 over mean from where on a tail is too long for its replica."""
TAIL_EXPONENT: Final = 0.5
TAIL_LEAST: Final = 0.7
"""A trim and no more: how long a tail is depends on chance and on who got the long requests."""
OBJECTIVE_EXPONENT: Final = 0.25
OBJECTIVE_LEAST: Final = 0.5
"""Over the objective by 16 times and more, a replica gets half. When all are over it by as much,
all get the same factor and nothing changes: then it is replicas that are missing."""
BUSY_LEAST: Final = 0.5
"""Utilisation that an idle replica is taken to have when its errors are weighed; ORCA's formula
would leave nothing of an idle replica after one failed request."""
ERRORS_LEAST: Final = 0.01


def usual_shape(windows: Iterable[Window]) -> float | None:
    """The median of p99 over mean, of the windows that hold enough requests to tell."""
    shapes = [shape for window in windows if (shape := _shape(window)) is not None]
    return median(shapes) if shapes else None


def by_tail(window: Window, usual: float | None, before: float) -> tuple[float, Step | None]:
    """Less for a replica whose tail is out of proportion, as of one that stalls now and then.

    The p99 itself would not do: that of a fast replica is short because it is fast, which its
    capacity says already.

    Args:
        window: Of the replica.
        usual: By `usual_shape`.
        before: Requests per second.
    """
    if window.samples >= SHAPE_SAMPLES and window.resolution != "ok":
        words = f"the p99 fell into the {window.resolution} of the histogram: it says no more"
        return before, Step("tail", before, before, words)
    shape = _shape(window)
    if shape is None or usual is None or window.p99 is None or shape <= UNUSUAL * usual:
        return before, None
    after = before * max((UNUSUAL * usual / shape) ** TAIL_EXPONENT, TAIL_LEAST)
    return after, Step("tail", before, after, _long_tail, (window.p99, shape, usual))


def _long_tail(p99: float, shape: float, usual: float) -> str:
    return (
        f"p99 {duration(p99)} is {number(shape)} × its mean; in the pool {number(usual)} is usual"
    )


def _shape(window: Window) -> float | None:
    if window.samples < SHAPE_SAMPLES or window.resolution != "ok":
        return None
    return window.p99 / window.latency if window.p99 and window.latency else None


def by_objective(window: Window, objective: float, before: float) -> tuple[float, Step | None]:
    """Less for a replica whose p99 is over what the pool promises (seconds)."""
    coarse = window.resolution != "ok"
    own = window.latency if coarse else window.p99
    if window.samples < TAIL_SAMPLES or own is None or own <= objective:
        return before, None
    after = before * max((objective / own) ** OBJECTIVE_EXPONENT, OBJECTIVE_LEAST)
    what = "mean latency" if coarse else "p99"
    return after, Step("objective", before, after, _over_objective, (what, own, objective))


def _over_objective(what: str, own: float, objective: float) -> str:
    return f"{what} {duration(own)} is over the objective of {duration(objective)}"


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
    return after, Step("errors", before, after, _failing, (window.error_fraction,))


def _failing(fraction: float) -> str:
    return f"{percent(fraction)} of the requests failed"
