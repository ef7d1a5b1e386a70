"""An exposition as a Prometheus server would read it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from controlplane.metrics import OwnMetrics
from controlplane.plane import Plane


def everything(plane: Plane, now: float = 0.0) -> OwnMetrics:
    """Metrics with everything that a running control plane shows."""
    metrics = OwnMetrics(plane, clock=lambda: now)
    numbers = ("streams", "queue_depth", "nodes", "nodes_rejecting", "istiods")
    metrics.streams.show(**dict.fromkeys(numbers, lambda: 0))
    metrics.show_store(lambda: True, lambda: {"ok": 0}, lambda: False, lambda: 0)
    metrics.certificate("ca", lambda: (0.0, 0.0))
    return metrics


def text(metrics: OwnMetrics) -> str:
    """All of it, as it is served; in a thread, so that a test with a loop may ask too."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, metrics.page("")).result()[0].decode()


def families(metrics: OwnMetrics) -> dict[str, Metric]:
    """By name."""
    return parsed(text(metrics))


def parsed(text: str) -> dict[str, Metric]:
    """By name; a name twice is an error."""
    known: dict[str, Metric] = {}
    for family in text_string_to_metric_families(text):
        assert family.name not in known, f"{family.name} twice"
        known[family.name] = family
    return known


def values(metrics: OwnMetrics, name: str) -> dict[tuple[str, ...], float]:
    """The values of a sample's name by its labels' values, in the labels' order."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in families(metrics).values()
        for sample in family.samples
        if sample.name == name
    }
