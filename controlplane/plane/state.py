"""The state of the control plane, and what can be asked of it."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, KeysView, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.balancing import Decision, ReplicaDecision
from controlplane.config import OtlpSettings, Policy, PoolSettings
from controlplane.config.identity import IdentitySettings
from controlplane.config.metrics import AccessSettings, ScrapingSettings
from controlplane.fleet import Applied, Draining, Fleet, Pool, Replica
from controlplane.plane.decisions import Decisions
from controlplane.plane.devices import Devices, Exporter, GpuReport, exporters_of
from controlplane.plane.discoveries import Discoveries
from controlplane.plane.envoys import Dispute, EnvoyHealth, NodeListeners, to_check
from controlplane.plane.history import Histories
from controlplane.plane.inputs import Seen, Tables
from controlplane.plane.observed import Observations, Observed, State
from controlplane.plane.recovery import STARTUP_SECONDS, Recovery
from controlplane.plane.scalings import Scalings
from controlplane.plane.traffic import Senders, Traffic, by_replica, endpoint_of, replica_at
from controlplane.plane.trends import PoolTraffic, Trends, tallying
from controlplane.resources.catalog import Catalog
from controlplane.resources.classes import Parting
from controlplane.resources.endpoints import EndpointWeight
from controlplane.resources.health_checks import HealthTarget
from controlplane.resources.views import View
from controlplane.scaling import Recommendation
from controlplane.telemetry import Window
from controlplane.telemetry.load import Endpoint, InLocality, Load
from controlplane.telemetry.sizes import Answers, RequestSizes


@dataclass(frozen=True, slots=True)
class Target:
    """A replica to scrape, and how; `probe`: a health check is due as well."""

    pool: str
    replica: Replica
    settings: PoolSettings
    probe: bool
    access: AccessSettings | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """Pool, replica and generation."""
        return (self.pool, self.replica.id, self.replica.generation)


class ReplicaSummary(NamedTuple):
    """A replica in a few words: nothing that changes with every reading.

    Attributes:
        cut: Whether it gets nothing for its GPU memory or its errors.
        stale: Whether its readings are too old for its weight to follow.
    """

    state: State
    shown: bool
    draining: Draining | None
    tier: str | None = None
    cut: bool = False
    stale: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """Everything known of one replica.

    Attributes:
        age: Seconds since its last good scrape.
        gpus: What exporters report of its GPUs; None where its pool names none.
        in_flight: Requests that all Envoys together have at it now.
        by_envoys: What it did lately by the count of all Envoys.
        ended: Tries at it that ended well, and otherwise, by the count of all Envoys.
    """

    pool: Pool
    replica: Replica
    observed: Observed
    age: float | None
    policy: Policy | None
    decision: ReplicaDecision | None
    endpoint_weight: EndpointWeight | None
    gpus: GpuReport | None
    in_flight: float | None
    by_envoys: Window | None
    ended: tuple[float, float] | None = None
    disputes: tuple[Dispute, ...] = ()

    @property
    def summary(self) -> ReplicaSummary:
        """The same in a few words."""
        state, shown = self.observed.readiness.state, self.endpoint_weight is not None
        known = self.decision
        about = (known.tier, known.drained, known.stale) if known is not None else ()
        return ReplicaSummary(state, shown, self.replica.draining, *about)


class DirtyKeys:
    """A slot between a writer and a reader: keys are added, and taken all at once."""

    def __init__(self) -> None:
        self._replicas: dict[str, set[str] | None] = {}

    def add(self, pools: Iterable[str]) -> None:
        """Anything may be new in these pools."""
        self._replicas |= dict.fromkeys(pools)

    def add_replicas(self, replicas: Mapping[str, Collection[str] | None]) -> None:
        """Something is new of these replicas, by pool; None: of any in it.

        Without ids, the pool itself is looked at, and none of its replicas.
        """
        for pool, ids in replicas.items():
            if ids is None:
                self._replicas[pool] = None
            elif (known := self._replicas.setdefault(pool, set())) is not None:
                known.update(ids)

    def discard(self, pool: str) -> None:
        self._replicas.pop(pool, None)

    def pools(self) -> KeysView[str]:
        return self._replicas.keys()

    def some(self, pool: str, all_of_it: Callable[[], Iterable[str]]) -> set[str]:
        """Return the dirty replicas of a dirty pool, by id, to take some out.

        `all_of_it` is asked for the ids of all where anything may be new.
        """
        known = self._replicas.get(pool, set())
        if known is None:
            known = self._replicas[pool] = set(all_of_it())
        return known

    def of(self, pool: str) -> "DirtyKeys":
        """What is new of one pool, to be changed apart."""
        found = DirtyKeys()
        if pool in self._replicas:
            found.add_replicas({pool: self._replicas[pool]})
        return found

    def taken(self) -> dict[str, set[str] | None]:
        """The ids of the replicas, by pool; None: it may be all. The slot is empty then."""
        taken, self._replicas = self._replicas, {}
        return taken

    def taken_replicas(self) -> dict[str, set[str]]:
        """The same, but pools in which anything may be new stay."""
        taken = {name: ids for name, ids in self._replicas.items() if ids is not None}
        self._replicas = dict.fromkeys(self._replicas.keys() - taken.keys())
        return taken


class PlaneState:
    """Holds the state; every method takes the time in seconds of a monotonic clock.

    Attributes:
        listeners: Where connected Envoys listen, other than the pools say.
        sizes: Of the requests of each pool that any Envoy reported, by name.
        answers: To the requests of each pool that any Envoy reported, by name and class.
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
        self._suspected: set[tuple[str, str]] = set()
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
        self._envoy_health = EnvoyHealth()
        self.fleet = Fleet()
        self.histories = Histories()
        self.senders = Senders()
        self.trends = Trends()
        self.catalog = Catalog(trust_domain=trust_domain, otlp=otlp)

    def targets(self) -> tuple[Target, ...]:
        """The replicas to scrape."""
        keys = ((name, id_) for name, pool in self.fleet.pools.items() for id_ in pool.replicas)
        return tuple(target for key in keys if (target := self.target(*key)) is not None)

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

    def exporters(self) -> tuple[Exporter, ...]:
        """The exporters to scrape for GPU memory that replicas do not expose themselves."""
        pools = self.fleet.pools.values()
        default = ScrapingSettings()
        accesses = (self._scraping.get(pool.name, default).exporters for pool in pools)
        return tuple(exporters_of((pool.settings for pool in pools), accesses).values())

    def by_replica(self, localities: Mapping[InLocality, Load]) -> dict[Endpoint, Load]:
        """Share out what gRPC clients report of localities to the replicas in them."""
        return by_replica(self.catalog, localities)

    def has_started(self, now: float) -> bool:
        """Whether enough was seen since the start to tell Envoys anything.

        A fleet without pools is not served, unless the last one was removed since the start: a
        registry that was lost must not take away what Envoys have.
        """
        waited = now - self._started
        if not self.fleet.pools and not self._has_decided:
            return False
        if not self.discoveries.have_started(self.fleet, waited):
            return False
        are_asked = self.discoveries.are_asked() and self._observed.are_probed()
        return waited >= STARTUP_SECONDS or are_asked

    def to_check(
        self, node: str, view: View, known: tuple[HealthTarget, ...]
    ) -> tuple[HealthTarget, ...]:
        """Which replicas a node is to check that has checked what is known so far."""
        return to_check(self.fleet, self._decisions.endpoint_weights, view, known, node)

    def disputes(self, now: float) -> Iterator[Dispute]:
        """Where Envoys and the control plane hold different views of a replica's health."""
        for endpoint in self._envoy_health.endpoints():
            if (replica := replica_at(self.fleet, endpoint)) is not None:
                yield from self._disputes(self.fleet.pools[endpoint.pool], replica, now)

    def _disputes(self, pool: Pool, replica: Replica, now: float) -> tuple[Dispute, ...]:
        if replica.id not in self._decisions[pool.name].endpoint_weights:
            return ()
        readiness = self._observed[pool.name, replica.id].readiness
        return tuple(self._envoy_health.disputes_of(pool, replica, readiness, now))

    def decision(self, pool: str) -> Decision | None:
        """The last decision about a pool."""
        return self._decisions[pool].decision

    def recommendation(self, pool: str, now: float) -> Recommendation:
        """Work out how many replicas a pool should have, and why; `Refused`: there is no pool."""
        known, decision = self.fleet.pool(pool), self.decision(pool)
        held = self._decisions[pool].held(now)
        envoys = self._envoys or 1
        return self.scalings.recommend(known, self._observed, decision, held, envoys, now)

    def is_active(self, pool: str, now: float) -> bool:
        """Tell whether a pool is to have replicas: requests come, or it may never be empty."""
        return self.scalings.is_active(self.fleet.pool(pool), now)

    def parting(self, pool: str) -> Parting | None:
        """How a pool's requests are parted into classes; None: they are not."""
        return self._decisions[pool].parting

    def report(self, pool: str, replica_id: str, now: float) -> ReplicaReport:
        """Return everything known of a replica; `Refused`: there is no such pool or replica."""
        known = self.fleet.pool(pool)
        replica = known.replica(replica_id)
        observed = self._observed[pool, replica_id]
        about = self._decisions[pool]
        decision = about.decision
        reports, at = self._traffic.reports, endpoint_of(pool, replica)
        return ReplicaReport(
            pool=known,
            replica=replica,
            observed=observed,
            age=None if observed.scraped_at is None else now - observed.scraped_at,
            policy=decision.policy if decision else None,
            decision=decision.replicas.get(replica_id) if decision else None,
            endpoint_weight=about.endpoint_weights.get(replica_id),
            gpus=self._devices.gpus_of(known, replica, now),
            in_flight=reports.in_flight(at, now),
            by_envoys=reports.window(at),
            ended=reports.ended(at),
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

    def summaries(
        self, pool: str, of: Collection[str] | None = None
    ) -> Iterator[tuple[str, ReplicaSummary]]:
        """Summarise replicas of a pool by id, all by default, without any that has left."""
        decision = self._decisions[pool].decision
        endpoint_weights = self._decisions[pool].endpoint_weights
        for id_, _ in self.fleet.pools[pool].replicas.some(of):
            there = self.fleet.pools.get(pool)
            replica = there.replicas.get(id_) if there is not None else None
            if replica is None:
                continue
            known = self._observed[pool, id_].readiness.state, id_ in endpoint_weights
            row = decision.rows.get(id_) if decision is not None else None
            if decision is None or row is None:
                yield id_, ReplicaSummary(*known, replica.draining)
            else:
                cut, stale = bool(decision.drained[row]), bool(decision.stale[row])
                tier = decision.tier_of(row)
                yield id_, ReplicaSummary(*known, replica.draining, tier, cut, stale)

    def restart_state(
        self, pool: str, of: Collection[str] | None = None
    ) -> Mapping[str, tuple[int, bool]]:
        """Return the generation of replicas, and whether Envoys know of each; None: of all."""
        return {
            id_: (replica.generation, self._observed[pool, id_].readiness.is_shown)
            for id_, replica in self.fleet.pools[pool].replicas.some(of)
        }

    def discovered(self, fleet: Fleet, now: float) -> Applied:
        """Bring a fleet in line with what the sources have found."""
        return self.discoveries.merged(
            fleet, self._observed.serves, self._is_shown, self.listeners.listeners, now
        )

    def _seen(self) -> Seen:
        return Seen(self._observed, self._traffic, self._devices)

    def _is_shown(self, pool: str, replica: Replica) -> bool:
        """Whether Envoys know of a replica; before the first decision they may."""
        return not self._has_decided or replica.id in self._decisions[pool].endpoint_weights
