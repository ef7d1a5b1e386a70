"""What Envoys report of their traffic: by replica, and what each of them sends to each pool."""

import math
from collections.abc import Generator, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.balancing import Place
from controlplane.config import Address
from controlplane.fleet import Change, Fleet, Pool, Replica
from controlplane.resources.catalog import Catalog
from controlplane.resources.classes import BULK, class_of, pool_of
from controlplane.telemetry.load import NOTHING, SHORTEST, Endpoint, InLocality, Load, LoadReports


class Traffic:
    """Load reports by replica; what is about no replica is dropped."""

    def __init__(self) -> None:
        self.reports = LoadReports()

    def copy(self) -> "Traffic":
        """Make a copy for a preview; only one of the two takes in reports."""
        other = Traffic()
        other.reports = self.reports.copy()
        return other

    def arrivals_of(self, pool: str) -> Mapping[tuple[str, Place], float]:
        """Requests that Envoys have sent to a pool so far, by class and where they run."""
        return {
            (name, place): count
            for (name, place), count in self.reports.arrivals.of(pool).items()
            if isinstance(place, Place)
        }

    def reporting(
        self,
        fleet: Fleet,
        reporter: object,
        loads: Mapping[Endpoint, Load],
        seconds: float,
        now: float,
    ) -> Generator[None, None, Mapping[str, set[str]]]:
        """Take in a report of so many seconds; yield after each endpoint, return ids by pool."""
        known = dict[Endpoint, Load]()
        for endpoint, load in loads.items():
            if (replica := replica_at(fleet, endpoint)) is not None:
                # Envoys know it by where they send its requests, which may have been elsewhere.
                own = endpoint_of(endpoint.pool, replica)
                its = _in_classes(fleet.pools[endpoint.pool], load)
                known[own] = known[own].plus(its, "") if own in known else its
            yield
        recorded = yield from self.reports.recording(reporter, known, seconds, now)
        return (yield from _ids(fleet, recorded))

    def adopt(self, found: Change) -> None:
        """Follow one change of the fleet: forget what has left."""
        before, after = found.before, found.after
        if isinstance(before, Replica):
            stays = isinstance(after, Replica) and after.address == before.address
            if not stays:
                self.reports.forget(endpoint_of(found.pool, before))
        elif isinstance(before, Pool) and after is None:
            for replica in before.replicas.values():
                self.reports.forget(endpoint_of(before.name, replica))
            self.reports.arrivals.forget(before.name)

    def leaving(
        self, fleet: Fleet, reporter: object, now: float
    ) -> Generator[None, None, Mapping[str, set[str]]]:
        """Forget an Envoy and what it had in flight; yields and returns as `reporting` does."""
        gone = yield from self.reports.going(reporter, now)
        return (yield from _ids(fleet, gone))


OVER: Final = 10.0
"""Seconds over which requests are averaged."""


@dataclass(slots=True)
class _Sender:
    node: str
    at: float
    rates: dict[str, float] = field(default_factory=dict)


class Senders:
    """The Envoys that report."""

    def __init__(self) -> None:
        self._senders: dict[Hashable, _Sender] = {}

    def came(self, reporter: Hashable, node: str, now: float) -> None:
        """Take note of an Envoy that is about to report; one `reporter` for each stream."""
        self._senders[reporter] = _Sender(node, now)

    def reported(self, reporter: Hashable, loads: Mapping[Endpoint, Load], now: float) -> None:
        """Take in a report; one without any requests may cover no time by its own account."""
        sender = self._senders.get(reporter)
        if sender is None or (seconds := now - sender.at) < SHORTEST:
            return
        sender.at = now
        ended: dict[str, float] = {}
        for endpoint, load in loads.items():
            ended[endpoint.pool] = ended.get(endpoint.pool, 0) + load.succeeded + load.failed
        remaining = math.exp(-seconds / OVER)
        for pool in {*ended, *sender.rates}:
            before, rate = sender.rates.get(pool), ended.get(pool, 0.0) / seconds
            sender.rates[pool] = (
                rate if before is None else remaining * before + (1 - remaining) * rate
            )

    def left(self, reporter: Hashable) -> None:
        self._senders.pop(reporter, None)

    def sent(self) -> Mapping[str, Mapping[str, float]]:
        """Requests per second by node and pool."""
        found: dict[str, dict[str, float]] = {}
        for sender in self._senders.values():
            rates = found.setdefault(sender.node, {})
            for pool, rate in sender.rates.items():
                rates[pool] = rates.get(pool, 0.0) + rate
        return found


def by_replica(catalog: Catalog, localities: Mapping[InLocality, Load]) -> dict[Endpoint, Load]:
    """Share out what a client counted for localities, evenly among the replicas used there."""
    found: dict[Endpoint, Load] = {}
    for where, load in localities.items():
        pool = catalog.pools.get(pool_of(where.cluster))
        place = Place(where.region, where.zone)
        there = pool.in_locality(where.cluster, place, where.sub_zone) if pool else []
        for address in there:
            endpoint = Endpoint(pool_of(where.cluster), address.host, address.port)
            known = found.get(endpoint, NOTHING)
            found[endpoint] = known.plus(load.part(len(there)), class_of(where.cluster))
    return found


def _ids(
    fleet: Fleet, endpoints: Iterable[Endpoint]
) -> Generator[None, None, Mapping[str, set[str]]]:
    """The ids of replicas by pool; yields after each endpoint."""
    found: dict[str, set[str]] = {}
    for endpoint in endpoints:
        if (replica := replica_at(fleet, endpoint)) is not None:
            found.setdefault(endpoint.pool, set()).add(replica.id)
        yield
    return found


def _in_classes(pool: Pool, load: Load) -> Load:
    """A load in the classes that the pool can have: names of others are anybody's invention."""
    if not load.classes:
        return load
    named = {request_class.name for request_class in pool.settings.classes or ()} | {BULK}
    return load._replace(classes={n: each for n, each in load.classes.items() if n in named})


def endpoint_of(pool: str, replica: Replica) -> Endpoint:
    """Return a replica as load reports name it."""
    return Endpoint(pool, replica.address.host, replica.address.port)


def replica_at(fleet: Fleet, endpoint: Endpoint) -> Replica | None:
    """The replica that a load report is about; None: there is none (any more)."""
    pool = fleet.pools.get(endpoint.pool)
    return pool.replicas.at(Address(endpoint.host, endpoint.port)) if pool else None
