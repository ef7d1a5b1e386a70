"""A pool as the control plane shows it. Only the settings that many ask for are typed."""

from typing import Annotated, Any

from controlplane.api.schema.answers import Answer, Declared, one_of
from controlplane.api.schema.replicas import InForce, ReplicaInShort
from controlplane.config import (
    BalancingSettings,
    ClassMatch,
    ClassSettings,
    HeaderMatch,
    MetricsSettings,
)
from controlplane.config.classes import ObjectiveSettings
from controlplane.config.health_check import HealthCheckSettings
from controlplane.config.pool import ListenerSettings, RouteSettings, ScalingSettings
from controlplane.config.tls import MeshSettings


class Listener(Answer, settings=ListenerSettings):
    """What a sidecar opens for its application."""

    address: str


class Route(Answer, settings=RouteSettings):
    """Which requests of the listener go to the pool."""

    prefix: str
    timeout: str


class Objective(Answer, settings=ObjectiveSettings):
    """What the pool is to achieve."""

    p99: str
    """Duration such as `250ms`."""
    availability: str | None = None
    """Part of requests to answer without an error, such as `99.9%`; None: no objective."""


class Balancing(Answer, settings=BalancingSettings):
    """How requests are balanced; the policy's other settings are in `document()`."""

    policy: str


class HealthCheck(Answer, settings=HealthCheckSettings):
    """Envoy's active health check."""

    path: str
    interval: str
    timeout: str


class Metrics(Answer, settings=MetricsSettings):
    """How replicas are scraped; the rest is in `document()`."""

    profile: str


class Mesh(Answer, settings=MeshSettings):
    """Mutual TLS between the Envoys of clients and those beside replicas."""

    mode: Annotated[str, one_of("off", "permissive", "strict")]
    clients: tuple[str, ...] | None = None
    """Who may use the pool; None: every node of the trust domain."""


class ScalingBounds(Answer, settings=ScalingSettings):
    """Bounds of the number of replicas that autoscalers are given."""

    min_replicas: int
    max_replicas: int | None = None
    max_utilization: float
    scale_down_after: str


class Counts(Answer):
    """How many replicas of a pool are in which state."""

    total: int
    starting: int
    """Not sent to Envoys yet: the health check was not answered."""
    ready: int
    unhealthy: int = 0
    """Their health check fails."""
    gone: int
    """Nothing listens."""
    draining: int
    cut: int
    """Without traffic because their GPU memory is full."""
    stale: int
    """Their last good scrape is too old."""


class Traffic(Answer):
    """What the replicas of a pool do together."""

    rate_rps: float | None = None
    """Requests per second; None where nothing was measured."""
    p50_ms: float | None = None
    """Over all requests; None where no replica reports latencies."""
    p99_ms: float | None = None
    error_fraction: float | None = None
    """The part of requests that failed, 0 to 1."""
    in_flight: float | None = None
    """Requests at all replicas."""
    queue: float | None = None
    """Requests or texts that wait inside the replicas."""
    capacity_rps: float | None = None
    """Requests per second that the serving replicas can carry; None before it was measured."""


class TrafficPoint(Traffic):
    """What the replicas of a pool did together at one time."""

    at: str
    """UTC, RFC 3339."""
    age_s: float


class PoolHistory(Answer):
    """The last hour of a pool, the oldest point first."""

    pool: str
    now: str
    """When it was asked for; UTC, RFC 3339."""
    kept_s: float
    """Seconds that a point is kept."""
    points: tuple[TrafficPoint, ...]


class PoolResources(Answer):
    """What Envoys get of a pool."""

    pool: str
    resources: dict[str, dict[str, Any]]
    """Resources by type and name, in protobuf's JSON."""


class NodeResources(Answer):
    """What an Envoy would be sent."""

    resources: dict[str, dict[str, Any]]
    """Resources by type and name, in protobuf's JSON."""


class Header(Answer, settings=HeaderMatch):
    """A request header that has exactly this value."""

    name: str
    value: str


class Match(Answer, settings=ClassMatch):
    """Which requests belong to a class: a request must meet all given conditions."""

    header: Header | None = None
    prefix: str | None = None
    """The start of the path."""
    min_bytes: int | None = None
    """The least length of the body."""
    max_bytes: int | None = None
    """The greatest length of the body."""

    def __str__(self) -> str:
        parts = [
            f"with {self.header.name}: {self.header.value}" if self.header is not None else "",
            f"to {self.prefix}" if self.prefix is not None else "",
            f"from {self.min_bytes} bytes on" if self.min_bytes is not None else "",
            f"of up to {self.max_bytes} bytes" if self.max_bytes is not None else "",
        ]
        return " ".join(filter(None, parts))


class Class(Answer, settings=ClassSettings):
    """A class of requests as it is declared."""

    name: str
    match: Match
    objective: Objective | None = None


