"""The last hour of a replica as the control plane shows it."""

from controlplane.client.answers import Answer
from controlplane.client.replicas import LoadReports, Readings, Scrape, Step


class HistoryEntry(Answer):
    """An explanation that was kept."""

    at: str
    """UTC, as RFC 3339 has it."""
    age_s: float
    changes: tuple[str, ...]
    """What differs from the entry before, in sentences."""
    left_out: int
    """Entries between the one before and this that were not kept."""
    state: str
    draining: str | None = None
    scrape: Scrape
    in_flight: float | None = None
    readings: Readings | None = None
    load_reports: LoadReports | None = None
    """Where they decided; None where it was scraped."""
    capacity: float | None = None
    """Requests per second that it could carry."""
    tier: str | None = None
    weight: int
    share: float | None = None
    """Part of the pool's traffic, 0 to 1."""
    classes: tuple[str, ...] = ()
    """Of requests that it served first; empty where they were not parted by size."""
    serving: int
    """Replicas of its pool that served."""
    drained: bool
    stale: bool
    why: tuple[str, ...]
    steps: tuple[Step, ...]


class History(Answer):
    """The last hour of a replica, the oldest entry first."""

    pool: str
    id: str
    now: str
    """When it was asked; UTC, as RFC 3339 has it."""
    kept_s: float
    """Seconds that an entry is kept."""
    entries: tuple[HistoryEntry, ...]
