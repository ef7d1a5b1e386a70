"""Which families of an exposition mean what, as data: a server is added by adding a row.

In come a pool's `MetricsSettings`; out comes the `Profile` that `read` goes by.
"""

from dataclasses import dataclass
from typing import Final

from controlplane.settings import Family, MetricsSettings

_SCALES: Final = {
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "bytes": 1.0,
    "KiB": 1024.0,
    "MiB": 1024.0**2,
    "GiB": 1024.0**3,
    "fraction": 1.0,
    "percent": 0.01,
    "1": 1.0,
}
"""What one of each unit is worth in seconds, bytes, a fraction of 1, or things counted."""

GPU_LABEL: Final = "gpu_uuid"
"""The label that tells the GPUs of one replica apart (Triton's name for it, and NIM's)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one quantity is read from.

    Attributes:
        family: As exposed; of a histogram without ``_bucket`` and ``_sum``.
        scale: What one unit of its samples is worth in ours: seconds, bytes, a fraction, or 1.
        labels: Names and values that a sample must have to count.
    """

    family: str
    scale: float = 1.0
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, family: Family) -> "Source":
        """The source that a user declared."""
        return cls(family.family, _SCALES[family.unit], tuple(sorted(family.labels.items())))


@dataclass(frozen=True, slots=True)
class Profile:
    """How to read one kind of server; None for what it does not expose.

    Attributes:
        name: As the config file names it.
        latency: Histogram of request durations, to seconds.
        memory_used: Gauge of GPU memory in use, to bytes; to a fraction without `memory_total`.
        memory_total: Gauge of the GPU memory there is, to bytes.
        queue: Gauge of requests that wait.
        errors: Counter of requests that failed.
        started: Gauge of when the process started, Unix seconds; only compared with itself.
    """

    name: str
    latency: Source
    memory_used: Source | None = None
    memory_total: Source | None = None
    queue: Source | None = None
    errors: Source | None = None
    started: Source = Source("process_start_time_seconds")

    @property
    def gauges_and_counters(self) -> tuple[Source, ...]:
        """Every source but the histogram."""
        optional = (self.memory_used, self.memory_total, self.queue, self.errors)
        return (self.started, *(source for source in optional if source is not None))


_SERVERS: Final = {
    profile.name: profile
    for profile in (
        # text-embeddings-inference. The server itself exposes no GPU memory; our example replica
        # does, under these names, and a family that is absent is only unknown.
        Profile(
            name="tei",
            latency=Source("te_request_duration"),
            memory_used=Source("te_gpu_memory_used_bytes"),
            memory_total=Source("te_gpu_memory_total_bytes"),
            queue=Source("te_queue_size"),
            errors=Source("te_request_failure"),
        ),
    )
}


def profile_of(settings: MetricsSettings) -> Profile:
    """The profile that a pool's settings choose or spell out."""
    if settings.latency is None:
        return _SERVERS[settings.profile]
    used, total = settings.memory_used, settings.memory_total
    if used is not None and used.unit in ("fraction", "percent"):
        total = None
    return Profile(
        name=settings.profile,
        latency=Source.of(settings.latency),
        memory_used=Source.of(used) if used else None,
        memory_total=Source.of(total) if total else None,
        queue=Source.of(settings.queue) if settings.queue else None,
        errors=Source.of(settings.errors) if settings.errors else None,
    )
