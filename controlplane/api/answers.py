"""The shape of every answer, for the OpenAPI document; `views` fills them in.

Answers may have more keys one day: a client skips what it does not know.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from controlplane.settings import ClassMatch, Policy, PoolSettings, ReplicaSettings

_OPEN = ConfigDict(
    extra="allow",
    json_schema_serialization_defaults_required=True,
    use_attribute_docstrings=True,
)

State = Literal["starting", "ready", "gone"]
Draining = Literal["operator", "lease", "discovery"]
From = Literal["file", "api", "discovery", "default"]


class Answer(BaseModel):
    """Base of all."""

    model_config = _OPEN


class Counts(Answer):
    """How many replicas of a pool are in which state."""

    total: int
    starting: int
    """Not shown to Envoy yet: the health check was not answered."""
    ready: int
    gone: int
    """Nobody listens."""
    draining: int
    cut: int
    """Without traffic because their GPU memory is full."""
    stale: int
    """Whose last good scrape is too old."""


class Weighed(Answer):
    """What a replica gets."""

    capacity: float | None
    """Requests per second that it can carry."""
    capacity_tokens: float | None
    """The same in tokens per second; null where its server counts none."""
    tier: str | None
    weight: int | None
    share: float | None
    """Expected part of the pool's traffic, 0 to 1."""
    classes: list[str]
    """Classes of requests that it serves first; empty where requests are not parted by size."""


class ReplicaInShort(Weighed):
    """A replica in the list of its pool."""

    id: str
    address: str
    state: State
    draining: Draining | None
    in_flight: float | None
    """Requests that all Envoys together have at it now; null where none reports."""


class InForce(Answer):
    """By which policy was decided last."""

    policy_in_force: Policy | None
    """Null before the first decision; a changed one's from the next decision on."""
    shares_told_to_envoy: bool | None
    """Whether that policy tells Envoys what each replica is to get."""


class ClassView(Answer):
    """A class of a pool's requests, and who serves it."""

    name: str
    match: ClassMatch | None
    """Which requests belong to it; null for the one of all others."""
    replicas: list[str]
    """Ids of those that it has for itself; the others serve it where these are not healthy."""
    routed: bool
    """Whether requests go there already: Envoys check the replicas' health first."""
    part_of_work: float | None
    """Part of the pool's work that the class is, 0 to 1; null before requests go by class."""


class SourceView(Answer):
    """How a source does in which replicas are found."""

    name: str
    replicas: int | None
    """In its last answer; null before the first."""
    answer_age_s: float | None
    failing: bool
    """What it found before holds on."""
    problem: str | None


class DiscoveryView(Answer):
    """Where replicas of a pool are found."""

    sources: list[SourceView]
    withheld: list[str]
    """Ids of replicas that no source has any more, and that stay: too few would be left."""
    clashes: list[str]
    """What was found and is not used, in sentences."""


class PoolView(PoolSettings, InForce):
    """A pool: its settings, and its replicas in short."""

    model_config = _OPEN

    name: str
    source: Literal["file", "api"]
    """Who declared it."""
    sources: dict[str, From]
    """Where the value of each setting comes from."""
    suspect: bool
    """Most of it is silent, so that its weights stand still."""
    parting: list[ClassView] | None
    """The classes of its requests, in the order in which they are matched; null where all go
    anywhere."""
    parting_reasons: list[str]
    """Why its requests are parted as they are, or why they are not, in sentences; empty before
    anything is known of their sizes."""
    discovery: DiscoveryView
    replicas: list[ReplicaInShort]
    counts: Counts


class PoolList(Answer):
    """A page of pools."""

    pools: list[PoolView]
    next: str | None
    """For `after`; null on the last page."""


class Scrape(Answer):
    """The last scrape."""

    age_s: float | None
    """Since the last good one."""
    failure: str | None


class LoadReports(Answer):
    """What all Envoys together counted of a replica's requests in the last seconds."""

    age_s: float | None
    """Since the last report."""
    rate_rps: float | None
    latency_mean_ms: float | None
    """With the time on the way in it; null where no request ended."""
    in_flight: float | None
    """On average."""
    samples: float | None
    window_s: float | None
    errors: float | None
    error_fraction: float | None


class Step(Answer):
    """One step on the way to a weight."""

    name: str
    before: float | None
    after: float | None
    factor: float | None
    words: str


class ReplicaView(ReplicaSettings, Weighed, InForce):
    """Everything that is known of a replica."""

    model_config = _OPEN

    pool: str
    id: str
    source: Literal["file", "api", "discovery"]
    """Who declared it."""
    sources: dict[str, From]
    """Where the value of each setting comes from."""
    found_by: str | None
    """The source that discovered it."""
    owner: str | None
    """The token that registered it, and that alone of the role `register` may change it."""
    generation: int
    """Another one for each process: at another address, or of another `instance`."""
    state: State
    state_for_s: float | None
    draining: Draining | None
    lease_left_s: float | None
    shown_to_envoy: bool
    scrape: Scrape
    in_flight: float | None
    """Requests that all Envoys together have at it now; null where none reports."""
    readings: dict[str, Any] | None
    """What it did in the last seconds, by its own metrics."""
    load_reports: LoadReports | None
    """Null where no Envoy reports of it."""
    joined: dict[str, Any] | None
    """What exporters say of its GPUs."""
    drained: bool | None
    stale: bool | None
    why: list[str]
    """In sentences."""
    steps: list[Step]


class ReplicaList(Answer):
    """A page of replicas."""

    replicas: list[ReplicaView]
    next: str | None
    """For `after`; null on the last page."""


class HistoryEntry(Answer):
    """An explanation that was kept."""

    at: str
    """UTC, as RFC 3339 has it."""
    age_s: float
    changes: list[str]
    """What differs from the entry before, in sentences."""
    left_out: int
    """Entries between the one before and this that were not kept."""
    state: State
    draining: Draining | None
    scrape: Scrape
    in_flight: float | None
    readings: dict[str, Any] | None
    load_reports: LoadReports | None
    """Where they decided; null where it was scraped."""
    capacity: float | None
    tier: str | None
    weight: int
    share: float | None
    classes: list[str]
    """Of requests that it served first; empty where they were not parted by size."""
    serving: int
    """Replicas of its pool that served."""
    drained: bool
    stale: bool
    why: list[str]
    steps: list[Step]


class HistoryView(Answer):
    """The last hour of a replica, the oldest entry first."""

    pool: str
    id: str
    now: str
    kept_s: float
    entries: list[HistoryEntry]


class Put(Answer):
    """What has become of many replicas."""

    added: list[str]
    changed: list[str]
    unchanged: list[str]


class Changed(Answer):
    """One place where what Envoys would be told differs from what they hold."""

    type_url: str
    name: str
    pointer: str
    """JSON pointer into the resource; empty for the whole of it."""
    before: Any
    after: Any


class PreviewView(Answer):
    """What a change would come to. Nothing was changed."""

    dry_run: Literal[True]
    changes: bool
    """Whether Envoys would be told anything new."""
    when_ready: list[str]
    """Replicas that Envoys are told of only once they are ready; here they are taken to be."""
    resources: dict[str, dict[str, Any]]
    """The resources of the pools that change, as Envoys would get them, by type and name."""
    diff: list[Changed]
