"""The decisions about each pool, the weights that Envoys get, and classes of requests.

A new class has its cluster before any route leads to it, for as long as Envoys need to check its
replicas' health. One that is no longer wanted loses its route first, and its cluster with the next
decision. So no request is lost.
"""

import math
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from controlplane import balancing
from controlplane.balancing import Decision, Place, ZoneInput
from controlplane.balancing.restart import without_counters
from controlplane.config import ClassMatch, PoolSettings
from controlplane.fleet import Fleet, Pool
from controlplane.plane.history import Histories
from controlplane.plane.inputs import Seen, Tables, memory_in_use
from controlplane.plane.observed import Observations
from controlplane.plane.recovery import Hold
from controlplane.resources.classes import BULK, OTHERS, Parting, TrafficClass
from controlplane.resources.endpoints import EndpointWeight, Spread, place_of, weight_of
from controlplane.telemetry.sizes import RequestSizes

FAILED: Final = "The control plane failed to decide, see its log. Weights are frozen."
"""Why nothing changes in a pool that no decision could be made about."""
LOGGED: Final = 60.0
"""Seconds between two failures of one pool that are logged."""
MIN_SAMPLES: Final = 20
"""Requests of a zone whose mean size says something."""
FIRST_CHECKS: Final = 1.0
"""Seconds after a health check's timeout in which an Envoy has made the first checks of a cluster:
only then can requests go there."""


@dataclass(frozen=True, slots=True)
class ClassStep:
    """What Envoys are sent of a pool's classes; None where requests are not parted.

    `since`: when Envoys first got each class that is wanted, by name. `is_moving`: a further step
    is due, even if nothing else changes.
    """

    parting: Parting | None = None
    since: Mapping[str, float] = field(default_factory=dict)
    is_moving: bool = False


def notice(settings: PoolSettings) -> float:
    """Seconds that Envoys need from a new cluster to the first request that may go there."""
    return settings.health_check.timeout + FIRST_CHECKS


def next_step(
    before: ClassStep | None, wanted: Parting | None, needed: float, now: float
) -> ClassStep:
    """Work out the next step for Envoys.

    Args:
        before: The last step; None where Envoys may hold what is wanted already, as after a
            restart: an Envoy that does not is new, and has no request that could be lost.
        wanted: How requests are parted in the end; to a class that is not `routed` no route
            leads.
        needed: Seconds from a new cluster to the first request.
    """
    named = wanted.named if wanted is not None else ()
    if before is None:
        # As if they had been told long ago.
        return ClassStep(wanted, {step.name: now - needed for step in named})
    since = {step.name: before.since.get(step.name, now) for step in named}
    coming = tuple(
        replace(step, routed=step.routed and now >= since[step.name] + needed) for step in named
    )
    old = before.parting.named if before.parting is not None else ()
    going = tuple(
        replace(step, routed=False) for step in old if step.routed and step.name not in since
    )
    last = wanted or before.parting
    if last is None or not (coming or going):
        return ClassStep()
    parting = Parting((*coming, *going, last.classes[-1]))
    is_late = any(
        wanted_step.routed and not step.routed
        for wanted_step, step in zip(named, coming, strict=True)
    )
    return ClassStep(parting, since, is_moving=bool(going) or is_late)


@dataclass(slots=True)
class PoolDecision:
    """The decision about one pool, and the weights that Envoys get.

    Attributes:
        endpoint_weights: Of each replica that Envoys may know, by its id.
        parting: How Envoys part its requests into classes; None: they do not.
        hold: While it lasts, nothing changes in the pool.
        moving_at: When the next step of shares that are on their way is due.
        failed_at: When a failure to decide was logged last.
    """

    decision: Decision | None = None
    endpoint_weights: Mapping[str, EndpointWeight] = field(default_factory=dict)
    parting: Parting | None = None
    spread: Spread | None = None
    hold: Hold | None = None
    step: ClassStep | None = None
    moving_at: float = math.inf
    failed_at: float = -math.inf

    @property
    def is_parted(self) -> bool:
        """Whether the last decision was for several classes."""
        return self.decision is not None and bool(self.decision.classes)

    def held(self, now: float) -> str | None:
        """Why nothing is to change; None: it may."""
        return self.hold.words if self.hold is not None and now < self.hold.until else None

    def take(
        self,
        pool: Pool,
        decision: Decision,
        shown: Mapping[str, bool],
        now: float,
        unhealthy: Container[str] = (),
    ) -> None:
        """Take in the newest decision.

        `shown`: whether Envoys may know of a replica, by id, of the replicas that changed; of one
        that has gone they may not. `unhealthy`: ids of replicas that do not serve.
        """
        self.decision = decision
        endpoint_weights = dict(self.endpoint_weights)
        for id_, is_shown in shown.items():
            if is_shown:
                row = decision.rows[id_]
                weight, drained = int(decision.weight[row]), bool(decision.drained[row])
                is_well = id_ not in unhealthy
                endpoint_weights[id_] = weight_of(decision.tier_of(row), weight, drained, is_well)
            else:
                endpoint_weights.pop(id_, None)
        self.endpoint_weights = endpoint_weights
        wanted = _wanted(pool.settings, decision, endpoint_weights)
        if wanted is None and self.step is not None and self.step.parting is not None:
            # All replicas serve all requests again, while the clusters of classes go.
            wanted = Parting.of((), endpoint_weights)
        self.step = next_step(self.step, wanted, notice(pool.settings), now)
        self.parting = self.step.parting
        is_moving = decision.moving or self.step.is_moving
        self.moving_at = now + pool.settings.metrics.interval if is_moving else math.inf

    def take_zones(self, pool: Pool, observed: Observations) -> None:
        """Take in where Envoys send the requests of the zones, as the decision says."""
        plan = self.decision.pool.zones if self.decision is not None else None
        spread = Spread(plan.told, _gone(pool, observed)) if plan is not None else None
        if self.spread != spread:
            self.spread = spread


