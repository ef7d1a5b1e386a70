"""What Envoys would be told: a plane that is thrown away decides as if it had happened."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Final

from controlplane.config import ClassMatch, OtlpSettings
from controlplane.config.identity import IdentitySettings
from controlplane.fleet import Command, Fleet, Pool, whole
from controlplane.plane.history import Histories
from controlplane.plane.observed import Observations, Probe
from controlplane.plane.plane import Plane
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.classes import BULK, Parting, TrafficClass
from controlplane.resources.endpoints import EndpointWeight


@dataclass(frozen=True, slots=True)
class Preview:
    """What Envoys hold, and what they would be sent once all put replicas are ready.

    `pools` are those whose resources differ; `unready` replicas are not shown before they are
    ready.
    """

    held: Catalog
    wanted: Catalog
    pools: tuple[str, ...]
    unready: tuple[str, ...]


class _Unrecorded(Histories):
    """A preview shows no history, and an entry for each replica costs time."""

    def record(self, *_: object) -> None:
        """Keep nothing."""


def preview(plane: Plane, command: Command, now: float) -> Preview:
    """Work out what a command would come to, or raise its `Refused`; the plane stays as it is."""
    imagined = _copied(plane, command.pool, now)
    unready = []
    for found in imagined.apply(command, now):
        target = imagined.target(found.pool, found.replica) if found.replica else None
        if target is not None and not imagined._observed.is_shown(found.pool, target.replica.id):
            unready.append(target.replica.id)
            imagined.probed(target, Probe.HEALTHY, now)
    held, wanted = plane.catalog, imagined.decide(now, plane._envoys)
    pools = held.pools.keys() | wanted.pools.keys()
    changed = (name for name in pools if held.pools.get(name) is not wanted.pools.get(name))
    return Preview(held, wanted, tuple(sorted(changed)), tuple(unready))


def _copied(plane: Plane, pool: str, now: float) -> Plane:
    """Copy a plane before one pool changes; what both planes share never changes in place."""
    imagined = Plane(now)
    imagined.fleet, imagined.catalog = plane.fleet, plane.catalog
    imagined._unbuilt = plane._unbuilt.of(pool)
    imagined._observed = Observations(
        (key, copy(observed)) for key, observed in plane._observed.items()
    )
    imagined._decisions, imagined._tables = plane._decisions.copy(), plane._tables.copy()
    imagined._traffic, imagined._devices = plane._traffic.copy(), copy(plane._devices)
    imagined.sizes = {pool: sizes.copy() for pool, sizes in plane.sizes.items()}
    imagined.listeners = plane.listeners
    imagined._has_decided = True
    imagined.histories = _Unrecorded()
    return imagined


_THRESHOLD: Final = 1024
"""Bytes; a real one is learned from requests."""


def catalog_if_healthy(fleet: Fleet, otlp: OtlpSettings | None = None) -> Catalog:
    """Build every resource that Envoys may get of a fleet before anything is measured.

    Pools whose requests may come to be parted into classes have what that takes.
    """
    plane = _healthy(fleet, IdentitySettings().trust_domain, otlp)
    catalog, endpoint_weights = plane.decide(0.0), plane._decisions.endpoint_weights
    parting = {
        name: found
        for name, pool in fleet.pools.items()
        if (found := _parting(pool, endpoint_weights.get(name, {}))) is not None
    }
    return build(
        fleet, endpoint_weights, catalog, dict.fromkeys(parting), parting, plane._decisions.spreads
    )


def first_catalog(fleet: Fleet, trust_domain: str, otlp: OtlpSettings | None = None) -> Catalog:
    """Build what Envoys are sent at first: every replica is healthy, and nothing is measured."""
    return _healthy(fleet, trust_domain, otlp).decide(0.0)


def _healthy(fleet: Fleet, trust_domain: str, otlp: OtlpSettings | None) -> Plane:
    plane = Plane(0.0, trust_domain, otlp)
    plane.adopt(whole(fleet), 0.0)
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, 0.0)
    return plane


def _parting(pool: Pool, endpoint_weights: Mapping[str, EndpointWeight]) -> Parting | None:
    """The classes that there may come to be; each has some replicas, and the rest behind them."""
    settings, balancing = pool.settings, pool.settings.balancing
    if settings.classes is not None:
        matches = {request_class.name: request_class.match for request_class in settings.classes}
    elif (
        not settings.is_grpc
        and balancing.policy == "capacity-tiers"
        and balancing.long_requests == "fast-replicas"
        and len(pool.replicas) > 1
    ):
        matches = {BULK: ClassMatch(min_bytes=_THRESHOLD)}
    else:
        return None
    some = dict(sorted(endpoint_weights.items())[: len(endpoint_weights) // 2])
    named = (TrafficClass(name, match, some, routed=True) for name, match in matches.items())
    return Parting.of(named, {id_: w for id_, w in endpoint_weights.items() if id_ not in some})
