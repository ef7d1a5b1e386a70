"""What one scrape of one replica said, in our units: text, profile and time in, `Reading` out."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.signals.exposition import Exposition, ExpositionError, Sample, parse
from controlplane.signals.histogram import Histogram, histogram_of
from controlplane.signals.profile import GPU_LABEL, Profile, Source


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


@dataclass(frozen=True, slots=True)
class Reading:
    """One scrape; whatever the replica did not expose is None, or empty, and never 0.

    Attributes:
        at: When it was scraped, seconds of a monotonic clock.
        latency: Request durations since its start.
        memory: One entry for each GPU.
        queue: Requests that wait.
        errors: Requests that failed since its start.
        started_at: When its process started, Unix seconds.
        note: A sentence for the operator about something missing that may be right or wrong.
    """

    at: float
    latency: Histogram | None
    memory: tuple[GpuMemory, ...] = ()
    queue: float | None = None
    errors: float | None = None
    started_at: float | None = None
    note: str | None = None


def read(text: str, profile: Profile, at: float) -> Reading:
    """Read a scraped text.

    Args:
        text: The body of the answer, decoded.
        profile: Of the pool.
        at: When it was scraped, seconds of a monotonic clock.

    Raises:
        ExpositionError: Whatever is wrong with the text; no other error escapes.
    """
    exposition = parse(text, profile)
    latency = histogram_of(exposition, profile.latency)
    note = None
    if latency is None:
        note = (
            f"no family {profile.latency.family} yet; if the replica has answered requests, does"
            f" the server match profile {profile.name}?"
        )
    elif not all(map(math.isfinite, (latency.total, *latency.counts))):
        raise ExpositionError(f"{profile.latency.family} adds up to more than a number can hold")
    return Reading(
        at=at,
        latency=latency,
        memory=_memory(exposition, profile),
        queue=_sum(exposition, profile.queue),
        errors=_sum(exposition, profile.errors),
        started_at=_sum(exposition, profile.started),
        note=note,
    )


def _sum(exposition: Exposition, source: Source | None) -> float | None:
    """A family summed over its label sets; None when there is nothing but NaN."""
    if source is None:
        return None
    return _scaled_sum(exposition.of(source), source)


def _scaled_sum(samples: Iterable[Sample], source: Source) -> float | None:
    values = [sample.value for sample in samples if not math.isnan(sample.value)]
    if not values:
        return None
    if min(values) < 0:
        raise ExpositionError(f"{source.family} is negative")
    total = sum(values) * source.scale
    if math.isinf(total):
        raise ExpositionError(f"{source.family} adds up to more than a number can hold")
    return total


def _memory(exposition: Exposition, profile: Profile) -> tuple[GpuMemory, ...]:
    """Used and total of every GPU for which both are known."""
    if profile.memory_used is None:
        return ()
    used = _by_gpu(exposition, profile.memory_used)
    if profile.memory_total is None:
        total: Mapping[str | None, float] = dict.fromkeys(used, 1.0)
    else:
        total = _by_gpu(exposition, profile.memory_total)
    found = []
    for uuid, amount in used.items():
        # A total of 0 is how some exporters say that they do not know.
        if not (there_is := total.get(uuid, 0.0)):
            continue
        if amount > there_is:
            raise ExpositionError(
                f"{profile.memory_used.family} says that {amount:g} of {there_is:g} is in use"
            )
        found.append(GpuMemory(uuid, amount, there_is))
    return tuple(sorted(found, key=lambda memory: memory.uuid or ""))


def _by_gpu(exposition: Exposition, source: Source) -> dict[str | None, float]:
    groups: dict[str | None, list[Sample]] = {}
    for sample in exposition.of(source):
        groups.setdefault(sample.labels.values.get(GPU_LABEL), []).append(sample)
    sums = {uuid: _scaled_sum(samples, source) for uuid, samples in groups.items()}
    return {uuid: value for uuid, value in sums.items() if value is not None}
