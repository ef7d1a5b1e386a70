"""A pool's long requests: a cluster of their own, that has the fast replicas first.

It has all replicas, in two priorities: the fast ones, and the others for as much of it as the fast
ones are not healthy. A part of the pool's own cluster (a subset of its hosts) would need no second
health check of each replica, but where all fast ones are down Envoy would go on sending there: a
subset that has lost most of its hosts panics by itself, however healthy the rest is.
"""

from dataclasses import dataclass, field
from typing import Final

SUFFIX: Final = ":long"
"""Of the cluster's name; no pool's name can have a colon."""


@dataclass(frozen=True, slots=True)
class LongRequests:
    """How a pool's requests are parted.

    Attributes:
        threshold: Bytes of body from which on a request is long.
        fast: Ids of the replicas that long requests go to.
        routed: Whether they do: not before every Envoy had the time to check the replicas'
            health for the second cluster.
        part: Of the pool's work that they are, 0 to 1.
    """

    threshold: int
    fast: frozenset[str]
    routed: bool
    part: float = field(default=0.0, compare=False)


def long_cluster(pool: str) -> str:
    """The name of the cluster for a pool's long requests."""
    return pool + SUFFIX


def pool_of(cluster: str) -> str:
    """The pool that a cluster belongs to."""
    return cluster.removesuffix(SUFFIX)
