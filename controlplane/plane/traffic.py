"""What Envoys report of the traffic that they send to the replicas that there are."""

from collections.abc import Generator, Hashable, Mapping

from controlplane.balancing import Place
from controlplane.config import Address
from controlplane.fleet import Change, Fleet, Pool, Replica
from controlplane.resources.catalog import Catalog
from controlplane.resources.classes import BULK, class_of, pool_of
from controlplane.telemetry import Window
from controlplane.telemetry.load import (
    ClassLoad,
    Endpoint,
    Failing,
    InLocality,
    Load,
    LoadReports,
)


class Traffic:
    """Load reports by replica; what is about no replica is dropped."""

    def __init__(self) -> None:
        self._reports = LoadReports()
        self._pools: set[str] = set()

    def copy(self) -> "Traffic":
        """Make a copy for a preview; only one of the two takes in reports."""
        other = Traffic()
        other._reports, other._pools = self._reports.copy(), set(self._pools)
        return other

    def came(self, reporter: Hashable, place: Place) -> None:
        """Take note of where an Envoy runs that is about to report."""
        self._reports.arrivals.came(reporter, place)

    def come(self, pool: str) -> Mapping[tuple[str, Place], float]:
        """Requests that Envoys have sent to a pool so far, by class and where they run."""
        return {
            (name, place): count
            for (name, place), count in self._reports.arrivals.of(pool).items()
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
        """Take in a report, and yield after each endpoint.

        Args:
            fleet: Who exists.
            reporter: One object for all reports of one Envoy.
            loads: By endpoint.
            seconds: That the report covers.
            now: The time.

        Returns:
            Ids of the replicas of which something new is known, by pool.
        """
        known = dict[Endpoint, Load]()
        for endpoint, load in loads.items():
            pool = fleet.pools.get(endpoint.pool)
            replica = pool.replicas.at(Address(endpoint.host, endpoint.port)) if pool else None
            if pool is not None and replica is not None:
                # Envoys know it by where they send its requests, which may have been elsewhere.
                own, its = _endpoint(pool.name, replica), _in_classes(pool, load)
                known[own] = known[own].plus(its, "") if own in known else its
            yield
        self._pools |= {endpoint.pool for endpoint in known}
        recorded = yield from self._reports.recording(reporter, known, seconds, now)
        found: dict[str, set[str]] = {}
        for endpoint in recorded:
            _add_id(found, fleet, endpoint)
            yield
        return found

    def adopt(self, found: Change) -> None:
        """Follow one difference of the fleet: of those who left nothing is kept."""
        before, after = found.before, found.after
        if isinstance(before, Replica):
            stays = isinstance(after, Replica) and after.address == before.address
            if not stays:
                self._reports.forget(_endpoint(found.pool, before))
        elif isinstance(before, Pool) and after is None:
            for replica in before.replicas.values():
                self._reports.forget(_endpoint(before.name, replica))
            self._reports.arrivals.forget(before.name)
            self._pools.discard(before.name)

    def leaving(
        self, fleet: Fleet, reporter: object, now: float
    ) -> Generator[None, None, Mapping[str, set[str]]]:
        """An Envoy that reported has gone, and what it had in flight with it.

        Yields:
            After each endpoint.

        Returns:
            Ids of the replicas that it reported of, by pool.
        """
        gone = yield from self._reports.going(reporter, now)
        found: dict[str, set[str]] = {}
        for endpoint in gone:
            _add_id(found, fleet, endpoint)
            yield
        return found

    def in_flight(self, pool: Pool, replica: Replica, now: float) -> float | None:
        """Requests that all Envoys together have at a replica now; None where none reports."""
        if pool.name not in self._pools:
            return None
        return self._reports.in_flight(_endpoint(pool.name, replica), now)

    def held_in_flight(self, pool: Pool, replica: Replica, now: float) -> float | None:
        """The same as far as each Envoy is believed where shares are worked out."""
        if pool.name not in self._pools:
            return None
        return self._reports.held_in_flight(_endpoint(pool.name, replica), now)

    def failing(self, pool: Pool, replica: Replica, now: float) -> Failing | None:
        """What became of its requests lately, as most Envoys see it; None where none had one."""
        if pool.name not in self._pools:
            return None
        return self._reports.failing(_endpoint(pool.name, replica), now)

    def by_class(self, pool: Pool, replica: Replica, now: float) -> Mapping[str, ClassLoad]:
        """What all Envoys together count of each class of requests at a replica.

        Returns:
            By the class's name, that of all requests in no other under `OTHERS`; what has ended is
            counted since the replica is known. Empty where no Envoy reports.
        """
        if pool.name not in self._pools:
            return {}
        return self._reports.by_class(_endpoint(pool.name, replica), now)

    def ended(self, pool: Pool, replica: Replica) -> tuple[float, float] | None:
        """Tries at a replica that ended well, and otherwise, so far; None where none reports."""
        if pool.name not in self._pools:
            return None
        return self._reports.ended(_endpoint(pool.name, replica))

    def has_answered(self, pool: str, replica: Replica, since: float) -> bool:
        """Whether any Envoy has told since some time of a request that a replica answered."""
        return self._reports.answered_at(_endpoint(pool, replica)) >= since

    def window(self, pool: Pool, replica: Replica) -> Window | None:
        """What a replica did lately by the count of Envoys; None where none reports."""
        if pool.name not in self._pools:
            return None
        return self._reports.window(_endpoint(pool.name, replica))


def by_replica(catalog: Catalog, localities: Mapping[InLocality, Load]) -> dict[Endpoint, Load]:
    """Share out what was counted for localities, evenly among the replicas that are used there.

    Args:
        catalog: What clients hold.
        localities: The loads of one client; those of localities that are no more are left out.
    """
    found: dict[Endpoint, Load] = {}
    for where, load in localities.items():
        pool = catalog.pools.get(pool_of(where.cluster))
        place = Place(where.region, where.zone)
        there = pool.in_locality(where.cluster, place, where.sub_zone) if pool else []
        for address in there:
            endpoint = Endpoint(pool_of(where.cluster), address.host, address.port)
            known = found.get(endpoint, Load(0, 0, 0))
            found[endpoint] = known.plus(load.part(len(there)), class_of(where.cluster))
    return found


def _add_id(found: dict[str, set[str]], fleet: Fleet, endpoint: Endpoint) -> None:
    if (pool := fleet.pools.get(endpoint.pool)) is not None:
        replica = pool.replicas.at(Address(endpoint.host, endpoint.port))
        if replica is not None:
            found.setdefault(pool.name, set()).add(replica.id)


def _in_classes(pool: Pool, load: Load) -> Load:
    """A load in the classes that the pool can have: names of others are anybody's invention."""
    if not load.classes:
        return load
    named = {request_class.name for request_class in pool.settings.classes or ()} | {BULK}
    return load._replace(
        classes={
            name: request_class for name, request_class in load.classes.items() if name in named
        }
    )


def _endpoint(pool: str, replica: Replica) -> Endpoint:
    return Endpoint(pool, replica.address.host, replica.address.port)
