"""What every pool and replica gets, read from the plane when somebody asks.

Nothing is kept between two scrapes, so that the series of what is gone go with it.
"""

from collections.abc import Awaitable, Callable, Generator, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.balancing import Decision, ZonePlan
from controlplane.metrics.replicas import ReplicaFamilies
from controlplane.metrics.requests import RequestFamilies
from controlplane.metrics.scaling import ScalingFamilies
from controlplane.plane import Plane, State


class FleetCollector(Collector):
    """Pools and replicas as gauges."""

    def __init__(self, plane: Plane, clock: Callable[[], float]) -> None:
        """Prepare a collector.

        Args:
            plane: Is asked at each scrape.
            clock: Seconds that never go back; the one of the plane.
        """
        self._plane = plane
        self._clock = clock
        self._prepared: list[Metric] | None = None

    def collect(self) -> Iterable[Metric]:
        """All families, those without a series as well; those that were prepared, if any were."""
        families, self._prepared = self._prepared, None
        gathering = self._gather()
        while families is None:
            try:
                next(gathering)
            except StopIteration as gathered:
                families = gathered.value
        return families

    async def prepare(self, give_way: Callable[[], Awaitable[None]]) -> None:
        """Gather what is collected next.

        Args:
            give_way: Called after each replica.
        """
        gathering = self._gather()
        while self._prepared is None:
            try:
                next(gathering)
            except StopIteration as gathered:
                self._prepared = gathered.value
            await give_way()

    def _gather(self) -> Generator[None, None, list[Metric]]:
        """Yield after each replica, and return the families."""
        now = self._clock()
        fleet = self._plane.fleet
        pools = _gauge("pool_replicas", "Replicas of a pool, by state.", "pool", "state")
        suspect = _gauge(
            "pool_suspect",
            "1 while more than half of a pool cannot be scraped, so that its weights stand still.",
            "pool",
        )
        disputed = _gauge(
            "pool_health_disputed",
            "Replicas whose health an Envoy sees otherwise for a while than the control plane.",
            "pool",
        )
        classes, zones, scaling = _Classes(), _Zones(), ScalingFamilies()
        replicas, requests = ReplicaFamilies(), RequestFamilies()
        for name, pool in fleet.pools.items():
            states, disputes = [], 0
            decision = self._plane.decision(name)
            for report in self._plane.reports(name, pool.replicas, now):
                states.append(report.observed.readiness.state)
                disputes += bool(report.disputes)
                replicas.add(report, decision)
                yield
            for state in State:
                pools.add_metric((name, state.value), states.count(state))
            decision = self._plane.decision(name)
            requests.add(pool, decision, self._plane.answers.get(name, {}))
            suspect.add_metric((name,), float(decision is not None and decision.suspect))
            if decision is not None:
                classes.add(name, decision)
                if (plan := decision.pool.zones) is not None:
                    zones.add(name, plan)
            disputed.add_metric((name,), disputes)
            # The pool may have gone meanwhile.
            if name in self._plane.fleet.pools:
                scaling.add(self._plane.recommendation(name, now))
            yield
        total = GaugeMetricFamily("plimsoll_pools", "Pools.", value=len(fleet.pools))
        families = (
            *requests.families,
            *classes.families,
            *zones.families,
            *scaling.families,
            *replicas.families,
        )
        return [total, pools, suspect, disputed, *families]


class _Classes:
    """One family each for what can be said of a class; a pool that is not parted has no series."""

    def __init__(self) -> None:
        self._part = _gauge(
            "class_part_of_work",
            "Part of a pool's work that a class of its requests is, 0 to 1.",
            "pool",
            "class",
        )
        self._replicas = _gauge(
            "class_replicas", "Replicas that serve a class of requests first.", "pool", "class"
        )

    @property
    def families(self) -> tuple[Metric, ...]:
        return self._part, self._replicas

    def add(self, pool: str, decision: Decision) -> None:
        rows = [*decision.rows.values()]
        for each in decision.classes:
            self._part.add_metric((pool, each.title), each.part)
            self._replicas.add_metric((pool, each.title), int((each.weights[rows] > 0).sum()))


class _Zones:
    """What arises in zones and where it goes; a pool that uses all replicas alike has no series."""

    def __init__(self) -> None:
        zone = ("pool", "class", "region", "zone")
        self._demand = _gauge(
            "zone_demand_tokens_per_second",
            "Tokens per second that the Envoys of a zone send; none where not counted.",
            *zone,
        )
        self._capacity = _gauge(
            "zone_capacity_tokens_per_second",
            "Estimate of what the replicas of a zone carry, in tokens per second.",
            *zone,
        )
        self._sent = _gauge(
            "zone_sent_ratio",
            "Part of the requests of a zone that goes to the replicas of a zone, 0 to 1.",
            *zone,
            "to_region",
            "to_zone",
        )

    @property
    def families(self) -> tuple[Metric, ...]:
        return self._demand, self._capacity, self._sent

    def add(self, pool: str, plan: ZonePlan) -> None:
        for name, each in plan.by_class.items():
            for index, place in enumerate(each.places):
                labels = (pool, name, place.region, place.zone)
                if each.is_measured:
                    self._capacity.add_metric(labels, float(each.capacity[index]))
                if each.is_counted:
                    self._demand.add_metric(labels, float(each.demand[index]))
                for there, part in each.told.get(place, {}).items():
                    self._sent.add_metric((*labels, there.region, there.zone), part)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"plimsoll_{name}", text, labels=labels)
