"""A replica as the control plane shows it, now and in the last hour. An unknown number is None."""

from typing import Annotated, Any

from controlplane.api.schema.answers import Answer, Declared, one_of
from controlplane.config import Locality
from controlplane.config.replica import Gpu

State = Annotated[str, one_of("starting", "ready", "unhealthy", "gone")]
Draining = Annotated[str, one_of("operator", "lease", "discovery")]


class InForce(Answer):
    """The policy of the last decision."""

    policy_in_force: str | None = None
    """None before the first decision; a changed policy applies from the next decision on."""
    shares_told_to_envoy: bool | None = None
    """Whether Envoys get a weight for each replica under that policy."""


class Weighed(Answer):
    """What a replica gets."""

    capacity: float | None = None
    """Requests per second that it can carry."""
    capacity_tokens: float | None = None
    """The same in tokens per second; None where its server counts none."""
    tier: str | None = None
    weight: int | None = None
    share: float | None = None
    """Expected part of the pool's traffic, 0 to 1."""
    classes: tuple[str, ...] = ()
    """Classes of requests that it serves first; empty where requests are not parted by size."""
    drained: bool | None = None
    """Cut, because its GPU memory is full or its requests fail."""
    stale: bool | None = None
    """Its last good scrape is too old."""


class ReplicaInShort(Weighed):
    """A replica in the list of its pool, and in events."""

    id: str
    address: str
    state: State
    """`starting`: its health check was not answered yet; `ready`; `unhealthy`: it fails its health
    check; `gone`: nothing listens."""
    draining: Draining | None = None
    """Who drains it."""
    in_flight: float | None = None
    """Requests of all Envoys in flight at it now; None where no Envoy reports."""
    rate_rps: float | None = None
    """Requests per second, by its own metrics or, without any, by the count of Envoys."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    error_fraction: float | None = None
    """The part of its requests that failed, 0 to 1."""
    queue: float | None = None
    """Requests or texts that wait inside it."""
    memory: float | None = None
    """The part of its fullest GPU's memory in use, 0 to 1."""


class ReplicaLocality(Answer, settings=Locality):
    """Where a replica runs."""

    region: str | None = None
    zone: str | None = None


class GpuDeclared(Answer, settings=Gpu):
    """The device that a replica computes on."""

    uuid: str


class Scrape(Answer):
    """The last scrape."""

    age_s: float | None = None
    """Seconds since the last good one."""
    failure: str | None = None
    """Why the last one failed; None if it did not."""


class GpuReading(Answer):
    """The memory of one GPU."""

    gpu: str | None = None
    """Its UUID."""
    used_bytes: float | None = None
    total_bytes: float | None = None
    fraction: float | None = None
    """The part in use, 0 to 1."""


class RequestStats(Answer):
    """What was counted of a replica's requests in the last seconds."""

    rate_rps: float | None = None
    """Requests per second."""
    latency_mean_ms: float | None = None
    """Including the network where Envoys counted; None where no request ended."""
    in_flight: float | None = None
    """Requests at it, on average."""
    samples: float | None = None
    """Requests that were measured; where Envoys count, only successful ones."""
    window_s: float | None = None
    errors: float | None = None
    error_fraction: float | None = None


class Readings(RequestStats):
    """The same by its own metrics, and what else they say."""

    p50_ms: float | None = None
    p99_ms: float | None = None
    p99_resolution: str
    """`ok`; or `first bucket` or `last bucket`: the p99 is only the limit of that bucket."""
    queue: float | None = None
    """Requests that wait inside it."""
    running: float | None = None
    """Requests that it computes."""
    memory: tuple[GpuReading, ...]
    note: str | None = None
    """What is unusual about them."""


class LoadReports(RequestStats):
    """The same by the count of all Envoys together."""

    age_s: float | None = None
    """Seconds since the last report."""


class Joined(Answer):
    """What exporters say of a replica's GPUs."""

    memory: tuple[GpuReading, ...]
    age_s: float | None = None
    failure: str | None = None


class Step(Answer):
    """One step on the way to a weight."""

    name: str
    before: float | None = None
    after: float | None = None
    factor: float | None = None
    words: str


class Replica(Weighed, InForce, Declared):
    """Everything that is known of a replica, its settings as they can be put."""

    pool: str
    id: str
    address: str
    ingress: str | None = None
    """Where an Envoy beside it takes its requests; None: it takes them itself."""
    slots: int | None = None
    """Requests that it computes at the same time; None: that is learned."""
    locality: ReplicaLocality
    labels: dict[str, str]
    gpu: GpuDeclared | None = None
    memory: dict[str, Any] | None = None
    ttl: str | None = None
    """The length of its lease, such as `30s`."""
    instance: str | None = None
    source: Annotated[str, one_of("file", "api", "discovery")]
    """Who declared it."""
    found_by: str | None = None
    """The source that discovered it."""
    owner: str | None = None
    """The token that registered it; other tokens of the role `register` may not change it."""
    generation: int
    """Counts processes: a new one has another address or another `instance`."""
    state: State
    state_for_s: float | None = None
    draining: Draining | None = None
    """Who drains it."""
    lease_left_s: float | None = None
    shown_to_envoy: bool
    scrape: Scrape
    in_flight: float | None = None
    """Requests that all Envoys together have at it now; None where none reports."""
    readings: Readings | None = None
    """What it did in the last seconds, by its own metrics."""
    load_reports: LoadReports | None = None
    """None where no Envoy reports it."""
    joined: Joined | None = None
    """What exporters say of its GPUs."""
    why: tuple[str, ...]
    """Why it gets what it gets, in sentences."""
    steps: tuple[Step, ...]

    def reading(self, name: str) -> float | None:
        """One of its readings, by name; None where it has none."""
        return getattr(self.readings, name) if self.readings is not None else None


class ReplicaList(Answer):
    """A page of replicas."""

    replicas: tuple[Replica, ...]
    next: str | None = None
    """Value for `after` on the next page; None on the last."""


class ReplicaEvent(Answer):
    """Event `replica`: a replica was added, changed or removed.

    Beside these keys it has those of `ReplicaInShort`, unless the replica is gone.
    """

    pool: str
    id: str
    change: Annotated[str, one_of("added", "changed", "removed")]


class ReplicaNow(ReplicaEvent, ReplicaInShort):
    """The same of a replica that is there, as it is now."""


class HistoryEntry(Answer):
    """An explanation that was kept."""

    at: str
    """UTC, RFC 3339."""
    age_s: float
    changes: tuple[str, ...]
    """What differs from the entry before, in sentences."""
    left_out: int
    """Entries before this one that were left out."""
    state: State
    draining: Draining | None = None
    scrape: Scrape
    in_flight: float | None = None
    readings: Readings | None = None
    load_reports: LoadReports | None = None
    """Where its weight comes from them; None where it was scraped."""
    capacity: float | None = None
    """Requests per second that it could carry."""
    tier: str | None = None
    weight: int
    share: float | None = None
    """Part of the pool's traffic, 0 to 1."""
    classes: tuple[str, ...] = ()
    """Classes of requests that it served first; empty where requests were not parted by size."""
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
    """When it was asked for; UTC, RFC 3339."""
    kept_s: float
    """Seconds that an entry is kept."""
    entries: tuple[HistoryEntry, ...]
