"""Why a replica gets what it gets: the steps of a decision, and how numbers read in them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from controlplane.balancing.columns import Bools, Floats


class Step(NamedTuple):
    """One thing that changed, or could have changed, what a replica gets.

    Attributes:
        name: Of the rule.
        before: In requests per second, or relative to the median from the step "median" on;
            None when there was nothing before.
        after: In the same unit.
        words: Why, without the effect.
    """

    name: str
    before: float | None
    after: float
    words: str

    @property
    def factor(self) -> float | None:
        """What the step multiplied by."""
        return self.after / self.before if self.before else None


class Effect(NamedTuple):
    """What one rule did to all replicas.

    Attributes:
        name: Of the rule.
        acts: On which, by row; on others there is nothing to tell.
        before: See `Step`, by row.
        after: Likewise.
        words: Why, without the effect, of a row.
    """

    name: str
    acts: Bools
    before: Floats | None
    after: Floats
    words: Callable[[int], str]

    def at(self, row: int) -> Step:
        """What it did to one replica."""
        before = None if self.before is None else float(self.before[row])
        return Step(self.name, before, float(self.after[row]), self.words(row))


def explain(steps: Sequence[Step]) -> tuple[str, ...]:
    """One sentence a step, with its factor where it had an effect."""
    return tuple(
        step.words
        if step.factor is None or abs(step.factor - 1) < 0.005
        else f"{step.words}: ×{step.factor:.2f}"
        for step in steps
    )


def number(value: float) -> str:
    """Three significant digits, without an exponent where people would not write one."""
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{decimals}f}"


def duration(seconds: float) -> str:
    """Seconds as people write them: ``24 ms``, ``1.5 s``."""
    if seconds >= 1:
        return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} µs"


def percent(fraction: float) -> str:
    """A fraction as ``93 %``, with a digit more below 10 %."""
    return f"{fraction * 100:.0f} %" if fraction >= 0.0995 else f"{fraction * 100:.2g} %"


def counted(count: float, what: str) -> str:
    """``1 request``, ``212 requests``."""
    return f"{count:.0f} {what}{'' if round(count) == 1 else 's'}"
