"""Request durations as one `Histogram`, made of a histogram, summary or two counters; quantiles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import le
from typing import Final, Literal

from controlplane.telemetry.exposition import Exposition
from controlplane.telemetry.layouts import ExpositionError, Sample
from controlplane.telemetry.profile import Latency, Source
from controlplane.telemetry.sums import Buckets, added, buckets

Resolution = Literal["ok", "first bucket", "last bucket"]

_OTHER_TYPES: Final = frozenset({"counter", "gauge", "summary"})


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations since the process started, over all label sets.

    Attributes:
        bounds: Upper bounds of the buckets in seconds, ascending; the last is infinite. It is the
            only one where a server exposes how many durations there are and their sum, no more.
        counts: How many durations were at most each bound.
        total: Sum of all durations in seconds.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    total: float

    @property
    def count(self) -> float:
        """How many durations there are."""
        return self.counts[-1]


def histogram_of(exposition: Exposition, source: Source) -> Histogram | None:
    """Sum a family's label sets bucket by bucket; None where it has no samples yet."""
    grid: _Grid | None = exposition.layout.known.get(source)
    if grid is not None and (found := grid.filled(exposition.values)) is not None:
        return found
    family = exposition.layout.family_of(source, "_bucket")
    declared = exposition.types.get(family, "untyped")
    if declared not in ("histogram", "untyped", "unknown"):
        other = declared if declared in _OTHER_TYPES else "family of another type"
        raise ExpositionError(f"{family} is a {other}, not a histogram", declared)
    exposed = exposition.of(source, "_bucket")
    sums = exposition.of(source, "_sum")
    if not exposed and not sums:
        return None
    if not exposed:
        raise ExpositionError(f"{family} has a sum and no buckets; is it a summary?")
    series = _by_labels(exposed, family)
    totals = {sample.labels.others: sample.value for sample in sums if sample.value >= 0}
    if totals.keys() != series.keys():
        raise ExpositionError(f"{family} needs one _sum of at least 0 for each of its label sets")
    grids = set()
    for counts in series.values():
        bounds = tuple(sorted(counts))
        _must_be_cumulative(family, bounds, counts)
        grids.add(bounds)
    if len(grids) > 1:
        raise ExpositionError(f"{family} has label sets with different buckets")
    (bounds,) = grids
    columns = ([counts[bound] for bound in bounds] for counts in series.values())
    summed = tuple(map(sum, zip(*columns, strict=True)))
    scale = source.scale
    histogram = Histogram(
        tuple(bound * scale for bound in bounds), summed, sum(totals.values()) * scale
    )
    places = buckets(exposition.layout, source)
    if places is not None and not any(math.isnan(sample.value) for sample in (*exposed, *sums)):
        indices = tuple(index for _, index in exposition.layout.of(source, "_sum"))
        exposition.layout.known[source] = _Grid(histogram.bounds, places, indices, scale)
    return histogram


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where a histogram's values are in expositions of one layout, which was checked before."""

    bounds: tuple[float, ...]
    buckets: Buckets
    sums: tuple[int, ...]
    scale: float

    def filled(self, values: Sequence[float]) -> Histogram | None:
        """The histogram; None where a value is not what it should be."""
        columns = self.buckets.counts(values)
        totals = [values[index] for index in self.sums]
        for counts in columns:
            # Neither holds of NaN.
            if not (counts[0] >= 0 and all(map(le, counts, counts[1:]))):
                return None
        if not all(total >= 0 for total in totals):
            return None
        return Histogram(self.bounds, tuple(added(columns)), sum(totals) * self.scale)


def _by_labels(
    buckets: Sequence[Sample], family: str
) -> dict[tuple[tuple[str, str], ...], dict[float, float]]:
    """Counts by bound for every label set; a NaN is a bucket that is missing."""
    series: dict[tuple[tuple[str, str], ...], dict[float, float]] = {}
    for labels, value in buckets:
        bound = labels.bound
        if bound is None:
            raise ExpositionError(f"{family}_bucket has a sample without the label le")
        counts = series.setdefault(labels.others, {})
        if bound in counts:
            raise ExpositionError(f"{family} has the bucket le={bound:g} twice")
        if value < 0:
            raise ExpositionError(f"{family} has a negative count in the bucket le={bound:g}")
        if not math.isnan(value):
            counts[bound] = value
    return series


def _must_be_cumulative(family: str, bounds: Sequence[float], counts: dict[float, float]) -> None:
    if not bounds or bounds[-1] != math.inf:
        raise ExpositionError(f"{family} has no bucket le=+Inf")
    below = 0.0
    for bound in bounds:
        if counts[bound] < below:
            raise ExpositionError(
                f"{family} is not cumulative: the bucket le={bound:g} holds less than the one"
                " before it"
            )
        below = counts[bound]


def quantile(
    q: float, bounds: Sequence[float], counts: Sequence[float]
) -> tuple[float | None, Resolution] | None:
    """Estimate a quantile as Prometheus' ``histogram_quantile`` does: linear within a bucket.

    Source: https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile

    Args:
        bounds: Upper bounds, ascending; the last is infinite.
        counts: Cumulative, of the same length.

    Returns:
        The value and how far to trust it; None when nothing was counted. In the first bucket only
        its upper bound is known. In the last the value is a lower limit, or None where that bucket
        is the only one.
    """
    if not counts or counts[-1] <= 0:
        return None
    rank = q * counts[-1]
    for index, count in enumerate(counts):  # noqa: B007 - a generator takes twice the time
        if count >= rank:
            break
    if index == len(bounds) - 1:
        return (bounds[-2] if len(bounds) > 1 else None), "last bucket"
    upper = bounds[index]
    if index == 0:
        lower, below = 0.0, 0.0
        if upper <= 0:
            return upper, "first bucket"
    else:
        lower, below = bounds[index - 1], counts[index - 1]
    inside = counts[index] - below
    value = upper if inside <= 0 else lower + (upper - lower) * (rank - below) / inside
    # OpenTelemetry's histograms begin with le="0", which no duration falls into.
    return value, "first bucket" if lower <= 0 else "ok"


def latency_of(
    exposition: Exposition, latencies: Sequence[Latency]
) -> tuple[Latency, Histogram] | None:
    """The first that has counted anything, else the first that is there."""
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
