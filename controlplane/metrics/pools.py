"""What there is to say of pools: requests, classes, zones, replicas wanted, and sources."""

from collections.abc import Mapping
from typing import Final

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
from controlplane.telemetry.sizes import BOUNDS, Answers

_ONLY: Final = "default"
"""What the class of all requests is shown as, where they are not parted."""


class Families:
    """Families that are filled at one scrape; a family without a series is exposed as well."""

    def __init__(self, prefix: str, *labels: str) -> None:
        """Begin all names with a prefix, and give all families these labels."""
        self._families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        self._prefix, self._labels = prefix, labels

    @property
    def all(self) -> list[Metric]:
        return [*self._families.values()]

    def gauges(self, *labels: str, **texts: str) -> None:
        """Add gauges with their texts, and with more labels."""
        for name, text in texts.items():
            family = GaugeMetricFamily(self._prefix + name, text, labels=(*self._labels, *labels))
            self._families[name] = family

    def counters(self, *labels: str, **texts: str) -> None:
        """Add counters with their texts, and with more labels."""
        for name, text in texts.items():
            family = CounterMetricFamily(self._prefix + name, text, labels=(*self._labels, *labels))
            self._families[name] = family

    def put(self, *labels: str, **values: float | None) -> None:
        """Add a series to each of some families; None: none is added."""
        for name, value in values.items():
            if value is not None:
                self._families[name].add_metric(labels, float(value))


class RequestFamilies(Families):
    """How requests were answered, and their objectives: what a burn rate is computed from."""

    def __init__(self) -> None:
        super().__init__("plimsoll_", "pool", "class")
        self.counters(
            "result",
            sampled_requests="Requests that Envoys have told of, a random part of all, by how they"
            " ended.",
        )
        self.counters(
            sampled_slow_requests="Sampled requests that took longer than their objective, those"
            " with errors left out."
        )
        self._duration = HistogramMetricFamily(
            "plimsoll_sampled_request_duration_seconds",
            "What clients waited for sampled requests that were answered without an error.",
            labels=self._labels,
        )
        self.gauges(
            objective_p99_seconds="What 99 of 100 requests are meant to take at most.",
            objective_availability_ratio="Part of requests that is meant to be answered without an"
            " error, 0 to 1.",
        )

    @property
    def all(self) -> list[Metric]:
        return [*super().all, self._duration]

    def add(self, pool: Pool, decision: Decision | None, answers: Mapping[str, Answers]) -> None:
        """Add a pool; `answers` are by class, also of classes that the pool no longer has."""
        for name, title in _classes(pool.settings, decision, answers).items():
            labels, known = (pool.name, title), answers.get(name) or Answers()
            # A counter that appears with its first count has no increase that a rate could show.
            for result, count in known.results.items():
                self.put(*labels, result, sampled_requests=count)
            bounds = (*map(str, BOUNDS), "+Inf")
            buckets = [*zip(bounds, known.buckets, strict=True)]
            self._duration.add_metric(labels, buckets, known.seconds)
            if (objective := pool.settings.objective_of(name)) is not None:
                self.put(
                    *labels,
                    sampled_slow_requests=known.slow,
                    objective_p99_seconds=objective.p99,
                    objective_availability_ratio=objective.availability,
                )


def _classes(
    settings: PoolSettings, decision: Decision | None, answers: Mapping[str, Answers]
) -> Mapping[str, str]:
    """The title of each class of a pool, as elsewhere."""
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
        self.gauges(
            part_of_work="Part of a pool's work that a class of its requests is, 0 to 1.",
            replicas="Replicas that serve a class of requests first.",
        )

    def add(self, pool: str, decision: Decision) -> None:
        rows = [*decision.rows.values()]
        for each in decision.classes:
            serving = int((each.weights[rows] > 0).sum())
            self.put(pool, each.title, part_of_work=each.part, replicas=serving)


class ZoneFamilies(Families):
    """The requests of zones and where they go; none where a pool uses all replicas alike."""

    def __init__(self) -> None:
        super().__init__("plimsoll_zone_", "pool", "class", "region", "zone")
        self.gauges(
            demand_tokens_per_second="Tokens per second that the Envoys of a zone send; none where"
            " not counted.",
            capacity_tokens_per_second="Estimate of what the replicas of a zone carry, in tokens"
            " per second.",
        )
        self.gauges(
            "to_region",
            "to_zone",
            sent_ratio="Part of the requests of a zone that goes to the replicas of a zone, 0 to"
            " 1.",
        )

    def add(self, pool: str, plan: ZonePlan) -> None:
        for name, each in plan.by_class.items():
            for index, place in enumerate(each.places):
                labels = (pool, name, place.region, place.zone)
                self.put(
                    *labels,
                    capacity_tokens_per_second=each.capacity[index] if each.is_measured else None,
                    demand_tokens_per_second=each.demand[index] if each.is_counted else None,
                )
                for there, part in each.told.get(place, {}).items():
                    self.put(*labels, there.region, there.zone, sent_ratio=part)


class ScalingFamilies(Families):
    """How many replicas pools should have; what is not measured has no series."""

    def __init__(self) -> None:
        super().__init__("plimsoll_", "pool")
        self.gauges(
            pool_replicas_wanted="Replicas that a pool should have; what to scale to.",
            pool_replicas_needed="Replicas that the present load of a pool needs.",
            pool_active="1 while requests come to a pool, or it may never be empty.",
            pool_replicas_removable="Replicas without which the others carry the load.",
            pool_cold_start_seconds="From wanting a replica to one that serves.",
        )
        self.gauges(
            "class",
            class_load_tokens_per_second="Tokens that come of a class of requests.",
            class_forecast_tokens_per_second="Tokens of a class that are to be expected once a new"
            " replica serves, or were lately.",
        )

    def add(self, found: Recommendation) -> None:
        self.put(
            found.pool,
            pool_replicas_wanted=found.replicas,
            pool_replicas_needed=found.present,
            pool_active=found.active,
            pool_replicas_removable=len(found.removable),
            pool_cold_start_seconds=found.horizon,
        )
        for need in found.needs:
            self.put(
                found.pool,
                need.demand.title,
                class_load_tokens_per_second=need.demand.flow.tokens,
                class_forecast_tokens_per_second=need.load.tokens,
            )


def source_families(plane: Plane, now: float) -> list[Metric]:
    """The sources of replicas, named as in the config file and never by what they found."""
    families = Families("plimsoll_discovery_", "pool")
    families.gauges(
        "source",
        up="1 while a source answers, 0 while the replicas it found before stay.",
        problem="1 while a source fails, or has something that cannot be used.",
        replicas="Replicas in the last answer of a source.",
        answer_age_seconds="Since the last answer of a source.",
    )
    families.gauges(
        withheld_replicas="Replicas that no source has any more, and that stay because too few"
        " would be left."
    )
    for pool in plane.fleet.pools:
        report = plane.discoveries.report(pool)
        for source in report.sources:
            families.put(
                pool,
                source.source,
                up=source.found is not None and not source.failing,
                problem=source.problem is not None,
                replicas=None if source.found is None else len(source.found),
                answer_age_seconds=None if source.found is None else now - source.answered_at,
            )
        if report.sources:
            families.put(pool, withheld_replicas=len(report.withheld))
    return families.all
