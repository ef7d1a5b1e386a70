"""Request durations of whatever kind: histogram, summary or two counters, as one `Histogram`."""

import math
from collections.abc import Sequence
from dataclasses import replace

from controlplane.telemetry.exposition import Exposition
from controlplane.telemetry.histogram import Histogram, histogram_of
from controlplane.telemetry.profile import Latency
from controlplane.telemetry.series import ExpositionError, Sample


def latency_of(
    exposition: Exposition, latencies: Sequence[Latency]
) -> tuple[Latency, Histogram] | None:
    """The first that has counted anything, else the first that is there.

    Raises:
        ExpositionError: When a family is not what it should be.
    """
    found: tuple[Latency, Histogram] | None = None
    for latency in latencies:
        durations = _durations(exposition, latency)
        if durations is None:
            continue
        # Of counts that never decrease the last is the largest.
        if not (math.isfinite(durations.total) and math.isfinite(durations.count)):
            raise ExpositionError(f"{latency.source.family} adds up to more than a number can hold")
        if durations.count > 0:
            return latency, durations
        found = found or (latency, durations)
    return found


def _durations(exposition: Exposition, latency: Latency) -> Histogram | None:
    source = latency.source
    if latency.kind == "histogram":
        return histogram_of(exposition, source)
    if latency.kind == "summary":
        # Quantiles of several label sets, or of several windows, cannot be put together.
        sums, counts = exposition.of(source, "_sum"), exposition.of(source, "_count")
        names = (f"{source.family}_sum", f"{source.family}_count")
    else:
        count = replace(source, family=latency.count or "", others=(), unit="")
        sums, counts = exposition.counter(source), exposition.counter(count)
        names = (source.family, count.family)
    total, number = _sum_of(sums, names[0]), _sum_of(counts, names[1])
    if total is None and number is None:
        return None
    if total is None or number is None:
        there, missing = names if number is None else reversed(names)
        raise ExpositionError(f"{there} is there without {missing}")
    return Histogram((math.inf,), (number,), total * source.scale)


def _sum_of(samples: Sequence[Sample], name: str) -> float | None:
    values = [sample.value for sample in samples if not math.isnan(sample.value)]
    if values and min(values) < 0:
        raise ExpositionError(f"{name} is negative")
    return sum(values) if values else None
