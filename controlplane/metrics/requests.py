"""How a pool's requests were answered, and its objective: what a burn rate is computed from."""

from collections.abc import Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from controlplane.balancing import Decision
from controlplane.balancing.sets import titles
from controlplane.config import PoolSettings
from controlplane.fleet import Pool
from controlplane.resources.classes import BULK, OTHERS
from controlplane.telemetry.requests import BOUNDS, Answers

_EACH = ("pool", "class")
_ONLY = "default"
"""What the class of all requests is shown as, where they are not parted."""


class RequestFamilies:
    """Filled pool by pool."""

    def __init__(self) -> None:
        """Begin without a series."""
        self._requests = CounterMetricFamily(
            "plimsoll_sampled_requests",
            "Requests that Envoys have told of, a random part of all, by how they ended.",
            labels=(*_EACH, "result"),
        )
        self._slow = CounterMetricFamily(
            "plimsoll_sampled_slow_requests",
            "Sampled requests that took longer than their objective, those with errors left out.",
            labels=_EACH,
        )
        self._duration = HistogramMetricFamily(
            "plimsoll_sampled_request_duration_seconds",
            "What clients waited for sampled requests that were answered without an error.",
            labels=_EACH,
        )
        self._p99 = GaugeMetricFamily(
            "plimsoll_objective_p99_seconds",
            "What 99 of 100 requests are meant to take at most.",
            labels=_EACH,
        )
        self._availability = GaugeMetricFamily(
            "plimsoll_objective_availability_ratio",
            "Part of requests that is meant to be answered without an error, 0 to 1.",
            labels=_EACH,
        )

    @property
    def families(self) -> tuple[Metric, ...]:
        """All of them, those without a series as well."""
        return self._requests, self._slow, self._duration, self._p99, self._availability

    def add(self, pool: Pool, decision: Decision | None, answers: Mapping[str, Answers]) -> None:
        """Take in a pool.

        Args:
            pool: Its name and its settings.
            decision: The last about it.
            answers: To its requests, by class; of classes that it no longer has too.
        """
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
