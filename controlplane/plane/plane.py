"""The state that everything else asks and tells: fleet, observations, decisions, catalog."""

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
from controlplane.balancing import Decision, Place
from controlplane.config import Address, Config, OtlpSettings, PoolEntry
from controlplane.config.access import ScrapingSettings
from controlplane.config.identity import IdentitySettings
from controlplane.config.listeners import Listeners
from controlplane.fleet import Applied, Change, Command, Fleet, Pool, Refused, Replica
from controlplane.plane.decisions import Decisions, decide, is_near
from controlplane.plane.devices import Devices, Exporter, exporters_of
from controlplane.plane.dirty import DirtyKeys
from controlplane.plane.discoveries import Discoveries
from controlplane.plane.envoys import (
    Dispute,
    EnvoyHealth,
    NodeListeners,
    listeners_of_node,
    to_check,
)
from controlplane.plane.history import Histories
from controlplane.plane.inputs import Seen, Tables, joined
from controlplane.plane.observed import Failure, Observations, is_read_anew
from controlplane.plane.readiness import Probe
from controlplane.plane.recovery import Recovery
from controlplane.plane.report import Outline, ReplicaReport, Target, decided_of
from controlplane.plane.scalings import Scalings
from controlplane.plane.senders import Senders
from controlplane.plane.startup import RestartPool, has_started, recalled
from controlplane.plane.traffic import Traffic, by_replica
from controlplane.plane.trends import PoolTraffic, Trends, tallying
from controlplane.resources.catalog import Catalog, build, guarded
from controlplane.resources.classes import BULK, OTHERS, Parting
from controlplane.resources.health_checks import Checked
from controlplane.resources.views import View
from controlplane.scaling import Recommendation
from controlplane.telemetry import Device, Reading
from controlplane.telemetry.answers import Answers
from controlplane.telemetry.load import Endpoint, InLocality, Load, drained
from controlplane.telemetry.sizes import RequestSizes, Sample


