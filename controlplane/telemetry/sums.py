"""Gauges and counters summed over their label sets, in our units, and GPU memory made of them.

Which values of an exposition belong to a sum follows from its layout, so it is found once for all
scrapes of one layout.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.telemetry.layouts import ExpositionError, Layout
from controlplane.telemetry.profile import Memory, Source


@dataclass(frozen=True, slots=True)
class Sum:
    """What some values of an exposition, by their indices, add up to in our units."""

    family: str
    scale: float
    indices: tuple[int, ...]

    def of(self, values: Sequence[float], blank: float = math.inf) -> float | None:
        """Add up, in our units; None when all values are NaN or at least `blank`."""
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


@dataclass(frozen=True, slots=True)
class Buckets:
    """Where a histogram's buckets are, by label set and bound, in one layout."""

    bounds: tuple[float, ...]
    columns: tuple[tuple[int, ...], ...]

    def counts(self, values: Sequence[float]) -> list[list[float]]:
        """Cumulative counts of each label set."""
        return [[values[index] for index in column] for column in self.columns]


def buckets(layout: Layout, source: Source) -> Buckets | None:
    """Find a histogram's buckets; None unless all its label sets have the same ones."""
    columns: dict[Hashable, dict[float, int]] = {}
    for labels, index in layout.of(source, "_bucket"):
        if labels.bound is not None:
            columns.setdefault(labels.others, {})[labels.bound] = index
    grids = {tuple(sorted(column)) for column in columns.values()}
    if len(grids) != 1:
        return None
    (bounds,) = grids
    return Buckets(
        bounds, tuple(tuple(column[bound] for bound in bounds) for column in columns.values())
    )


def added(columns: Sequence[list[float]]) -> list[float]:
    """Counts of several label sets, bucket by bucket."""
    return columns[0] if len(columns) == 1 else [*map(sum, zip(*columns, strict=True))]


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """The bytes of one GPU, or of all that a replica sums up without naming them.

    The total is 1 where only a fraction is exposed.
    """

    uuid: str | None
    used: float
    total: float

    @property
    def fraction(self) -> float:
        """Used of total, between 0 and 1."""
        return self.used / self.total


MOST_GPUS: Final = 256
"""GPUs of one replica at most: eight in seven parts each are 56. Each is a label of our own
metrics."""
LONGEST_NAME: Final = 128
"""Characters of a GPU's name; a UUID has 40."""

Amounts = Mapping[str | None, Sum]
"""Values by GPU; None where it is not named."""


@dataclass(frozen=True, slots=True)
class MemorySums:
    """Which values of expositions of one layout are about GPU memory, and how to read them."""

    memory: Memory
    used: Amounts
    totals: tuple[Amounts, ...]

    def of(self, values: Sequence[float]) -> tuple[GpuMemory, ...]:
        """Used and total of every GPU for which both are known.

        Raises:
            ExpositionError: When more is in use than there is, a value is negative, or GPUs are too
                many or have too long names.
        """
        family = self.memory.used.family
        if len(self.used) > MOST_GPUS:
            raise ExpositionError(f"{family} names more than {MOST_GPUS} GPUs")
        if any(len(gpu or "") > LONGEST_NAME for gpu in self.used):
            raise ExpositionError(f"{family} names a GPU with more than {LONGEST_NAME} characters")
        used = _known(self.used, values)
        totals = [_known(total, values) for total in self.totals]
        found = []
        for gpu, amount in used.items():
            if any(gpu not in total for total in totals):
                continue
            there_is = sum(total[gpu] for total in totals) if totals else 1.0
            # A total of 0 is how some exporters say that they do not know.
            if there_is:
                fraction_of(family, amount, there_is)
                found.append(GpuMemory(gpu if self.memory.is_uuid else None, amount, there_is))
        return tuple(sorted(found, key=lambda gpu: (gpu.uuid or "", gpu.fraction)))


def _known(amounts: Amounts, values: Sequence[float]) -> dict[str | None, float]:
    found = {gpu: amount.of(values) for gpu, amount in amounts.items()}
    return {gpu: value for gpu, value in found.items() if value is not None}


def memory_sums(layout: Layout, memory: Memory) -> MemorySums | None:
    """Find GPU memory in expositions of one layout; None where there is none."""
    used, *totals = (
        by_label(layout, source, memory.gpu_label) for source in (memory.used, *memory.total)
    )
    return MemorySums(memory, used, tuple(totals)) if any((used, *totals)) else None


def fraction_of(family: str, used: float, total: float) -> float:
    """Used of total, between 0 and 1."""
    if used > total:
        raise ExpositionError(f"{family} says that {used:g} of {total:g} is in use")
    return used / total
