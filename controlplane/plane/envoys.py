"""What is known of connected Envoys: where they listen, and what they see of replicas' health."""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from heapq import nsmallest
from typing import Final, NamedTuple
from zlib import crc32

from controlplane.balancing import Place
from controlplane.config import Address
from controlplane.config.addresses import Listeners
from controlplane.fleet import Fleet, Pool, Replica
from controlplane.plane.observed import Readiness, State
from controlplane.resources.health_checks import DISPUTED_CHECKS, HealthTarget, check_interval
from controlplane.resources.views import View
from controlplane.telemetry.load import Endpoint

MOST: Final = 32
"""Replicas that one Envoy is asked to check. Where there are more, other Envoys check others."""


class Opinion(NamedTuple):
    """What one Envoy sees of a replica's health, and since when."""

    node: str
    is_healthy: bool
    since: float


class Dispute(NamedTuple):
    """A replica whose health an Envoy and the control plane see differently for some seconds."""

    pool: str
    replica: str
    opinion: Opinion
    seconds: float


class EnvoyHealth:
    """The last report of every Envoy that makes any."""

    def __init__(self) -> None:
        self._seen: dict[Endpoint, dict[Hashable, Opinion]] = {}
        self._of: dict[Hashable, set[Endpoint]] = {}

    def seen(
        self, reporter: Hashable, node: str, healthy: Mapping[Endpoint, bool], now: float
    ) -> None:
        """Take in a report; what it is not about any more is forgotten."""
        for gone in self._of.get(reporter, set()) - healthy.keys():
            self._forget(reporter, gone)
        self._of[reporter] = {*healthy}
        for endpoint, is_healthy in healthy.items():
            known = self._seen.setdefault(endpoint, {})
            before = known.get(reporter)
            if before is None or before.is_healthy != is_healthy:
                known[reporter] = Opinion(node, is_healthy, now)

    def left(self, reporter: Hashable) -> None:
        """An Envoy has gone, and what it saw with it."""
        for endpoint in self._of.pop(reporter, ()):
            self._forget(reporter, endpoint)

    def disputes_of(
        self, pool: Pool, replica: Replica, readiness: Readiness, now: float
    ) -> Iterator[Dispute]:
        """Yield the Envoys that have seen another state of a replica for a while than we do."""
        at = replica.address
        known = self._seen.get(Endpoint(pool.name, at.host, at.port))
        if not known or replica.draining is not None or not readiness.probed:
            return
        is_ready, patience = readiness.state is State.READY, DISPUTED_CHECKS * check_interval(pool)
        for opinion in known.values():
            seconds = now - max(opinion.since, readiness.since)
            if opinion.is_healthy != is_ready and seconds >= patience:
                yield Dispute(pool.name, replica.id, opinion, seconds)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints whose health any Envoy sees."""
        return tuple(self._seen)

    def _forget(self, reporter: Hashable, endpoint: Endpoint) -> None:
        known = self._seen.get(endpoint, {})
        known.pop(reporter, None)
        if not known:
            self._seen.pop(endpoint, None)


def to_check(
    fleet: Fleet,
    shown: Mapping[str, Collection[str]],
    view: View,
    known: Iterable[HealthTarget],
    seed: str,
) -> tuple[HealthTarget, ...]:
    """Choose the replicas that an Envoy is to check, as they are now, by pool and id.

    The replicas that it checks already stay; by `seed` different Envoys check different ones.
    """
    stay = {
        (target.pool.name, target.replica.id)
        for target in known
        if target.replica.id in shown.get(target.pool.name, ())
        and target.pool.name in fleet.pools
        and _is_checked(fleet.pools[target.pool.name], target.replica.id)
    }
    if len(stay) < MOST:
        names = (
            fleet.pools
            if view.pools is None
            else (pool for pool in view.pools if pool in fleet.pools)
        )
        new = ((name, id_) for name in names for id_ in shown.get(name, ()))
        more = (key for key in new if key not in stay and _is_checked(fleet.pools[key[0]], key[1]))
        stay |= {*nsmallest(MOST - len(stay), more, lambda key: crc32(repr((seed, key)).encode()))}
    keys = ((fleet.pools[name], id_) for name, id_ in sorted(stay))
    return tuple(HealthTarget(pool, pool.replicas[id_]) for pool, id_ in keys)


def _is_checked(pool: Pool, id_: str) -> bool:
    """Whether Envoys can check a replica for us.

    They know no certificates of a mesh here, nor the id of a replica, and would take any name where
    that is what its certificate must be of.
    """
    replica = pool.replicas.get(id_)
    is_plain = replica is not None and replica.settings.ingress is None
    return is_plain and not pool.settings.is_verified_by_id


class NodeListeners:
    """Follows the open streams: their listeners, and how many see which pools from where."""

    def __init__(self) -> None:
        self.listeners = Listeners()
        self.views = Counter[tuple[Place, tuple[str, ...] | None]]()
        self._views: dict[Hashable, tuple[Place, tuple[str, ...] | None]] = {}
        self._known: dict[Hashable, dict[Address, str]] = {}
        self._users: dict[Address, set[Hashable]] = {}

    def came(self, stream: Hashable, node: str, view: View) -> None:
        """Take in a stream that has begun, by its node's id and view."""
        self._views[stream] = seen = (view.place, view.pools)
        self.views[seen] += 1
        known = listeners_of_node(node, view)
        if not known:
            return
        self._known[stream] = known
        for address, whose in known.items():
            self._users.setdefault(address, set()).add(stream)
            self.listeners.add(address, whose)

    def nodes_by_place(self, pool: str) -> Mapping[Place, int]:
        """How many Envoys that use a pool run in each zone."""
        found = Counter[Place]()
        for (place, pools), count in self.views.items():
            if pools is None or pool in pools:
                found[place] += count
        return found

    def left(self, stream: Hashable) -> None:
        if (seen := self._views.pop(stream, None)) is not None:
            self.views[seen] -= 1
            if not self.views[seen]:
                del self.views[seen]
        for address in self._known.pop(stream, ()):
            users = self._users[address]
            users.discard(stream)
            if not users:
                del self._users[address]
                self.listeners.discard(address)


def listeners_of_node(node: str, view: View) -> dict[Address, str]:
    """List the addresses at which a node listens by its own choice, and for what."""
    if view.replica is not None:
        # There it takes the place of a replica.
        return {}
    found = {address: f"pool {pool!r} on node {node!r}" for pool, address in view.listen}
    if view.gateway is not None:
        found[view.gateway] = f"the gateway {node!r}"
    return found
