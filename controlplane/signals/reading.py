"""What one scrape of one replica said, in our units: text, profile and time in, `Reading` out."""

from dataclasses import dataclass

from controlplane.signals.exposition import Exposition, parse
from controlplane.signals.histogram import Histogram
from controlplane.signals.latency import latency_of
from controlplane.signals.memory import GpuMemory, memory_of, scaled_sum
from controlplane.signals.profile import Profile, Source


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
        running: Requests that are being computed, or that it has in all, as its server counts.
        tokens: That it computed since its start.
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


def read(text: str, profile: Profile, at: float) -> Reading:
    """Read a scraped text.

    Args:
        text: The body of the answer, decoded.
        profile: Of the pool.
        at: When it was scraped, seconds of a monotonic clock.

    Raises:
        ExpositionError: Whatever is wrong with the text; no other error escapes.
    """
    exposition = parse(text, profile.samples, profile.typed)
    note, durations = None, None
    if (found := latency_of(exposition, profile.latency)) is not None:
        latency, durations = found
        if latency.kind != "histogram":
            note = f"{latency.source.family} has no distribution: the mean stands for the p99"
    else:
        families = " or ".join(latency.source.family for latency in profile.latency)
        note = (
            f"no family {families} yet; if the replica has answered requests, does"
            f" the server match profile {profile.name}?"
        )
    return Reading(
        at=at,
        latency=durations,
        memory=memory_of(exposition, profile.memory) if profile.memory else (),
        queue=_gauge(exposition, profile.queue),
        errors=_counter(exposition, profile.errors),
        started_at=_gauge(exposition, profile.started),
        note=note,
        running=_gauge(exposition, profile.running),
        tokens=_counter(exposition, profile.tokens),
    )


def _gauge(exposition: Exposition, source: Source | None) -> float | None:
    """A family summed over its label sets; None when there is nothing but NaN."""
    return scaled_sum(exposition.of(source), source) if source else None


def _counter(exposition: Exposition, source: Source | None) -> float | None:
    return scaled_sum(exposition.counter(source), source) if source else None
