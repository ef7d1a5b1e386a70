"""Figures of benchmarks as people read them, and how far a benchmark is."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, and their range."""

    middle: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the range of at least one value."""
    return Spread(median(values), min(values), max(values))


def number(value: float) -> str:
    """Format a number with three significant digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def range_of(values: Sequence[float]) -> str:
    """Format the median and the range of values."""
    seen = spread(values)
    return f"{number(seen.middle)} ({number(seen.low)}–{number(seen.high)})"


def times(ratio: Spread) -> str:
    """Format a ratio and its range."""
    text = f"{ratio.middle:.2f} ×"
    return text if ratio.low == ratio.high else f"{text} ({ratio.low:.2f}–{ratio.high:.2f})"


class Progress:
    """Prints what begins on standard error, with the seconds since it was made."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def __call__(self, what: str) -> None:
        """Print one line."""
        sys.stderr.write(f"[{time.monotonic() - self._begun:4.0f} s] {what}\n")
