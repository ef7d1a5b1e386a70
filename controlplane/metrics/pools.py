"""What there is to say of pools: requests, classes, zones, replicas wanted, and sources."""

from collections.abc import Mapping
from typing import Final, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from controlplane.balancing import Decision, ZonePlan
from controlplane.balancing.sets import titles
from controlplane.config import PoolSettings
from controlplane.fleet import Pool
from controlplane.plane import Plane
from controlplane.resources.classes import BULK, OTHERS
from controlplane.scaling import Recommendation
from controlplane.telemetry.requests import BOUNDS, Answers

FamilyT = TypeVar("FamilyT", GaugeMetricFamily, CounterMetricFamily, HistogramMetricFamily)

_ONLY: Final = "default"
"""What the class of all requests is shown as, where they are not parted."""


class Families:
    """Families that are filled at one scrape; a family without a series is exposed as well."""

    def __init__(self, prefix: str, *labels: str) -> None:
        """Begin all names with a prefix, and give all families these labels."""
        self.all: list[Metric] = []
        self._prefix, self._labels = prefix, labels

    def gauge(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        """Add a gauge, with more labels."""
        return self._add(GaugeMetricFamily, name, text, labels)

    def counter(self, name: str, text: str, *labels: str) -> CounterMetricFamily:
        """Add a counter, with more labels."""
        return self._add(CounterMetricFamily, name, text, labels)

    def histogram(self, name: str, text: str, *labels: str) -> HistogramMetricFamily:
        """Add a histogram, with more labels."""
        return self._add(HistogramMetricFamily, name, text, labels)

    def _add(self, kind: type[FamilyT], name: str, text: str, labels: tuple[str, ...]) -> FamilyT:
        family = kind(self._prefix + name, text, labels=(*self._labels, *labels))
        self.all.append(family)
        return family


class RequestFamilies(Families):
    """How requests were answered, and their objectives: what a burn rate is computed from."""

    def __init__(self) -> None:
        super().__init__("plimsoll_", "pool", "class")
        self._requests = self.counter(
            "sampled_requests",
            "Requests that Envoys have told of, a random part of all, by how they ended.",
            "result",
        )
        self._slow = self.counter(
            "sampled_slow_requests",
            "Sampled requests that took longer than their objective, those with errors left out.",
        )
        self._duration = self.histogram(
            "sampled_request_duration_seconds",
            "What clients waited for sampled requests that were answered without an error.",
        )
        self._p99 = self.gauge(
            "objective_p99_seconds", "What 99 of 100 requests are meant to take at most."
        )
        self._availability = self.gauge(
            "objective_availability_ratio",
            "Part of requests that is meant to be answered without an error, 0 to 1.",
        )

    def add(self, pool: Pool, decision: Decision | None, answers: Mapping[str, Answers]) -> None:
        """Add a pool; `answers` are by class, also of classes that the pool no longer has."""
        for name, title in _classes(pool.settings, decision, answers).items():
            labels, known = (pool.name, title), answers.get(name) or Answers()
            # A counter that appears with its first count has no increase that a rate could show.
            for result, count in known.results.items():
                self._requests.add_metric((*labels, result), count)
            bounds = (*map(str, BOUNDS), "+Inf")
            buckets = [*zip(bounds, known.buckets, strict=True)]
            self._duration.add_metric(labels, buckets, known.seconds)
            if (objective := pool.settings.objective_of(name)) is not None:
                self._slow.add_metric(labels, known.slow)
                self._p99.add_metric(labels, objective.p99)
                if objective.availability is not None:
                    self._availability.add_metric(labels, objective.availability)


def _classes(
    settings: PoolSettings, decision: Decision | None, answers: Mapping[str, Answers]
) -> Mapping[str, str]:
    """What each class of a pool is shown as, as in what else is said of classes."""
    if settings.classes is not None:
        return titles(settings, None)
    is_parted = decision is not None and bool(decision.classes)
    shown = titles(settings, decision.division) if decision is not None and is_parted else {}
    # What was bulk before its requests went together again is still counted.
    found = (OTHERS, BULK) if is_parted or BULK in answers else (OTHERS,)
    return {name: shown.get(name, name or _ONLY) for name in found}


class ClassFamilies(Families):
    """The classes of requests; a pool that is not parted has no series."""

    def __init__(self) -> None:
        super().__init__("plimsoll_class_", "pool", "class")
        self._part = self.gauge(
            "part_of_work", "Part of a pool's work that a class of its requests is, 0 to 1."
        )
        self._replicas = self.gauge("replicas", "Replicas that serve a class of requests first.")

    def add(self, pool: str, decision: Decision) -> None:
        """Add a pool."""
        rows = [*decision.rows.values()]
        for each in decision.classes:
            self._part.add_metric((pool, each.title), each.part)
            self._replicas.add_metric((pool, each.title), int((each.weights[rows] > 0).sum()))


class ZoneFamilies(Families):
    """The requests of zones and where they go; none where a pool uses all replicas alike."""

    def __init__(self) -> None:
        super().__init__("plimsoll_zone_", "pool", "class", "region", "zone")
        self._demand = self.gauge(
            "demand_tokens_per_second",
            "Tokens per second that the Envoys of a zone send; none where not counted.",
        )
        self._capacity = self.gauge(
            "capacity_tokens_per_second",
            "Estimate of what the replicas of a zone carry, in tokens per second.",
        )
        self._sent = self.gauge(
            "sent_ratio",
            "Part of the requests of a zone that goes to the replicas of a zone, 0 to 1.",
            "to_region",
            "to_zone",
        )

    def add(self, pool: str, plan: ZonePlan) -> None:
        """Add a pool."""
        for name, each in plan.by_class.items():
            for index, place in enumerate(each.places):
                labels = (pool, name, place.region, place.zone)
                if each.is_measured:
                    self._capacity.add_metric(labels, float(each.capacity[index]))
                if each.is_counted:
                    self._demand.add_metric(labels, float(each.demand[index]))
                for there, part in each.told.get(place, {}).items():
                    self._sent.add_metric((*labels, there.region, there.zone), part)


class ScalingFamilies(Families):
    """How many replicas pools should have; what is not measured has no series."""

    def __init__(self) -> None:
        super().__init__("plimsoll_", "pool")
        self._wanted = self.gauge(
            "pool_replicas_wanted", "Replicas that a pool should have; what to scale to."
        )
        self._present = self.gauge(
            "pool_replicas_needed", "Replicas that the present load of a pool needs."
        )
        self._active = self.gauge(
            "pool_active", "1 while requests come to a pool, or it may never be empty."
        )
        self._removable = self.gauge(
            "pool_replicas_removable", "Replicas without which the others carry the load."
        )
        self._cold_start = self.gauge(
            "pool_cold_start_seconds", "From wanting a replica to one that serves."
        )
        self._load = self.gauge(
            "class_load_tokens_per_second", "Tokens that come of a class of requests.", "class"
        )
        self._forecast = self.gauge(
            "class_forecast_tokens_per_second",
            "Tokens of a class that are to be expected once a new replica serves, or were lately.",
            "class",
        )

    def add(self, found: Recommendation) -> None:
        """Add a pool."""
        labels = (found.pool,)
        self._wanted.add_metric(labels, found.replicas)
        self._present.add_metric(labels, found.present)
        self._active.add_metric(labels, float(found.active))
        self._removable.add_metric(labels, len(found.removable))
        self._cold_start.add_metric(labels, found.horizon)
        for need in found.needs:
            of_class = (found.pool, need.demand.title)
            self._load.add_metric(of_class, need.demand.flow.tokens)
            self._forecast.add_metric(of_class, need.load.tokens)


def source_families(plane: Plane, now: float) -> list[Metric]:
    """The sources of replicas, named as in the config file and never by what they found."""
    families = Families("plimsoll_discovery_", "pool")
    up = families.gauge(
        "up", "1 while a source answers, 0 while what it found before holds on.", "source"
    )
    problem = families.gauge(
        "problem", "1 while a source fails, or has something that cannot be used.", "source"
    )
    found = families.gauge("replicas", "Replicas in the last answer of a source.", "source")
    age = families.gauge("answer_age_seconds", "Since the last answer of a source.", "source")
    withheld = families.gauge(
        "withheld_replicas",
        "Replicas that no source has any more, and that stay because too few would be left.",
    )
    for pool in plane.fleet.pools:
        report = plane.discoveries.report(pool)
        for source in report.sources:
            labels = (pool, source.source)
            up.add_metric(labels, float(source.found is not None and not source.failing))
            problem.add_metric(labels, float(source.problem is not None))
            if source.found is not None:
                found.add_metric(labels, len(source.found))
                age.add_metric(labels, now - source.answered_at)
        if report.sources:
            withheld.add_metric((pool,), len(report.withheld))
    return families.all
