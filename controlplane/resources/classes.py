"""A pool's classes of requests: each has a cluster of its own, with its own replicas first.

Every cluster of a pool has all of its replicas, in two priorities: those of the class, and the
others for as much of it as the first are not healthy. A part of the pool's own cluster (a subset of
its hosts) would need no further health checks of each replica, but where all replicas of the class
are down Envoy would go on sending there: a subset that has lost most of its hosts panics by itself,
however healthy the rest is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.config import ClassMatch
from controlplane.resources.endpoints import EndpointWeight, weight_of

OTHERS: Final = ""
"""The name of the class that every request belongs to that no other class takes."""

BULK: Final = "bulk"
"""The class of long requests, where requests are parted by their length alone."""

_SEPARATOR: Final = ":"
"""Separates pool and class in a cluster's name; neither can have a colon."""

_RETRIES: Final = "/retries"
"""At the end of the name of the cluster for what is tried again: no name can have a slash."""

_VIA: Final = "/via"
"""At the end of the name of the cluster for what goes through gateways, or straight to replicas
where no gateway is healthy."""

_GATEWAYS: Final = "/gateways"
"""At the end of the name of the cluster of these gateways."""

AT_GATEWAY: Final = "(gateway)"
"""What an Envoy calls a gateway where it gives a replica's id: no id has parentheses."""


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """A class of requests, and who serves it.

    Attributes:
        name: `OTHERS` for all that no other class takes; these have the pool's own cluster.
        match: Which requests belong to it; None for `OTHERS` alone.
        endpoint_weights: What each of its own replicas gets, by id. The tier is not looked at: a
            replica is in the tier that it has in the pool, because one that moved to another
            locality with every change would be a new host to Envoy. If Envoy knows none of them,
            all replicas of the pool serve it. One that drains comes after the others of the class.
        routed: Whether routes lead to it: not before every Envoy had the time to check the
            replicas' health for its cluster.
    """

    name: str
    match: ClassMatch | None
    endpoint_weights: Mapping[str, EndpointWeight]
    routed: bool


@dataclass(frozen=True, slots=True)
class Parting:
    """How a pool's requests are parted.

    Attributes:
        classes: In the order in which they are matched, `OTHERS` last; none in `UNPARTED`.
    """

    classes: tuple[TrafficClass, ...]

    @classmethod
    def of(cls, named: Iterable[TrafficClass], rest: Mapping[str, EndpointWeight]) -> "Parting":
        """Part requests into named classes, and all others, which `rest` serve."""
        return cls((*named, TrafficClass(OTHERS, None, rest, routed=True)))

    def __getitem__(self, name: str) -> TrafficClass:
        """The class of this name."""
        return next(each for each in self.classes if each.name == name)

    @property
    def named(self) -> tuple[TrafficClass, ...]:
        """The classes with a cluster beside the pool's own: all but `OTHERS`."""
        return self.classes[:-1]

    @property
    def routes(self) -> tuple[tuple[str, ClassMatch], ...]:
        """The names of the classes that routes lead to, and what belongs to each."""
        return tuple(
            (each.name, each.match)
            for each in self.classes
            if each.routed and each.match is not None
        )


UNPARTED: Final = Parting(())
"""All replicas serve all requests of a pool."""


def cluster_of(pool: str, class_name: str) -> str:
    """The name of the cluster for a class of a pool's requests."""
    return f"{pool}{_SEPARATOR}{class_name}" if class_name else pool


def retry_cluster_of(cluster: str) -> str:
    """The name of the cluster for what another cluster's replicas could not answer."""
    return f"{cluster}{_RETRIES}"


def via_cluster_of(cluster: str) -> str:
    """The name of the cluster for requests of a class that go through gateways."""
    return f"{cluster}{_VIA}"


def gateways_cluster_of(cluster: str) -> str:
    """The name of the cluster of the gateways that requests of a class go through."""
    return f"{cluster}{_GATEWAYS}"


def leads_to_gateways(cluster: str) -> bool:
    """Whether requests to a cluster may go through a gateway."""
    return cluster.endswith((_VIA, _GATEWAYS))


def pool_of(cluster: str) -> str:
    """Return the pool that a cluster belongs to."""
    return cluster.partition("/")[0].partition(_SEPARATOR)[0]


def class_of(cluster: str) -> str:
    """The class that a cluster is for."""
    return cluster.partition("/")[0].partition(_SEPARATOR)[2]


def weights_in_class(
    own: Mapping[str, EndpointWeight], base: Mapping[str, EndpointWeight]
) -> tuple[Mapping[str, EndpointWeight], frozenset[str]]:
    """What replicas get in a class's cluster, in their tiers; and the ids of those used first."""
    first = frozenset(own.keys() & base.keys()) or frozenset(base)
    changed = {
        id_: weight_of(each.tier, each.weight, each.draining or there.draining, there.healthy)
        for id_ in first
        if (each := own.get(id_)) is not None and each is not (there := base[id_])
    }
    return ({**base, **changed} if changed else base), first