class Decisions(dict[str, PoolDecision]):
    """Decisions by pool. `failures`: why a pool has no new decision, until that is logged."""

    def __init__(self, known: Iterable[tuple[str, PoolDecision]] = ()) -> None:
        super().__init__(known)
        self.failures: dict[str, Exception] = {}

    def __missing__(self, pool: str) -> PoolDecision:
        """Nothing was decided about a pool yet, and nothing is kept of that."""
        return PoolDecision()

    def copy(self) -> "Decisions":
        """The same for a preview: no step of it is on its way, or has been sent to Envoys."""
        return Decisions(
            (name, replace(each, step=None, moving_at=math.inf, failed_at=-math.inf))
            for name, each in self.items()
        )

    @property
    def endpoint_weights(self) -> dict[str, Mapping[str, EndpointWeight]]:
        """Weights of the replicas that Envoys may know, by pool and id."""
        return {name: each.endpoint_weights for name, each in self.items()}

    @property
    def parting(self) -> dict[str, Parting]:
        """How Envoys part requests into classes, for the pools that have classes."""
        return {name: each.parting for name, each in self.items() if each.parting is not None}

    @property
    def spreads(self) -> dict[str, Spread]:
        """Flows between zones, for the pools whose zones matter."""
        return {name: each.spread for name, each in self.items() if each.spread is not None}

    def tried(self, pool: Pool, work: Callable[..., Decision], now: float) -> Decision | None:
        """Decide about a pool; a failure freezes its weights, and leaves other pools alone.

        `work` decides, and takes `hold` as `balancing.decide` does. None: the decision failed even
        with frozen weights, and everything stays as it was.
        """
        known = self.setdefault(pool.name, PoolDecision())
        holds = [known.held(now), FAILED]
        for hold in holds if known.decision is not None else holds[:1]:
            try:
                decision = work(hold=hold)
            except Exception as error:  # noqa: BLE001 - whatever it is, other pools must go on
                if now - known.failed_at >= LOGGED:
                    known.failed_at, self.failures[pool.name] = now, error
            else:
                # Frozen weights are decided anew, with or without news.
                return replace(decision, moving=True) if hold == FAILED else decision
        known.moving_at = now + pool.settings.metrics.interval
        return None

    def due(self, now: float) -> Iterator[str]:
        """The pools whose shares are on their way, so that the next step is due."""
        return (name for name, each in self.items() if now >= each.moving_at)

    def read_anew(self, pool: str) -> None:
        """Drop the counters of a pool whose replicas are read differently from now on."""
        if (decision := self[pool].decision) is not None:
            self[pool].decision = without_counters(decision)


def _wanted(
    settings: PoolSettings, decision: Decision, endpoint_weights: Mapping[str, EndpointWeight]
) -> Parting | None:
    """How to part requests: as the user says, else by size where that was decided."""
    if settings.classes is not None:
        matches = {each.name: each.match for each in settings.classes}
        if decision.classes:
            return _of_classes(decision, endpoint_weights, matches)
        of_user = (
            TrafficClass(name, match, endpoint_weights, routed=True)
            for name, match in matches.items()
        )
        return Parting.of(of_user, endpoint_weights)
    division = decision.division
    if division.threshold is None:
        return None
    match = ClassMatch(min_bytes=division.threshold)
    if not decision.classes:
        # The cluster comes first: Envoys check the health of its replicas before it is used.
        ids = [*endpoint_weights]
        has_bulk = zip(ids, division.members(BULK, ids), strict=True)
        of_bulk = {id_: endpoint_weights[id_] for id_, serves in has_bulk if serves}
        return Parting.of([TrafficClass(BULK, match, of_bulk, routed=False)], endpoint_weights)
    return _of_classes(decision, endpoint_weights, {BULK: match})


