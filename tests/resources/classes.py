"""Pools whose requests are parted, as balancing leaves them."""

from collections.abc import Iterable, Mapping

from controlplane.config import ClassMatch
from controlplane.resources.classes import BULK, OTHERS, Parting, TrafficClass
from controlplane.resources.endpoints import EndpointWeight

EndpointWeights = Mapping[str, EndpointWeight]


def parted(
    endpoint_weights: EndpointWeights, *classes: TrafficClass, others: Iterable[str]
) -> Parting:
    """Classes, and the replicas that are left to the requests that no class takes."""
    rest = {id_: endpoint_weights[id_] for id_ in others}
    return Parting((*classes, TrafficClass(OTHERS, None, rest, routed=True)))


def by_length(
    endpoint_weights: EndpointWeights,
    of_bulk: Iterable[str],
    threshold: int = 800,
    *,
    routed: bool = True,
) -> Parting:
    """Requests of so many bytes and more go to these replicas, and all others to the others."""
    bulk = {id_: endpoint_weights[id_] for id_ in of_bulk}
    match = ClassMatch(min_bytes=threshold)
    one = TrafficClass(BULK, match, bulk, routed)
    return parted(endpoint_weights, one, others=endpoint_weights.keys() - bulk.keys())
