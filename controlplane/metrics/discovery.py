"""How the sources of replicas do, read from the plane when somebody asks."""

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.plane import Plane


class DiscoveryCollector(Collector):
    """Sources as gauges; their names are those of the config file, never of what they found."""

    def __init__(self, plane: Plane, clock: Callable[[], float]) -> None:
        """Prepare a collector.

        Args:
            plane: Is asked at each scrape.
            clock: Seconds that never go back; the one of the plane.
        """
        self._plane = plane
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """All families, those without a series as well."""
        now, each = self._clock(), ("pool", "source")
        up = _gauge("up", "1 while a source answers, 0 while what it found before holds on.", *each)
        found = _gauge("replicas", "Replicas in the last answer of a source.", *each)
        age = _gauge("answer_age_seconds", "Since the last answer of a source.", *each)
        troubled = _gauge(
            "problem", "1 while a source fails, or has something that cannot be used.", *each
        )
        withheld = _gauge(
            "withheld_replicas",
            "Replicas that no source has any more, and that stay because too few would be left.",
            "pool",
        )
        for pool in self._plane.fleet.pools:
            report = self._plane.discoveries.report(pool)
            for source in report.sources:
                labels = (pool, source.source)
                is_up = source.found is not None and not source.failing
                up.add_metric(labels, float(is_up))
                troubled.add_metric(labels, float(source.problem is not None))
                if source.found is not None:
                    found.add_metric(labels, len(source.found))
                    age.add_metric(labels, now - source.answered_at)
            if report.sources:
                withheld.add_metric((pool,), len(report.withheld))
        yield from (up, troubled, found, age, withheld)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"plimsoll_discovery_{name}", text, labels=labels)
