"""The decisions about each pool, the weights that Envoys get, and classes of requests.

A new class has its cluster before any route leads to it, for as long as Envoys need to check its
replicas' health. One that is no longer wanted loses its route first, and its cluster with the next
decision. So no request is lost.
"""

import math
from collections.abc import Callable, Collection, Container, Iterator, Mapping
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
class Decisions:
    """What was decided, by pool."""

    decisions: dict[str, Decision] = field(default_factory=dict)
    endpoint_weights: dict[str, dict[str, EndpointWeight]] = field(default_factory=dict)
    parting: dict[str, Parting] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    _class_steps: dict[str, ClassStep] = field(default_factory=dict)
    _moving: dict[str, float] = field(default_factory=dict)
    _failed: dict[str, float] = field(default_factory=dict)

    def copy(self) -> "Decisions":
        """The same, to be changed apart; what both refer to is never changed in place."""
        endpoint_weights, parting = dict(self.endpoint_weights), dict(self.parting)
        holds, spreads = dict(self.holds), dict(self.spreads)
        return Decisions(dict(self.decisions), endpoint_weights, parting, holds, spreads)

    def is_parted(self, pool: str) -> bool:
        """Whether Envoys part a pool's requests into classes."""
        before = self.decisions.get(pool)
        return before is not None and bool(before.classes)

    def held(self, pool: str, now: float) -> str | None:
        """Why nothing is to change in a pool; None: it may."""
        hold = self.holds.get(pool)
        return hold.words if hold is not None and now < hold.until else None

    def take(
        self,
        pool: Pool,
        decision: Decision,
        shown: Mapping[str, bool],
        now: float,
        unhealthy: Container[str] = (),
    ) -> None:
        """Take in the newest decision about a pool.

        Args:
            shown: Whether Envoys may know of a replica, by id; of the replicas that changed. A
                replica that has gone they may not know.
            ill: Ids of replicas that do not serve.
        """
        name, settings = pool.name, pool.settings
        self.decisions[name] = decision
        endpoint_weights = dict(self.endpoint_weights.get(name, {}))
        for id_, is_shown in shown.items():
            if is_shown:
                row = decision.rows[id_]
                weight, drained = int(decision.weight[row]), bool(decision.drained[row])
                is_well = id_ not in unhealthy
                endpoint_weights[id_] = weight_of(decision.tier_of(row), weight, drained, is_well)
            else:
                endpoint_weights.pop(id_, None)
        self.endpoint_weights[name] = endpoint_weights
        before = self._class_steps.get(name)
        wanted = _wanted(settings, decision, endpoint_weights)
        if wanted is None and before is not None and before.parting is not None:
            # All replicas serve all requests again, while the clusters of classes go.
            wanted = Parting.of((), endpoint_weights)
        told = self._class_steps[name] = next_step(before, wanted, notice(settings), now)
        if told.parting is None:
            self.parting.pop(name, None)
        else:
            self.parting[name] = told.parting
        is_moving = decision.moving or told.is_moving
        self._moving[name] = now + settings.metrics.interval if is_moving else math.inf

    def tried(self, pool: Pool, work: Callable[..., Decision], now: float) -> Decision | None:
        """Decide about a pool; a failure freezes its weights, and leaves other pools alone.

        `work` decides, and takes `hold` as `balancing.decide` does. None: not even frozen weights
        could be decided, and all stays as it was.
        """
        holds = [self.held(pool.name, now), FAILED]
        for hold in holds if pool.name in self.decisions else holds[:1]:
            try:
                decision = work(hold=hold)
            except Exception as error:  # noqa: BLE001 - whatever it is, other pools must go on
                if now - self._failed.get(pool.name, -math.inf) >= LOGGED:
                    self._failed[pool.name] = now
                    self.failures[pool.name] = error
            else:
                # Frozen weights are decided anew, with or without news.
                return replace(decision, moving=True) if hold == FAILED else decision
        self._moving[pool.name] = now + pool.settings.metrics.interval
        return None

    def take_zones(self, pool: Pool, decision: Decision, observed: Observations) -> None:
        """Take in where Envoys send the requests of a pool."""
        plan = decision.pool.zones
        if plan is None:
            self.spreads.pop(pool.name, None)
            return
        gone = _gone(pool, observed)
        if self.spreads.get(pool.name) != (spread := Spread(plan.told, gone)):
            self.spreads[pool.name] = spread

    def due(self, now: float) -> Iterator[str]:
        """The pools whose shares are on their way, so that the next step is due."""
        return (name for name, at in self._moving.items() if now >= at)

    def read_anew(self, pool: str) -> None:
        """From now on a pool's replicas are read otherwise, or not at all."""
        if (decision := self.decisions.get(pool)) is not None:
            self.decisions[pool] = without_counters(decision)

    def forget(self, pool: str) -> None:
        """A pool has gone."""
        told = (self.decisions, self.endpoint_weights, self.parting, self.holds, self.spreads)
        for by_pool in (*told, self._class_steps, self._moving, self._failed):
            by_pool.pop(pool, None)


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
    weights = {each.name: each.weights.tolist() for each in decision.classes}

    def serving(name: str) -> dict[str, EndpointWeight]:
        return {
            id_: weight_of(each.tier, weight, each.draining, each.healthy)
            for id_, each in endpoint_weights.items()
            if (weight := weights[name][decision.rows[id_]]) > 0
        }

    named = (TrafficClass(n, match, serving(n), routed=True) for n, match in matches.items())
    return Parting.of(named, serving(OTHERS))


def decide(
    fleet: Fleet,
    due: Mapping[str, Collection[str] | None],
    seen: Seen,
    tables: Tables,
    sizes: Mapping[str, RequestSizes],
    decided: Decisions,
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
        is_parted = decided.is_parted(name)
        gone[name] = tables.write(pools[name], some, seen, now, is_parted=is_parted)
    gpus = memory_in_use(pools, tables, seen.devices, now)
    for name, ids in gone.items():
        pool, before, table = pools[name], decided.decisions.get(name), tables[name]
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
        decision = decided.tried(pool, work, now)
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
        decided.take(pool, decision, shown, now, unhealthy)
        decided.take_zones(pool, decision, seen.observed)
        about[name] = shown.keys()
    return about


def is_near(pool: Pool) -> bool:
    """Whether Envoys use the replicas of their own zone first."""
    return pool.settings.balancing.locality == "nearest"


def _zone_input(
    pool: Pool, seen: Seen, sizes: RequestSizes | None, nodes: Callable[[str], Mapping[Place, int]]
) -> ZoneInput:
    """What is known of the zones of a pool."""
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
