"""A replica as the control plane shows it. A number that is not known is None."""

from typing import Any

from controlplane.client.answers import Answer, Tagged


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


class ReplicaInShort(Weighed):
    """A replica in the list of its pool, and in events."""

    id: str
    address: str
    state: str
    """`starting`, `ready` or `gone`."""
    draining: str | None = None
    """Who drains it: `operator`, `lease` or `discovery`."""
    in_flight: float | None = None
    """Requests that all Envoys together have at it now."""


class ReplicaLocality(Answer):
    """Where a replica runs."""

    region: str | None = None
    zone: str | None = None


class GpuDeclared(Answer):
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
    """Of it that is in use, 0 to 1."""


class Readings(Answer):
    """What a replica did over its window."""

    rate_rps: float | None = None
    """Requests per second."""
    latency_mean_ms: float | None = None
    p99_ms: float | None = None
    p99_resolution: str
    """`ok`, or the `first bucket` or `last bucket`, of which the p99 is only the limit."""
    in_flight: float | None = None
    """Requests at it, by its own metrics."""
    samples: float | None = None
    """Requests that were measured."""
    window_s: float | None = None
    errors: float | None = None
    error_fraction: float | None = None
    queue: float | None = None
    """Requests that wait inside of it."""
    running: float | None = None
    """Requests that it computes."""
    memory: tuple[GpuReading, ...]
    note: str | None = None
    """What is odd about them."""


class LoadReports(Answer):
    """What all Envoys together counted of a replica's requests in the last seconds."""

    age_s: float | None = None
    """Seconds since the last report."""
    rate_rps: float | None = None
    """Requests per second."""
    latency_mean_ms: float | None = None
    """With the time on the way in it; None where no request ended."""
    in_flight: float | None = None
    """Requests at it, on average."""
    samples: float | None = None
    """Requests that ended well."""
    window_s: float | None = None
    errors: float | None = None
    error_fraction: float | None = None


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


class Replica(Weighed, Tagged):
    """Everything that is known of a replica; its settings stand as they can be put."""

    pool: str
    id: str
    address: str
    slots: int | None = None
    """Requests that it computes at the same time; None: that is learned."""
    locality: ReplicaLocality
    labels: dict[str, str]
    gpu: GpuDeclared | None = None
    memory: dict[str, Any] | None = None
    ttl: str | None = None
    """The length of its lease, such as `30s`."""
    instance: str | None = None
    source: str
    """Who declared it: `file`, `api` or `discovery`."""
    sources: dict[str, str]
    """Where the value of each setting comes from."""
    found_by: str | None = None
    """The source that discovered it."""
    owner: str | None = None
    """The token that registered it, and that alone of the role `register` may change it."""
    generation: int
    """Another one for each process: at another address, or of another `instance`."""
    state: str
    """`starting`, `ready` or `gone`."""
    state_for_s: float | None = None
    draining: str | None = None
    """Who drains it: `operator`, `lease` or `discovery`."""
    lease_left_s: float | None = None
    shown_to_envoy: bool
    scrape: Scrape
    in_flight: float | None = None
    """Requests that all Envoys together have at it now; None where none reports."""
    policy_in_force: str | None = None
    """Null before the first decision."""
    shares_told_to_envoy: bool | None = None
    """Whether that policy tells Envoys what each replica is to get."""
    readings: Readings | None = None
    """What it did in the last seconds, by its own metrics."""
    load_reports: LoadReports | None = None
    """None where no Envoy reports of it."""
    joined: Joined | None = None
    """What exporters say of its GPUs."""
    drained: bool | None = None
    """Cut because its GPU memory is full."""
    stale: bool | None = None
    """Its last good scrape is too old."""
    why: tuple[str, ...]
    """Why it gets what it gets, in sentences."""
    steps: tuple[Step, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What is declared of it, as it can be put; keys of a newer control plane included."""
        document = self.document()
        return {key: document[key] for key in self.sources if key in document}


class ReplicaList(Answer):
    """A page of replicas."""

    replicas: tuple[Replica, ...]
    next: str | None = None
    """For `after`; None on the last page."""
