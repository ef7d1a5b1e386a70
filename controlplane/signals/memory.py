"""GPU memory as an exposition has it: used and total of every GPU for which both are known."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.signals.exposition import Exposition
from controlplane.signals.profile import Memory, Source
from controlplane.signals.series import ExpositionError, Sample


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """The memory of one GPU, or of all that a replica sums up without naming them.

    Attributes:
        uuid: None where the replica does not say.
        used: Bytes; a fraction where `total` is 1.
        total: Bytes, above 0; 1 where the replica exposes only a fraction.
    """

    uuid: str | None
    used: float
    total: float

    @property
    def fraction(self) -> float:
        """Used of total, between 0 and 1."""
        return self.used / self.total


def memory_of(exposition: Exposition, memory: Memory) -> tuple[GpuMemory, ...]:
    """Used and total of every GPU for which both are known.

    Raises:
        ExpositionError: When more is in use than there is, or a value is none that memory has.
    """
    used = _by_gpu(exposition, memory.used, memory)
    totals = [_by_gpu(exposition, source, memory) for source in memory.total]
    also = [_by_gpu(exposition, source, memory) for source in memory.also]
    found = []
    for gpu, amount in used.items():
        if any(gpu not in total for total in totals):
            continue
        there_is = sum(total[gpu] for total in totals) if totals else 1.0
        there_is += sum(more.get(gpu, 0.0) for more in also)
        # A total of 0 is how some exporters say that they do not know.
        if not there_is:
            continue
        fraction_of(memory.used.family, amount, there_is)
        found.append(GpuMemory(gpu if memory.is_uuid else None, amount, there_is))
    return tuple(sorted(found, key=lambda gpu: (gpu.uuid or "", gpu.fraction)))


def fraction_of(family: str, used: float, total: float) -> float:
    """Used of total, between 0 and 1.

    Raises:
        ExpositionError: When it is more.
    """
    if used > total:
        raise ExpositionError(f"{family} says that {used:g} of {total:g} is in use")
    return used / total


def scaled_sum(samples: Iterable[Sample], source: Source, blank: float = math.inf) -> float | None:
    """The sum in our units; None when there is nothing but NaN and blank values.

    Raises:
        ExpositionError: When a value is negative, or the sum too large for a number.
    """
    values = [sample.value for sample in samples if sample.value < blank]
    if not values:
        return None
    if min(values) < 0:
        raise ExpositionError(f"{source.family} is negative")
    total = sum(values) * source.scale
    if math.isinf(total):
        raise ExpositionError(f"{source.family} adds up to more than a number can hold")
    return total


def _by_gpu(exposition: Exposition, source: Source, memory: Memory) -> dict[str | None, float]:
    groups: dict[str | None, list[Sample]] = {}
    for sample in exposition.of(source):
        groups.setdefault(sample.labels.values.get(memory.gpu_label), []).append(sample)
    sums = {gpu: scaled_sum(samples, source, memory.blank) for gpu, samples in groups.items()}
    return {gpu: value for gpu, value in sums.items() if value is not None}
