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
from controlplane.config.mesh import MeshSettings
from controlplane.config.pool import ListenerSettings, RouteSettings
from controlplane.config.scaling import ScalingSettings


class Listener(Answer, settings=ListenerSettings):
    """What a sidecar opens for its application."""

    address: str


class Route(Answer, settings=RouteSettings):
    """Which requests of the listener go to the pool."""

    prefix: str
    timeout: str


class Objective(Answer, settings=ObjectiveSettings):
    """What the pool is meant to keep to."""

    p99: str
    """Such as `250ms`."""
    availability: str | None = None
    """Of requests that are to be answered without an error, such as `99.9%`; None: none is
    promised."""


class Balancing(Answer, settings=BalancingSettings):
    """How requests are shared out; what a policy has beside its name is in `document()`."""

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
    """Nobody listens."""
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
    """Over all requests; None where no replica says how long its requests take."""
    p99_ms: float | None = None
    error_fraction: float | None = None
    """Of all requests that failed, 0 to 1."""
    in_flight: float | None = None
    """Requests at all replicas."""
    queue: float | None = None
    """Requests or texts that wait inside the replicas."""
    capacity_rps: float | None = None
    """Requests per second that the replicas that serve can carry; None before it was measured."""


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
    """By type and name, in protobuf's JSON."""


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
    """The length of the body is at least so much."""
    max_bytes: int | None = None
    """It is at most so much."""

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
    """A class of requests, and who serves it."""

    name: str
    match: Match | None = None
    """Which requests belong to it; None for the one of all others."""
    replicas: tuple[str, ...]
    """Ids of those that it has for itself; the others serve it where these are not healthy."""
    routed: bool
    """Whether requests go there already."""
    part_of_work: float | None = None
    """Part of the pool's work that the class is, 0 to 1; None before requests go by class."""


class SentTo(Answer):
    """A part of a zone's requests."""

    region: str
    zone: str
    """That it goes to; both empty: no zone."""
    part: float
    """0 to 1."""


class Zone(Answer):
    """A zone, and where its Envoys send the requests of a class."""

    class_name: str
    """Empty for all that no class of its own takes."""
    region: str
    zone: str
    """Both empty: Envoys, or replicas, that do not say where they run."""
    envoys: int
    """That use the pool and run there."""
    demand: float | None = None
    """Tokens per second that their requests are; None where none were counted."""
    capacity: float | None = None
    """Tokens per second that its replicas carry; None where none was measured."""
    stays: float
    """Part of its requests that its own replicas get, 0 to 1."""
    spills: tuple[SentTo, ...]
    """The others."""


class FoundIn(Answer):
    """How a source does in which replicas are found."""

    name: str
    replicas: int | None = None
    """In its last answer; None before the first."""
    answer_age_s: float | None = None
    failing: bool
    problem: str | None = None


class Discovery(Answer):
    """Where replicas of a pool are found."""

    sources: tuple[FoundIn, ...]
    withheld: tuple[str, ...]
    """Ids of replicas that no source has any more, and that stay: too few would be left."""
    clashes: tuple[str, ...]
    """What was found and is not used, in sentences."""


class Pool(InForce, Declared):
    """A pool: its settings as they can be put, and its replicas in short."""

    name: str
    model: str
    listener: Listener
    route: Route
    objective: Objective | None = None
    classes: tuple[Class, ...] | None = None
    """Of requests; None: they are parted by length where that helps."""
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
    """The classes of its requests, in the order in which they are matched; None where all go
    anywhere."""
    parting_reasons: tuple[str, ...] = ()
    """Why its requests are parted as they are, or why they are not, in sentences."""
    zones: tuple[Zone, ...] | None = None
    """What arises in each zone and where it goes; None where Envoys use all replicas alike."""
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
    """For `after`; None on the last page."""
