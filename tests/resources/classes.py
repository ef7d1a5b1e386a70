"""Pools whose requests are parted, as balancing leaves them."""

from collections.abc import Iterable, Mapping

from controlplane.config import ClassMatch
from controlplane.resources.classes import BULK, OTHERS, Parting, TrafficClass
from controlplane.resources.endpoints import Portion

Portions = Mapping[str, Portion]


def parted(portions: Portions, *classes: TrafficClass, others: Iterable[str]) -> Parting:
    """Classes, and the replicas that are left to the requests that no class takes."""
    rest = {id_: portions[id_] for id_ in others}
    return Parting((*classes, TrafficClass(OTHERS, None, rest, routed=True)))


def by_length(
    portions: Portions, of_bulk: Iterable[str], threshold: int = 800, *, routed: bool = True
) -> Parting:
    """Requests of so many bytes and more go to these replicas, and all others to the others."""
    bulk = {id_: portions[id_] for id_ in of_bulk}
    match = ClassMatch(min_bytes=threshold)
    one = TrafficClass(BULK, match, bulk, routed)
    return parted(portions, one, others=portions.keys() - bulk.keys())