def _of_classes(
    decision: Decision,
    endpoint_weights: Mapping[str, EndpointWeight],
    matches: Mapping[str, ClassMatch],
) -> Parting:
    """Classes in the order in which they are matched, each with the replicas of its own."""
    classes = {each.name: (each, each.weights.tolist()) for each in decision.classes}

    def serving(name: str) -> dict[str, EndpointWeight]:
        of, weights = classes[name]
        return {
            id_: weight_of(of.tier_of(row), weight, each.draining, each.healthy)
            for id_, each in endpoint_weights.items()
            if (weight := weights[row := decision.rows[id_]]) > 0
        }

    named = (TrafficClass(n, match, serving(n), routed=True) for n, match in matches.items())
    return Parting.of(named, serving(OTHERS))


def decide(
    fleet: Fleet,
    due: Mapping[str, Collection[str] | None],
    seen: Seen,
    tables: Tables,
    sizes: Mapping[str, RequestSizes],
    decisions: Decisions,
    histories: Histories,
    envoys: int | None,
    nodes: Callable[[str], Mapping[Place, int]],
    now: float,
) -> dict[str, Collection[str]]:
    """Decide what replicas get.

    Args:
        due: Ids of the replicas that changed, by pool; None: it may be any.
        tables: Are brought up to date first.
        nodes: Counts the Envoys that use a pool, by zone.

    Returns:
        By pool the ids of the replicas that changed, or whose decision did; some may have gone.
    """
    about = dict[str, Collection[str]]()
    pools, gone = fleet.pools, dict[str, list[str]]()
    for name, some in due.items():
        is_parted = decisions[name].is_parted
        gone[name] = tables.write(pools[name], some, seen, now, is_parted=is_parted)
    gpus = memory_in_use(pools, tables, seen.devices, now)
    for name, ids in gone.items():
        pool, before, table = pools[name], decisions[name].decision, tables[name]
        of_pool = sizes.get(name)
        work = partial(
            balancing.decide,
            before,
            pool.settings,
            table,
            now,
            gpus=gpus,
            envoys=envoys,
            sizes=of_pool.all if of_pool is not None else None,
            class_sizes=of_pool.by_class if of_pool is not None else None,
            zone_input=_zone_input(pool, seen, of_pool, nodes) if is_near(pool) else None,
        )
        decision = decisions.tried(pool, work, now)
        if decision is None:
            about[name] = ids
            continue
        changed = decision.changed(before) | decision.marked(before)
        if before is not None:
            # They refer to their decision. Without them it is freed at once, with all its columns.
            vars(before).pop("effects", None)
        histories.record(pool, decision, changed, seen)
        observed = {id_: seen.observed[name, id_] for id_ in decision.ids(changed)}
        shown = {id_: replica.readiness.is_shown for id_, replica in observed.items()}
        unhealthy = {id_ for id_, replica in observed.items() if not replica.readiness.may_serve}
        shown |= dict.fromkeys(ids, False)
        decisions[name].take(pool, decision, shown, now, unhealthy)
        decisions[name].take_zones(pool, seen.observed)
        about[name] = shown.keys()
    return about


def is_near(pool: Pool) -> bool:
    """Whether Envoys use the replicas of their own zone first."""
    return pool.settings.balancing.locality == "nearest"


def _zone_input(
    pool: Pool, seen: Seen, sizes: RequestSizes | None, nodes: Callable[[str], Mapping[Place, int]]
) -> ZoneInput:
    by_place = sizes.by_place.items() if sizes is not None else ()
    usual = sizes.all.mean if sizes is not None else 1.0
    return ZoneInput(
        {id_: place_of(replica.settings) for id_, replica in pool.replicas.items()},
        _gone(pool, seen.observed),
        nodes(pool.name),
        seen.traffic.arrivals_of(pool.name),
        {
            place: each.mean / usual
            for place, each in by_place
            if isinstance(place, Place) and each.samples >= MIN_SAMPLES
        },
    )


def _gone(pool: Pool, observed: Observations) -> frozenset[str]:
    """Ids of replicas that are not believed to serve."""
    return frozenset(
        id_ for id_, replica in pool.replicas.items() if not observed.serves(pool.name, replica)
    )
