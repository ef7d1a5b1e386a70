"""Gauges and counters summed over their label sets, in our units.

Which values of an exposition belong to a sum follows from its layout, so it is found once for all
scrapes of one layout.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.telemetry.layouts import Layout
from controlplane.telemetry.profile import Source
from controlplane.telemetry.series import ExpositionError


@dataclass(frozen=True, slots=True)
class Sum:
    """What some values of an exposition add up to.

    Attributes:
        family: That they are of.
        scale: What one unit of them is worth in ours.
        indices: Which values.
    """

    family: str
    scale: float
    indices: tuple[int, ...]

    def of(self, values: Sequence[float], blank: float = math.inf) -> float | None:
        """The sum in our units; None when there is nothing but NaN and blank values.

        Args:
            values: Of an exposition.
            blank: Values from here on say that nothing is known.

        Raises:
            ExpositionError: When a value is negative, or the sum too large for a number.
        """
        found = [value for index in self.indices if (value := values[index]) < blank]
        if not found:
            return None
        if min(found) < 0:
            raise ExpositionError(f"{self.family} is negative")
        total = sum(found) * self.scale
        if math.isinf(total):
            raise ExpositionError(f"{self.family} adds up to more than a number can hold")
        return total


NO_SUM: Final = Sum("", 1.0, ())


def gauge(layout: Layout, source: Source | None) -> Sum:
    """A family's samples that have the labels its source asks for; without a source none."""
    if source is None:
        return NO_SUM
    indices = tuple(index for _, index in layout.of(source))
    return Sum(source.family, source.scale, indices)


def counter(layout: Layout, source: Source | None) -> Sum:
    """The same of a counter, under whichever of its two spellings it is exposed."""
    if source is None:
        return NO_SUM
    indices = tuple(index for _, index in layout.of_counter(source))
    return Sum(source.family, source.scale, indices)


def counters(layout: Layout, sources: Sequence[Source]) -> Sum:
    """Counters in one unit, added up."""
    found = [counter(layout, source) for source in sources]
    there = [one for one in found if one.indices]
    if not there:
        return NO_SUM
    indices = tuple(index for one in there for index in one.indices)
    return Sum(there[0].family, there[0].scale, indices)


def by_label(layout: Layout, source: Source, name: str) -> dict[str | None, Sum]:
    """A sum for each value of a label; None where it is not there."""
    groups: dict[str | None, list[int]] = {}
    for labels, index in layout.of(source):
        groups.setdefault(labels.values.get(name), []).append(index)
    return {
        value: Sum(source.family, source.scale, tuple(indices)) for value, indices in groups.items()
    }
