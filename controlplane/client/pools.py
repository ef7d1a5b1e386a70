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


class LongRequests(Answer):
    """How a pool's requests are parted by their length."""

    from_bytes: int
    """Of body, from which on a request is long."""
    part_of_work: float | None = None
    replicas: tuple[str, ...]
    """Ids of the fast ones, to which they go."""
    routed: bool
    """Whether they do already."""


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
    long_requests: LongRequests | None = None
    """None where they go where the others go."""
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
