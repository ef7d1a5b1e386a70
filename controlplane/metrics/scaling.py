"""How many replicas pools should have, for an autoscaler that reads Prometheus."""

from prometheus_client.core import GaugeMetricFamily, Metric

from controlplane.scaling import Recommendation


class ScalingFamilies:
    """One family each for what can be said; what is not measured has no series."""

    def __init__(self) -> None:
        pool, by_class = ("pool",), ("pool", "class")
        self._wanted = _gauge(
            "pool_replicas_wanted", "Replicas that a pool should have; what to scale to.", pool
        )
        self._present = _gauge(
            "pool_replicas_needed", "Replicas that the present load of a pool needs.", pool
        )
        self._active = _gauge(
            "pool_active", "1 while requests come to a pool, or it may never be empty.", pool
        )
        self._removable = _gauge(
            "pool_replicas_removable", "Replicas without which the others carry the load.", pool
        )
        self._cold_start = _gauge(
            "pool_cold_start_seconds", "From wanting a replica to one that serves.", pool
        )
        self._load = _gauge(
            "class_load_tokens_per_second", "Tokens that come of a class of requests.", by_class
        )
        self._forecast = _gauge(
            "class_forecast_tokens_per_second",
            "Tokens of a class that are to be expected once a new replica serves, or were lately.",
            by_class,
        )

    @property
    def families(self) -> tuple[Metric, ...]:
        """All of them."""
        return (
            self._wanted,
            self._present,
            self._active,
            self._removable,
            self._cold_start,
            self._load,
            self._forecast,
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


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"plimsoll_{name}", text, labels=labels)
