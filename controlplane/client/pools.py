"""A pool as the control plane shows it. Of its settings those are typed that many ask for."""

from typing import Any

from controlplane.client.answers import Answer, Tagged
from controlplane.client.replicas import ReplicaInShort


class Listener(Answer):
    """What a sidecar opens for its application."""

    address: str


class Route(Answer):
    """Which requests of the listener go to the pool."""

    prefix: str
    timeout: str


class Objective(Answer):
    """What the pool is meant to keep to."""

    p99: str
    """Such as `250ms`."""


class Balancing(Answer):
    """How requests are shared out; what a policy has beside its name is in `document()`."""

    policy: str


class HealthCheck(Answer):
    """Envoy's active health check."""

    path: str
    interval: str
    timeout: str


class Metrics(Answer):
    """How replicas are scraped; the rest is in `document()`."""

    profile: str


class Counts(Answer):
    """How many replicas of a pool are in which state."""

    total: int
    starting: int
    ready: int
    gone: int
    draining: int
    cut: int
    """Without traffic because their GPU memory is full."""
    stale: int
    """Whose last good scrape is too old."""


class HeaderMatch(Answer):
    """A request header that has exactly this value."""

    name: str
    value: str


class ClassMatch(Answer):
    """Which requests belong to a class: those for which everything that is given holds."""

    header: HeaderMatch | None = None
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


class Class(Answer):
    """A class of requests as it is declared."""

    name: str
    match: ClassMatch
    objective: Objective | None = None


class ServedClass(Answer):
    """A class of requests, and who serves it."""

    name: str
    match: ClassMatch | None = None
    """Which requests belong to it; None for the one of all others."""
    replicas: tuple[str, ...]
    """Ids of those that it has for itself; the others serve it where these are not healthy."""
    routed: bool
    """Whether requests go there already."""
    part_of_work: float | None = None
    """Part of the pool's work that the class is, 0 to 1; None before requests go by class."""


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


class Pool(Tagged):
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
    source: str
    """Who declared it: `file` or `api`."""
    sources: dict[str, str]
    """Where the value of each setting comes from."""
    policy_in_force: str | None = None
    """None before the first decision."""
    shares_told_to_envoy: bool | None = None
    """Whether that policy tells Envoys what each replica is to get."""
    suspect: bool
    """Most of it is silent, so that its weights stand still."""
    parting: tuple[ServedClass, ...] | None = None
    """The classes of its requests, in the order in which they are matched; None where all go
    anywhere."""
    parting_reasons: tuple[str, ...] = ()
    """Why its requests are parted as they are, or why they are not, in sentences."""
    discovery: Discovery
    replicas: tuple[ReplicaInShort, ...]
    counts: Counts

    @property
    def settings(self) -> dict[str, Any]:
        """What is declared of it, as it can be put; keys of a newer control plane included."""
        document = self.document()
        return {key: document[key] for key in self.sources if key in document}


class PoolList(Answer):
    """A page of pools."""

    pools: tuple[Pool, ...]
    next: str | None = None
    """For `after`; None on the last page."""
