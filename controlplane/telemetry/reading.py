"""One scrape of one replica in our units: text, profile and time in, `Reading` out."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from controlplane.config import QueueUnit
from controlplane.telemetry.batches import BatchError, BatchSums, BatchTotals, batch_sums
from controlplane.telemetry.counters import Counters, Picker, Series, picker
from controlplane.telemetry.exposition import Exposition, parse
from controlplane.telemetry.histogram import Histogram, latency_of
from controlplane.telemetry.layers import counting
from controlplane.telemetry.layouts import ExpositionError, Layout
from controlplane.telemetry.profile import Profile
from controlplane.telemetry.sums import (
    GpuMemory,
    MemorySums,
    Sum,
    counter,
    gauge,
    memory_sums,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One scrape; whatever the replica did not expose is None, or empty, and never 0.

    Attributes:
        at: When it was scraped, seconds of a monotonic clock.
        latency: Request durations since its start, as errors, tokens and batches.
        queue: Requests or texts that wait; see `queue_unit`.
        started_at: When its process started, Unix seconds.
        note: A sentence for the operator about something missing that may be right or wrong.
        batches: None as well where the figures cannot be true.
        series: What it counts up, each series by itself; None where that is not known.
    """

    at: float
    latency: Histogram | None
    memory: tuple[GpuMemory, ...] = ()
    queue: float | None = None
    errors: float | None = None
    started_at: float | None = None
    note: str | None = None
    running: float | None = None
    tokens: float | None = None
    batches: BatchTotals | None = None
    queue_unit: QueueUnit = "requests"
    series: Series | None = field(default=None, compare=False, repr=False)

    @property
    def counters(self) -> Counters:
        """The counters of a reading."""
        latency = self.latency
        counts, total = (latency.counts, latency.total) if latency is not None else (None, 0.0)
        return Counters(counts, total, self.errors, self.tokens, self.batches)


def read(text: str, profile: Profile, at: float) -> Reading:
    """Read a text that was scraped `at` so many seconds of a monotonic clock.

    Raises:
        ExpositionError: Whatever is wrong with the text; no other error escapes.
    """
    exposition = parse(text, profile.samples, profile.typed, profile.counters)
    counted = counting(exposition, profile)
    profile = counted.profile
    notes, durations = [], None
    if (found := latency_of(exposition, profile.latency)) is not None:
        latency, durations = found
        if latency.kind != "histogram":
            notes.append(
                f"{latency.source.family} has no distribution: the mean stands for the p99"
            )
    elif profile.latency:
        notes.append(_missing(profile, exposition))
    elif exposition.values:
        notes.append(f"{profile.name} exposes no durations: load reports of Envoys measure them")
    else:
        notes.append(f"none of the families of profile {profile.name} is there")
    values, sums = exposition.values, _sums(exposition.layout, profile)
    batches, tokens = None, None
    try:
        tokens = sums.tokens.of(values)
        batches = sums.batches.of(values) if sums.batches else None
    except (BatchError, ExpositionError) as error:
        tokens = None
        notes.append(f"what it says of its batches cannot be true: {error}")
    if counted.note:
        notes.append(counted.note)
    notes += sums.notes
    return Reading(
        at=at,
        latency=durations,
        memory=sums.memory.of(values) if sums.memory else (),
        queue=sums.queue.of(values),
        errors=sums.errors.of(values),
        started_at=sums.started.of(values),
        note="; ".join(notes) or None,
        running=sums.running.of(values),
        tokens=tokens,
        batches=batches,
        queue_unit=profile.queue_unit,
        series=Series(exposition.layout, profile, array("d", sums.pick(values))),
    )


def _missing(profile: Profile, exposition: Exposition) -> str:
    families = " or ".join(latency.source.family for latency in profile.latency)
    declared = [name for name in profile.typed if name in exposition.types]
    if declared:
        return f"{min(declared)} is declared and has counted nothing yet: no request so far"
    return (
        f"no family {families} yet; if the replica has answered requests, does"
        f" the server match profile {profile.name}?"
    )


@dataclass(frozen=True, slots=True)
class _Sums:
    """Which values of expositions of one layout a profile reads, but for the durations.

    `pick` takes the counters out of all values. `notes` are for the operator, about the layout.
    """

    memory: MemorySums | None
    queue: Sum
    errors: Sum
    started: Sum
    running: Sum
    tokens: Sum
    batches: BatchSums | None
    pick: Picker
    notes: tuple[str, ...]


def _sums(layout: Layout, profile: Profile) -> _Sums:
    """Found once for each layout."""
    known: _Sums | None = layout.known.get(profile)
    if known is None:
        known = layout.known[profile] = _Sums(
            memory=memory_sums(layout, profile.memory) if profile.memory else None,
            queue=gauge(layout, profile.queue),
            errors=counter(layout, profile.errors),
            started=gauge(layout, profile.started),
            running=gauge(layout, profile.running),
            tokens=counter(layout, profile.tokens),
            batches=batch_sums(layout, profile.batches),
            pick=picker(layout, profile),
            notes=tuple(_notes(layout, profile)),
        )
    return known


def _notes(layout: Layout, profile: Profile) -> Iterator[str]:
    if layout.repeated:
        yield (
            f"{layout.repeated} samples stand there once more with the same labels:"
            " the first of each counts, as for Prometheus"
        )
    for name, source in (("queue", profile.queue), ("running", profile.running)):
        if source is None or not source.copies:
            continue
        exposed, counted = len(layout.of(replace(source, copies=()))), len(layout.of(source))
        if exposed > counted:
            yield f"{exposed} ranks tell the same {name}: {counted} of them counted"
            break
