"""What changes the state: the fleet, what is observed and reported, decisions, the catalog."""

import math
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial

from controlplane import fleet as fleets
from controlplane.balancing import Place
from controlplane.config import Address, Config, PoolEntry
from controlplane.config.addresses import Listeners
from controlplane.fleet import Applied, Change, Command, Refused
from controlplane.plane.decisions import PoolDecision, decide, is_near
from controlplane.plane.devices import Exporter, exporters_of
from controlplane.plane.envoys import listeners_of_node
from controlplane.plane.observed import Failure, Probe, is_read_anew
from controlplane.plane.recovery import RestartPool, recalled
from controlplane.plane.state import DirtyKeys, PlaneState, Target
from controlplane.plane.traffic import endpoint_of, replica_at
from controlplane.resources.catalog import Catalog, build, guarded
from controlplane.resources.classes import BULK, OTHERS
from controlplane.resources.views import View
from controlplane.telemetry import Device, Reading
from controlplane.telemetry.load import Endpoint, Load, drained
from controlplane.telemetry.sizes import Answers, RequestSizes, Sample


class Plane(PlaneState):
    """Takes in what happens; every method takes the time in seconds of a monotonic clock."""

    def apply(self, command: Command, now: float) -> tuple[Change, ...]:
        """Carry out a command on the fleet; returns what it has changed."""
        applied = fleets.apply(self.fleet, command, now)
        self.adopt(applied, now)
        return applied.changes

    def scrape_with(self, pools: Iterable[PoolEntry]) -> None:
        """Take in how the replicas and exporters of pools are asked for their metrics."""
        self._scraping = {pool.name: pool.scraping for pool in pools}

    def envoy_came(self, stream: Hashable, node: str, view: View) -> str | None:
        """Take note of an Envoy that has connected; returns why it cannot be served, if so."""
        if moved := listeners_of_node(node, view):
            try:
                fleets.refuse_loops(self.fleet, Listeners(moved.items()))
            except Refused as refused:
                return str(refused)
        self.listeners.came(stream, node, view)
        # Where nothing is counted yet, Envoys are.
        pools = self.fleet.pools
        names = (pool for pool in view.pools if pool in pools) if view.pools is not None else pools
        self._dirty.add_replicas({name: () for name in names if is_near(pools[name])})
        return None

    def refuse_at_listeners(self, config: Config) -> None:
        """Refuse a config file with a replica where a connected Envoy listens."""
        replicas = ((pool.name, each) for pool in config.pools for each in pool.replicas)
        for pool, replica in replicas:
            for at in replica.places:
                if (why := self.listeners.listeners.refusal(at)) is not None:
                    raise Refused("conflict", f"replica {replica.id!r} of pool {pool!r}: {why}")

    def envoy_left(self, stream: Hashable) -> None:
        self.listeners.left(stream)

    def restore(self, known_before: Mapping[str, RestartPool], now: float) -> None:
        """Take up what was known before a restart, by pool, of the replicas that there are."""
        for name, pool in self.fleet.pools.items():
            if (known := known_before.get(name)) is None:
                continue
            self.scalings.restore(name, known.weighing, now)
            if (found := recalled(pool, known, now)) is None:
                continue
            decision, hold = found
            self._decisions[name] = PoolDecision(decision, hold=hold)
            worth, is_scraped = decision.state.records.worth, pool.settings.metrics.is_scraped
            for id_, row in decision.rows.items():
                told = known.replicas[id_]
                self._observed[name, id_].recall(
                    now,
                    (told.weighing.get("count") or 0.0) if is_scraped else 0.0,
                    was_shown=told.shown,
                    was_measured=bool(worth[row] > 0),
                )
            self._tables.begin(pool, decision.rows, self._seen(), now)

    def record(self, target: Target, outcome: Reading | Failure, now: float) -> None:
        """Take in a scrape; one of a replica that is no longer there is dropped."""
        if observed := self._observed.current(target.pool, target.replica):
            observed.record(outcome, target.settings.health_check, now)
            if isinstance(outcome, Failure):
                self._suspected.add((target.pool, target.replica.id))
            self._dirty.add_replicas({target.pool: (target.replica.id,)})

    def probed(self, target: Target, probe: Probe, now: float) -> None:
        observed = self._observed.current(target.pool, target.replica)
        settings = target.settings.health_check
        answered = self._traffic.reports.answered_at(endpoint_of(target.pool, target.replica))
        if probe is Probe.UNREACHABLE and answered >= now - settings.timeout:
            # Envoys get answers: it is the way from here to there, or we are slow.
            return
        # Thousands may be asked in vain, and what is decided of them stays the same.
        if observed is not None and observed.probed(probe, settings, now):
            self._dirty.add_replicas({target.pool: (target.replica.id,)})

    def suspected(self) -> Collection[tuple[str, str]]:
        """Take the replicas that failed a scrape, or all requests of an Envoy, lately."""
        found, self._suspected = self._suspected, set()
        return found

    def record_devices(
        self, exporter: Exporter, outcome: tuple[Device, ...] | Failure, now: float
    ) -> None:
        self._devices.record(exporter, outcome, now)
        self._dirty.add(
            name
            for name, pool in self.fleet.pools.items()
            if exporter.key in exporters_of((pool.settings,))
        )

    def reporting(
        self, reporter: object, loads: Mapping[Endpoint, Load], seconds: float, now: float
    ) -> Generator[None, None, None]:
        """Take in what an Envoy has sent to replicas, and yield after each endpoint."""
        yield from self.recovery.reporting(self.fleet, loads, now)
        for endpoint, load in loads.items():
            if load.failed and not load.succeeded and (replica := replica_at(self.fleet, endpoint)):
                self._suspected.add((endpoint.pool, replica.id))
            yield
        found = yield from self._traffic.reporting(self.fleet, reporter, loads, seconds, now)
        self._dirty.add_replicas(found)

    def unserved(self, pools: Mapping[str, int], now: float) -> None:
        """Take in how many requests came to pools that have no replica."""
        for name in pools.keys() & self.fleet.pools.keys():
            self.scalings.requested(name, now, unserved=pools[name])

    def reporter_came(self, reporter: Hashable, place: Place) -> None:
        """Take note of where an Envoy runs that is about to report."""
        self._traffic.reports.arrivals.came(reporter, place)

    def reporter_leaving(self, reporter: object, now: float) -> Generator[None, None, None]:
        """An Envoy that reported has gone; yield after each endpoint, see `Traffic.leaving`."""
        found = yield from self._traffic.leaving(self.fleet, reporter, now)
        self._dirty.add_replicas(found)

    def sampled(self, samples: Sequence[Sample], now: float, place: Place | None = None) -> None:
        """Take in what an Envoy reports of some requests; those to unknown pools are dropped.

        Of a request that a gateway answered, the gateway reports, and what its sidecar reports is
        dropped: so a request counts once, and no Envoy need believe a client about where it came
        through.
        """
        found: dict[str, dict[str, list[Sample]]] = {}
        for sample in samples:
            if (pool := self.fleet.pools.get(sample.pool)) is not None:
                # Names that an Envoy makes up count as the default class.
                named = [each.name for each in pool.settings.classes or ()]
                name = sample.class_name if sample.class_name in (BULK, *named) else OTHERS
                via = pool.settings.gateways_of(name)
                if not via or Address(sample.host, sample.port) not in via:
                    found.setdefault(pool.name, {}).setdefault(name, []).append(sample)
        for pool_name, classes in found.items():
            self.scalings.requested(pool_name, now)
            known = self.sizes.setdefault(pool_name, RequestSizes())
            answers = self.answers.setdefault(pool_name, {})
            settings = self.fleet.pools[pool_name].settings
            for name, told in classes.items():
                known.add(name, [each.bytes for each in told], now, place)
                objective = settings.objective_of(name)
                promised = objective.p99 if objective is not None else None
                answers.setdefault(name, Answers()).add(told, promised)

    def health_seen(
        self, reporter: Hashable, node: str, healthy: Mapping[Endpoint, bool], now: float
    ) -> None:
        """Take in which replicas an Envoy sees as healthy."""
        self._envoy_health.seen(reporter, node, healthy, now)

    def health_left(self, reporter: Hashable) -> None:
        """Forget what an Envoy has seen that reports no more."""
        self._envoy_health.left(reporter)

    def writing(self, now: float) -> Iterator[None]:
        """Write down for the next decision what is new, and yield after each replica.

        What is left, or becomes known meanwhile, the decision writes itself.
        """
        for name in [*self._dirty.pools()]:
            is_parted = self._decisions[name].is_parted
            left: list[str] | None = None
            while (pool := self.fleet.pools.get(name)) is not None:
                due = self._dirty.some(name, partial(self._tables.ids, pool))
                if left is None:
                    left = [*due]
                if not left:
                    break
                if (id_ := left.pop()) in pool.replicas and id_ in due:
                    due.discard(id_)
                    self._tables.write(pool, (id_,), self._seen(), now, is_parted=is_parted)
                yield

    def decide(self, now: float, envoys: int | None = None) -> Catalog:
        """Decide about the dirty pools, and build what Envoys should hold.

        The catalog is the same object as before when nothing has changed for Envoy.
        """
        catalog = self.built(self.deciding(now, envoys)())
        drained(self.histories.writing())
        return catalog

    def deciding(self, now: float, envoys: int | None = None) -> Callable[[], Catalog]:
        """Decide about the dirty pools; `envoys`: how many are connected, if that is known.

        Returns:
            What builds the catalog, for `built`. It may run in another thread: that of a large pool
                takes long, and depends on nothing that changes meanwhile.
        """
        self._has_decided, self._envoys = True, envoys
        for name in self._decisions.due(now):
            self._dirty.add_replicas({name: ()})
        about = decide(
            self.fleet,
            self._dirty.taken(),
            self._seen(),
            self._tables,
            self.sizes,
            self._decisions,
            self.histories,
            envoys,
            self.listeners.nodes_by_place,
            now,
        )
        for slot in (self._unbuilt, *self._followers):
            slot.add_replicas(about)
        self._released = self.recovery.released(self.fleet, self._decisions.endpoint_weights, now)
        return self._building(self._unbuilt.taken())

    def refreshing(self) -> Callable[[], Catalog]:
        """Follow the fleet where that needs no decision; returns what builds the catalog.

        Shares are of a whole pool, and to work them out for thousands of replicas takes a while. A
        replica that drains, serves again or has gone need not wait for it: it keeps the share that
        it had, or none. Other settings of a pool may make other shares, and wait.
        """
        changed = dict[str, Collection[str] | None]()
        for name, ids in self._unbuilt.taken_replicas().items():
            known = self._decisions[name].endpoint_weights
            if not (shown := ids & known.keys()):
                continue
            # What came in place of another is not ready yet.
            gone = {id_ for id_ in shown if not self._observed.is_shown(name, id_)}
            left = {id_: each for id_, each in known.items() if id_ not in gone}
            self._decisions[name].endpoint_weights = left
            changed[name] = shown
        return self._building(changed)

    def _building(self, changed: Mapping[str, Collection[str] | None]) -> Callable[[], Catalog]:
        decided = self._decisions
        weights, parting, spreads = decided.endpoint_weights, decided.parting, decided.spreads
        return partial(build, self.fleet, weights, self.catalog, changed, parting, spreads)

    def built(self, catalog: Catalog) -> Catalog:
        """Take a catalog that was built; the same object as before where nothing changed."""
        before, self.catalog = self.catalog, guarded(catalog, self._released)
        if before is not self.catalog:
            before.forget_views()
        return self.catalog

    def failed_decisions(self) -> dict[str, Exception]:
        """Take the errors of failed decisions, by pool."""
        failures, self._decisions.failures = self._decisions.failures, {}
        return failures

    def follow(self) -> DirtyKeys:
        """A slot that takes the replicas that every decision from now on is about."""
        self._followers.append(slot := DirtyKeys())
        return slot

    def sampling_trends(self, now: float) -> Iterator[None]:
        """Keep a point of each pool where it is time for one, and yield after each replica."""
        for name, pool in [*self.fleet.pools.items()]:
            if self.trends.is_due(name, now):
                point = yield from self.tallying(pool, now)
                if name in self.fleet.pools:
                    self.trends.add(name, point)

    def sizing(self, now: float) -> Generator[None, None, None]:
        """Follow how many replicas pools should have, and yield after each replica."""
        return self.scalings.looking(self.fleet, self._observed, self.decision, now)

    def adopt(self, applied: Applied, now: float) -> None:
        """Take a new fleet; forget replicas that left, begin to observe new ones."""
        self.fleet = applied.fleet
        # Who was there before us may have served for days: if we cannot reach it, Envoy judges.
        since = now if self._has_decided else -math.inf
        has_other_pools = False
        for found in applied.changes:
            has_other_pools |= found.replica is None
            for key in self._observed.adopt(found, since):
                self.histories.forget(*key)
            self._traffic.adopt(found)
            self.recovery.adopt(found)
            if is_read_anew(found):
                self._decisions.read_anew(found.pool)
            ids = None if found.replica is None else (found.replica,)
            for slot in (self._dirty, self._unbuilt):
                slot.add_replicas({found.pool: ids})
            if found.replica is None and found.after is None:
                self._forget(found.pool)
        if has_other_pools:
            self._devices.forget_but(self.exporters())

    def _forget(self, pool: str) -> None:
        for slot in (self._dirty, *self._followers):
            slot.discard(pool)
        self.sizes.pop(pool, None)
        self.scalings.forget(pool)
        self.answers.pop(pool, None)
        self._tables.pop(pool, None)
        self._decisions.pop(pool, None)
        self.trends.forget(pool)