class ServedClass(Answer):
    """A class of requests, and the replicas that serve it."""

    name: str
    match: Match | None = None
    """Which requests belong to it; None for the class of all others."""
    replicas: tuple[str, ...]
    """Ids of its own replicas; the others serve it only while these are not healthy."""
    routed: bool
    """Whether requests go there already."""
    part_of_work: float | None = None
    """The class's part of the pool's work, 0 to 1; None before requests go by class."""


class SentTo(Answer):
    """A part of a zone's requests."""

    region: str
    zone: str
    """Where it goes; both empty: no zone."""
    part: float
    """0 to 1."""


class Zone(Answer):
    """A zone, and where its Envoys send the requests of a class."""

    class_name: str
    """Empty for requests of no class."""
    region: str
    zone: str
    """Both empty: Envoys, or replicas, without a locality."""
    envoys: int
    """Envoys in the zone that use the pool."""
    demand: float | None = None
    """Tokens per second of their requests; None where none were counted."""
    capacity: float | None = None
    """Tokens per second that the zone's replicas can carry; None where none was measured."""
    stays: float
    """Part of the zone's requests that its own replicas get, 0 to 1."""
    spills: tuple[SentTo, ...]
    """Where the other requests go."""


class FoundIn(Answer):
    """A source in which replicas are found."""

    name: str
    replicas: int | None = None
    """Replicas in its last answer; None before the first."""
    answer_age_s: float | None = None
    failing: bool
    problem: str | None = None


class Discovery(Answer):
    """Where replicas of a pool are found."""

    sources: tuple[FoundIn, ...]
    withheld: tuple[str, ...]
    """Ids of replicas that no source has any more, and that stay because too few would be left."""
    clashes: tuple[str, ...]
    """What was found but is not used, in sentences."""


class Pool(InForce, Declared):
    """A pool: its settings as they can be put, and its replicas in short."""

    name: str
    model: str
    listener: Listener
    route: Route
    objective: Objective | None = None
    classes: tuple[Class, ...] | None = None
    """Classes of requests; None: requests are parted by length where that helps."""
    balancing: Balancing
    health_check: HealthCheck
    metrics: Metrics
    memory: dict[str, Any]
    mesh: Mesh
    scaling: ScalingBounds
    upstream: dict[str, Any]
    """How replicas are reached; see the config file."""
    source: Annotated[str, one_of("file", "api")]
    """Who declared it."""
    suspect: bool
    """Most replicas cannot be scraped, so the weights are frozen."""
    parting: tuple[ServedClass, ...] | None = None
    """The classes of its requests, in matching order; None where all requests go anywhere."""
    parting_reasons: tuple[str, ...] = ()
    """Why its requests are or are not parted into classes, in sentences."""
    zones: tuple[Zone, ...] | None = None
    """The requests of each zone and where they go; None where zones do not matter."""
    zone_reasons: tuple[str, ...] = ()
    """The same in sentences."""
    discovery: Discovery
    replicas: tuple[ReplicaInShort, ...]
    counts: Counts
    traffic: Traffic


class PoolList(Answer):
    """A page of pools."""

    pools: tuple[Pool, ...]
    next: str | None = None
    """Value for `after` on the next page; None on the last."""


class ClassScaling(Answer):
    """What one class of requests needs; capacity and load are in tokens per second."""

    name: str
    tokens: float
    """The present load."""
    forecast_tokens: float
    """The load forecast for when a new replica would serve, or the recent load if larger."""
    backlog_tokens: float
    """The capacity needed to work off waiting requests; 0: none wait."""
    present: int
    """Replicas that the present load needs."""
    replicas: int
    """Replicas that the class should have."""
    utilization: float | None = None
    """Part of the capacity of these replicas that the forecast takes; None: nothing is measured."""
    p99_ms: float | None = None
    """Predicted with these replicas."""
    objective_ms: float | None = None
    """Objective of the p99; None: no objective."""
    reachable: bool
    """Whether any number of replicas keeps the objective."""


class Scaling(Answer):
    """How many replicas a pool should have, and why."""

    pool: str
    replicas: int
    """Replicas that the pool should have; what an autoscaler sets."""
    current: int
    """Replicas that serve, are about to, or are drained or cut."""
    present: int
    """Replicas that the present load needs."""
    active: bool
    """Whether requests come, or the pool may never be empty."""
    removable: tuple[str, ...]
    """Ids of replicas that may go, in this order. The others carry the load."""
    typical_capacity_tokens: float | None = None
    """Tokens per second of the median replica, expected of a new one; None: not measured."""
    cold_start_s: float
    """Seconds until a new replica serves."""
    cold_starts: int
    """How many starts `cold_start_s` was learned from; 0: it is an assumption."""
    classes: tuple[ClassScaling, ...]
    reasons: tuple[str, ...]
    """Why, in sentences."""