class Plane:
    """Holds the state; every method takes the time in seconds of a monotonic clock.

    Attributes:
        discoveries: What the sources of the pools have found; `discover` brings it into the fleet.
        recovery: What Envoys may be told of after a registry was lost.
        listeners: Where connected Envoys listen, other than the pools say.
        envoy_health: What Envoys see of the health of replicas.
        sizes: Of the requests of each pool, by name; only pools that any Envoy reported.
        scalings: How many replicas pools should have.
        answers: To the requests of each pool, by name and class; only what any Envoy reported.
        senders: What each Envoy sends.
        trends: What each pool as a whole did in the last hour.
    """

    def __init__(
        self,
        now: float,
        trust_domain: str = IdentitySettings().trust_domain,
        otlp: OtlpSettings | None = None,
    ) -> None:
        self._started = now
        self._observed = Observations()
        self._tables = Tables()
        self._decisions = Decisions()
        self._dirty = DirtyKeys()
        # What the fleet has changed since the catalog was built.
        self._unbuilt = DirtyKeys()
        self._followers: list[DirtyKeys] = []
        self._traffic = Traffic()
        self.sizes: dict[str, RequestSizes] = {}
        self.answers: dict[str, dict[str, Answers]] = {}
        self._has_decided = False
        self._envoys: int | None = None
        # See `Catalog.released`.
        self._released: frozenset[str] | None = None
        self._devices = Devices()
        self._scraping: dict[str, ScrapingSettings] = {}
        self.discoveries = Discoveries()
        self.recovery = Recovery()
        self.scalings = Scalings()
        self.listeners = NodeListeners()
        self.envoy_health = EnvoyHealth()
        self.fleet = Fleet()
        self.histories = Histories()
        self.senders = Senders()
        self.trends = Trends()
        self.catalog = Catalog(trust_domain=trust_domain, otlp=otlp)

    def apply(self, command: Command, now: float) -> tuple[Change, ...]:
        """Carry out a command on the fleet; returns what it has changed.

        Raises:
            Refused: With the reason; nothing has changed.
        """
        applied = fleets.apply(self.fleet, command, now)
        self.adopt(applied, now)
        return applied.changes

    def declare(self, config: Config, now: float) -> None:
        """Bring the fleet in line with a config file.

        Raises:
            Refused: With the reason; nothing has changed.
        """
        applied = fleets.declare(self.fleet, config, now)
        self.scrape_with(config.pools)
        self.adopt(applied, now)
        self.discoveries.adopt(config.pools)
        self.discover(now)

    def scrape_with(self, pools: Iterable[PoolEntry]) -> None:
        """Take in how the replicas and exporters of pools are asked for their metrics."""
        self._scraping = {pool.name: pool.scraping for pool in pools}

    def discover(self, now: float) -> None:
        """Bring the fleet in line with what the sources have found."""
        self.adopt(self.discovered(self.fleet, now), now)
        self.discoveries.taken_in()

    def discovered(self, fleet: Fleet, now: float) -> Applied:
        """What brings a fleet in line with what the sources have found."""
        return self.discoveries.merged(
            fleet, self._observed.serves, self._is_told, self.listeners.listeners, now
        )

    def envoy_came(self, stream: Hashable, node: str, view: View) -> str | None:
        """Take note of an Envoy that has connected.

        Args:
            stream: Tells it from others.
            node: Its id.
            view: What it is to be shown.

        Returns:
            Why it cannot be served, as one sentence; None where it can.
        """
        if moved := listeners_of_node(node, view):
            try:
                fleets.refuse_loops(self.fleet, Listeners(moved.items()))
            except Refused as refused:
                return str(refused)
        self.listeners.came(stream, node, view)
        # Where nothing is counted yet, Envoys are.
        pools = self.fleet.pools
        names = (it for it in view.pools if it in pools) if view.pools is not None else pools
        self._dirty.add_replicas({name: () for name in names if is_near(pools[name])})
        return None

    def refuse_at_listeners(self, config: Config) -> None:
        """Refuse a config file with a replica where a connected Envoy listens.

        Raises:
            Refused: It has one.
        """
        for pool in config.pools:
            for replica in pool.replicas:
                for at in replica.places:
                    if (why := self.listeners.listeners.refusal(at)) is not None:
                        raise Refused(
                            "conflict", f"replica {replica.id!r} of pool {pool.name!r}: {why}"
                        )

    def envoy_left(self, stream: Hashable) -> None:
        """An Envoy has disconnected."""
        self.listeners.left(stream)

    def restore(self, known_before: Mapping[str, RestartPool], now: float) -> None:
        """Take up what was known before a restart, by pool, of the replicas that there are."""
        for name, pool in self.fleet.pools.items():
            known = known_before.get(name)
            if known is not None:
                self.scalings.restore(name, known.weighing, now)
            found = recalled(pool, known, now) if known else None
            if known is None or found is None:
                continue
            decision, self._decisions.holds[name] = found
            self._decisions.decisions[name], self._decisions.portions[name] = decision, {}
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

    def targets(self) -> tuple[Target, ...]:
        """What is to be scraped."""
        found = (
            self.target(pool.name, id_)
            for pool in self.fleet.pools.values()
            for id_ in pool.replicas
        )
        return tuple(target for target in found if target is not None)

    def target(self, pool: str, replica_id: str) -> Target | None:
        """One target as it is now; None when there is no such replica."""
        known = self.fleet.pools.get(pool)
        replica = known.replicas.get(replica_id) if known else None
        if known is None or replica is None:
            return None
        scraping = self._scraping.get(pool)
        access = scraping.replicas if scraping is not None else None
        is_probed = self._observed.is_probed(pool, replica)
        return Target(pool, replica, known.settings, is_probed, access)

    def record(self, target: Target, outcome: Reading | Failure, now: float) -> None:
        """Take in a scrape; one of a replica that is no longer there is dropped."""
        if observed := self._observed.current(target.pool, target.replica):
            observed.record(outcome, now)
            self._dirty.add_replica(target.pool, target.replica.id)

    def probed(self, target: Target, probe: Probe, now: float) -> None:
        """Take in the answer to a health probe."""
        observed = self._observed.current(target.pool, target.replica)
        # Thousands may be asked in vain, and what is decided of them stays the same.
        settings = target.settings.health_check
        if observed is not None and observed.probed(probe, settings, now):
            self._dirty.add_replica(target.pool, target.replica.id)

    def checked(self, target: Target, probe: Probe) -> None:
        """Take in a check of a replica's health that says nothing of its readiness."""
        observed = self._observed.current(target.pool, target.replica)
        if observed is not None and observed.checked(probe, target.settings.health_check):
            self._dirty.add_replica(target.pool, target.replica.id)

    def exporters(self) -> tuple[Exporter, ...]:
        """Where GPU memory is to be read that replicas do not expose themselves."""
        pools = self.fleet.pools.values()
        default = ScrapingSettings()
        accesses = (self._scraping.get(pool.name, default).exporters for pool in pools)
        return tuple(exporters_of((pool.settings for pool in pools), accesses).values())

    def record_devices(
        self, exporter: Exporter, outcome: tuple[Device, ...] | Failure, now: float
    ) -> None:
        """Take in a scrape of an exporter."""
        self._devices.record(exporter, outcome, now)
        self._dirty.add(
            name
            for name, pool in self.fleet.pools.items()
            if exporter.key in exporters_of((pool.settings,))
        )

    def reported(
        self, reporter: object, loads: Mapping[Endpoint, Load], seconds: float, now: float
    ) -> None:
        """Take in what an Envoy has sent to replicas; see `Traffic.reporting`."""
        drained(self.reporting(reporter, loads, seconds, now))

    def reporting(
        self, reporter: object, loads: Mapping[Endpoint, Load], seconds: float, now: float
    ) -> Generator[None, None, None]:
        """The same, and yield after each endpoint: there may be very many."""
        yield from self.recovery.reporting(self.fleet, loads, now)
        found = yield from self._traffic.reporting(self.fleet, reporter, loads, seconds, now)
        self._dirty.add_replicas(found)

    def reporter_came(self, reporter: Hashable, place: Place) -> None:
        """Take note of where an Envoy runs that is about to report."""
        self._traffic.came(reporter, place)

    def by_replica(self, localities: Mapping[InLocality, Load]) -> dict[Endpoint, Load]:
        """Share out what gRPC clients report of localities to the replicas in them."""
        return by_replica(self.catalog, localities)

    def reporter_left(self, reporter: object, now: float) -> None:
        """An Envoy that reported has gone, and what it had in flight with it."""
        self._dirty.add_replicas(self._traffic.left(self.fleet, reporter, now))

    def sampled(self, samples: Sequence[Sample], now: float, place: Place | None = None) -> None:
        """Take in what an Envoy tells of some requests; those to unknown pools are dropped.

        Args:
            samples: Of its requests.
            now: Seconds.
            place: Where it runs.
        """
        found: dict[str, dict[str, list[Sample]]] = {}
        for sample in samples:
            if (pool := self.fleet.pools.get(sample.pool)) is not None:
                # Names that an Envoy makes up count as the default class.
                named = [each.name for each in pool.settings.classes or ()]
                name = sample.class_name if sample.class_name in (BULK, *named) else OTHERS
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

    def has_started(self, now: float) -> bool:
        """Whether enough was seen since the start to tell Envoys anything.

        Of no pool at all nothing is told, unless the last one was removed while we were there: a
        registry that was lost must not take away what Envoys have.
        """
        return has_started(
            self.fleet,
            self.discoveries,
            self._observed.are_probed,
            now - self._started,
            has_decided=self._has_decided,
        )

    def writing(self, now: float) -> Iterator[None]:
        """Write down for the next decision what is new, and yield after each replica.

        What is left, or becomes known meanwhile, the decision writes itself.
        """
        for name in [*self._dirty.pools()]:
            is_parted = self._decisions.is_parted(name)
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
        """Decide about the dirty pools; build what Envoys should hold.

        Args:
            now: Seconds.
            envoys: How many are connected; None where that is not known.

        Returns:
            The catalog, the same object as before when nothing has changed for Envoy.
        """
        catalog = self.built(self.deciding(now, envoys)())
        drained(self.histories.writing())
        return catalog

    def deciding(self, now: float, envoys: int | None = None) -> Callable[[], Catalog]:
        """Decide about the dirty pools.

        Args:
            now: Seconds.
            envoys: How many are connected; None where that is not known.

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
        self.scalings.look(self.fleet, self._observed, self.decision, now)
        self._released = self.recovery.released(self.fleet, self._decisions.portions, now)
        return self._building(self._unbuilt.taken())

    def refreshing(self) -> Callable[[], Catalog]:
        """Follow the fleet as far as that takes no decision; the next one does the rest.

        Shares are of a whole pool, and to work them out for thousands of replicas takes a while. A
        replica that drains, serves again or has gone need not wait for it: it keeps the share that
        it had, or none. Other settings of a pool may make other shares, and wait.

        Returns:
            What builds the catalog, see `deciding`.
        """
        portions, changed = self._decisions.portions, dict[str, Collection[str] | None]()
        for name, ids in self._unbuilt.taken_replicas().items():
            known = portions.get(name, {})
            if not (shown := ids & known.keys()):
                continue
            # What came in place of another is not ready yet.
            gone = {id_ for id_ in shown if not self._observed.is_shown(name, id_)}
            portions[name] = {id_: it for id_, it in known.items() if id_ not in gone}
            changed[name] = shown
        return self._building(changed)

    def refresh(self) -> Catalog:
        """The same, and build what Envoys should hold."""
        return self.built(self.refreshing()())

    def _building(self, changed: Mapping[str, Collection[str] | None]) -> Callable[[], Catalog]:
        decided = self._decisions
        portions, parting, spreads = (
            dict(decided.portions),
            dict(decided.parting),
            dict(decided.spreads),
        )
        return partial(build, self.fleet, portions, self.catalog, changed, parting, spreads)

    def built(self, catalog: Catalog) -> Catalog:
        """Take a catalog that was built; returns what Envoys should hold.

        It is the same object as before when nothing has changed for Envoy.
        """
        self.catalog = guarded(catalog, self._released)
        return self.catalog

    def to_check(self, node: str, view: View, known: tuple[Checked, ...]) -> tuple[Checked, ...]:
        """Which replicas a node is to check that has checked what is known so far."""
        return to_check(self.fleet, self._decisions.portions, view, known, node)

    def disputes(self, now: float) -> Iterator[Dispute]:
        """Where Envoys and the control plane hold different views of a replica's health."""
        for endpoint in self.envoy_health.endpoints():
            pool = self.fleet.pools.get(endpoint.pool)
            replica = pool.replicas.at(Address(endpoint.host, endpoint.port)) if pool else None
            if pool is not None and replica is not None:
                yield from self._disputes(pool, replica, now)

    def _disputes(self, pool: Pool, replica: Replica, now: float) -> tuple[Dispute, ...]:
        if replica.id not in self._decisions.portions.get(pool.name, {}):
            return ()
        readiness = self._observed[pool.name, replica.id].readiness
        return tuple(self.envoy_health.disputes_of(pool, replica, readiness, now))

    def decision(self, pool: str) -> Decision | None:
        """What was decided last about a pool."""
        return self._decisions.decisions.get(pool)

    def recommendation(self, pool: str, now: float) -> Recommendation:
        """How many replicas a pool should have, and why.

        Raises:
            Refused: There is no such pool.
        """
        known, decision = self.fleet.pool(pool), self.decision(pool)
        held = self._decisions.held(pool, now)
        envoys = self._envoys or 1
        return self.scalings.recommend(known, self._observed, decision, held, envoys, now)

    def is_active(self, pool: str, now: float) -> bool:
        """Whether a pool is to have replicas: requests come, or it may never be empty.

        Raises:
            Refused: There is no such pool.
        """
        return self.scalings.is_active(self.fleet.pool(pool), now)

    def failed_decisions(self) -> dict[str, Exception]:
        """Why no decision could be made about some pools, by name; each is told once."""
        failures, self._decisions.failures = self._decisions.failures, {}
        return failures

    def follow(self) -> DirtyKeys:
        """A slot that takes the replicas that every decision from now on is about."""
        self._followers.append(slot := DirtyKeys())
        return slot

    def parting(self, pool: str) -> Parting | None:
        """How a pool's requests are parted into classes; None: they are not."""
        return self._decisions.parting.get(pool)

    def report(self, pool: str, replica_id: str, now: float) -> ReplicaReport:
        """Everything known of a replica.

        Raises:
            Refused: There is no such pool or replica.
        """
        known = self.fleet.pool(pool)
        replica = known.replica(replica_id)
        observed = self._observed[pool, replica_id]
        decision = self._decisions.decisions.get(pool)
        return ReplicaReport(
            pool=known,
            replica=replica,
            observed=observed,
            age=None if observed.scraped_at is None else now - observed.scraped_at,
            policy=decision.policy if decision else None,
            decision=decision.replicas.get(replica_id) if decision else None,
            portion=self._decisions.portions.get(pool, {}).get(replica_id),
            joined=joined(known, replica, self._devices, now),
            in_flight=self._traffic.in_flight(known, replica, now),
            by_envoys=self._traffic.window(known, replica),
            ended=self._traffic.ended(known, replica),
            disputes=self._disputes(known, replica, now),
        )

    def reports(self, pool: str, ids: Iterable[str], now: float) -> Iterator[ReplicaReport]:
        """Everything known of these replicas, without replicas that leave meanwhile."""
        for id_ in ids:
            known = self.fleet.pools.get(pool)
            if known is not None and id_ in known.replicas:
                yield self.report(pool, id_, now)

    def tallying(self, pool: Pool, now: float) -> Generator[None, None, PoolTraffic]:
        """Add up what the replicas of a pool do, and yield after each."""
        return tallying(pool, self._seen(), self.decision(pool.name), now)

    def sampling_trends(self, now: float) -> Iterator[None]:
        """Keep a point of each pool where it is time for one, and yield after each replica."""
        for name, pool in [*self.fleet.pools.items()]:
            if self.trends.is_due(name, now):
                point = yield from self.tallying(pool, now)
                if name in self.fleet.pools:
                    self.trends.add(name, point)

    def outlines(
        self, pool: str, of: Collection[str] | None = None
    ) -> Iterator[tuple[str, Outline]]:
        """Replicas of a pool by their ids, as far as they are to be seen from afar.

        Args:
            pool: Its name.
            of: Ids; unknown ones are left out. None: all replicas of the pool.
        """
        decision = self._decisions.decisions.get(pool)
        portions = self._decisions.portions.get(pool, {})
        for id_, replica in self.fleet.pools[pool].replicas.some(of):
            decided = None if decision is None else decided_of(decision, id_)
            seen = self._observed[pool, id_]
            yield id_, Outline.of(replica, seen, decided, shown=id_ in portions)

    def restart_state(
        self, pool: str, of: Collection[str] | None = None
    ) -> Mapping[str, tuple[int, bool]]:
        """The generation of replicas of a pool, and whether Envoys know of each.

        Args:
            pool: Its name.
            of: See `outlines`.
        """
        return {
            id_: (replica.generation, self._observed[pool, id_].readiness.is_shown)
            for id_, replica in self.fleet.pools[pool].replicas.some(of)
        }

    def adopt(self, applied: Applied, now: float) -> None:
        """Take a new fleet, forget what was seen of those who left, begin with those who came."""
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
            for slot in (self._dirty, self._unbuilt):
                if found.replica is not None:
                    slot.add_replica(found.pool, found.replica)
                else:
                    slot.add((found.pool,))
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
        self._decisions.forget(pool)
        self.trends.forget(pool)

    def _seen(self) -> Seen:
        return Seen(self._observed, self._traffic, self._devices)

    def _is_told(self, pool: str, replica: Replica) -> bool:
        """Whether Envoys know of a replica, as far as we have told them anything."""
        return not self._has_decided or replica.id in self._decisions.portions.get(pool, {})
