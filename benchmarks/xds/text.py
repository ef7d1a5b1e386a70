"""Figures as people read them. Pure."""

from collections.abc import Sequence

from benchmarks.balance.measures import Spread, spread


def number(value: float) -> str:
    """With three digits that say something, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def range_of(values: Sequence[float]) -> str:
    """The median, and between which the values were."""
    seen = spread(values)
    return f"{number(seen.middle)} ({number(seen.low)}–{number(seen.high)})"


def times(ratio: Spread) -> str:
    """A ratio, and between which it was."""
    text = f"{ratio.middle:.2f} ×"
    return text if ratio.low == ratio.high else f"{text} ({ratio.low:.2f}–{ratio.high:.2f})"
