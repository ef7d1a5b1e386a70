"""One family for each thing that can be said of a replica; what is not known has no series."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controlplane.balancing import Decision
from controlplane.plane import ReplicaReport, State
from controlplane.telemetry import GpuMemory

_EACH: Final = ("pool", "replica")

Value: TypeAlias = Callable[[ReplicaReport], float | None]


def _is_drained(report: ReplicaReport) -> float:
    cut = report.decision is not None and report.decision.drained
    return float(cut or report.replica.draining is not None)


def _mean(report: ReplicaReport) -> float | None:
    """By its own metrics, or else by load reports."""
    for window in (report.observed.window, report.by_envoys):
        if window is not None and window.latency is not None:
            return window.latency
    return None


def _waiting(unit: str) -> Value:
    def value(report: ReplicaReport) -> float | None:
        window = report.observed.window
        return window.queue if window is not None and window.queue_unit == unit else None

    return value


_GAUGES: Final[tuple[tuple[str, str, Value], ...]] = (
    (
        "drained",
        "1 while it gets no new requests: drained, lease over, lost, failing, or memory full.",
        _is_drained,
    ),
    (
        "capacity_requests_per_second",
        "Estimate of what a replica can carry, in requests per second.",
        lambda sample: sample.decision.capacity if sample.decision else None,
    ),
    (
        "capacity_tokens_per_second",
        "Estimate of what a replica can carry, in tokens per second; none where not counted.",
        lambda sample: sample.decision.tokens if sample.decision else None,
    ),
    (
        "weight",
        "Envoy's weight; the median has 1000.",
        lambda sample: sample.decision.weight if sample.decision else None,
    ),
    (
        "share_ratio",
        "Expected part of the pool's traffic, 0 to 1.",
        lambda sample: sample.decision.share if sample.decision else None,
    ),
    (
        "stale",
        "1 while the last good scrape of a replica is too old for its weight to follow.",
        lambda sample: sample.decision.stale if sample.decision else None,
    ),
    ("scrape_age_seconds", "Since the last good scrape of a replica.", lambda sample: sample.age),
    (
        "latency_p50_seconds",
        "Median duration of requests in the last seconds, by the replica's own histogram.",
        lambda sample: sample.observed.window.p50 if sample.observed.window else None,
    ),
    (
        "latency_p99_seconds",
        "99th percentile of durations in the last seconds, by the replica's own histogram.",
        lambda sample: sample.observed.window.p99 if sample.observed.window else None,
    ),
    (
        "latency_mean_seconds",
        "Mean duration in the last seconds, by the replica's own metrics or else by Envoys.",
        _mean,
    ),
    (
        "in_flight_requests",
        "Requests that all Envoys together have at a replica; none where no Envoy reports.",
        lambda sample: sample.in_flight,
    ),
    (
        "queued_requests",
        "Requests that wait in a replica, by its own metrics.",
        _waiting("requests"),
    ),
    ("queued_texts", "Texts that wait in a replica, by its own metrics.", _waiting("texts")),
)


class ReplicaFamilies:
    """Filled report by report."""

    def __init__(self) -> None:
        """Begin without a series."""
        self._state = _gauge("state", "1 for the state that a replica is in, else 0.", "state")
        self._tier = _gauge("tier", "1 for the tier of a replica; none without tiers.", "tier")
        self._class = _gauge(
            "class",
            "1 for each class of requests that a replica serves first, where they are parted.",
            "class",
        )
        self._plain = [(_gauge(name, text), value) for name, text, value in _GAUGES]
        self._requests = _counter(
            "requests",
            "Tries at a replica that ended, by the count of all Envoys.",
            "result",
        )
        self._tokens = _counter("tokens", "Tokens that a replica has computed, by its own count.")
        self._failures = _counter("scrape_failures", "Scrapes of a replica that have failed.")
        self._memory = _Memory()

    @property
    def families(self) -> tuple[Metric, ...]:
        """All of them, those without a series as well."""
        return (
            self._state,
            self._tier,
            self._class,
            *(family for family, _ in self._plain),
            self._requests,
            self._tokens,
            self._failures,
            *self._memory.families,
        )

    def add(self, report: ReplicaReport, decision: Decision | None) -> None:
        """Take in a replica.

        Args:
            report: What is known of it.
            decision: The last about its pool.
        """
        labels = (report.pool.name, report.replica.id)
        for state in State:
            is_in = report.observed.readiness.state is state
            self._state.add_metric((*labels, state.value), float(is_in))
        for family, value in self._plain:
            if (found := value(report)) is not None:
                family.add_metric(labels, float(found))
        if report.ended is not None:
            for result, count in zip(("ok", "error"), report.ended, strict=True):
                self._requests.add_metric((*labels, result), count)
        window = report.observed.window
        if window is not None and window.tokens is not None:
            self._tokens.add_metric(labels, window.tokens)
        self._failures.add_metric(labels, report.observed.failures)
        if report.decision is None:
            return
        if report.decision.tier:
            self._tier.add_metric((*labels, report.decision.tier), 1.0)
        for name in report.decision.classes:
            self._class.add_metric((*labels, name), 1.0)
        self._memory.add(report, decision)


class _Memory:
    """GPU memory, and what its guard makes of it."""

    def __init__(self) -> None:
        self._used = _gauge("gpu_memory_used_bytes", "GPU memory in use.", "gpu")
        self._total = _gauge("gpu_memory_total_bytes", "GPU memory that there is.", "gpu")
        self._ratio = _gauge(
            "gpu_memory_used_ratio", "Part of GPU memory that is in use, 0 to 1.", "gpu"
        )
        self._limit = _gauge(
            "gpu_memory_limit_ratio",
            "Part of GPU memory in use from which a replica gets less (soft), or nothing (hard).",
            "limit",
        )
        self._left = _gauge(
            "gpu_memory_guard_ratio",
            "Part of its share that GPU memory leaves a replica: 1 all, 0 it is cut.",
        )

    @property
    def families(self) -> tuple[Metric, ...]:
        return self._used, self._total, self._ratio, self._limit, self._left

    def add(self, report: ReplicaReport, decision: Decision | None) -> None:
        labels, is_known = (report.pool.name, report.replica.id), False
        for gpu, memory in _by_gpu(_memories(report)):
            is_known = True
            self._ratio.add_metric((*labels, gpu), memory.fraction)
            # One that exposes only a fraction has a total of 1.
            if memory.total > 1:
                self._used.add_metric((*labels, gpu), memory.used)
                self._total.add_metric((*labels, gpu), memory.total)
        if not is_known or decision is None:
            return
        if (guard := decision.memory_guard(report.replica.id)) is not None:
            self._limit.add_metric((*labels, "soft"), guard.soft)
            self._limit.add_metric((*labels, "hard"), guard.hard)
            self._left.add_metric(labels, guard.left)


def _memories(report: ReplicaReport) -> tuple[GpuMemory, ...]:
    """Of its GPUs: as an exporter says, or else by its own metrics."""
    if report.joined is not None and report.joined.memory:
        return report.joined.memory
    return report.observed.window.memory if report.observed.window is not None else ()


def _by_gpu(memories: Iterable[GpuMemory]) -> Iterator[tuple[str, GpuMemory]]:
    """Each under the GPU's name; one without a name, or with that of another, under its number."""
    named: set[str] = set()
    for number, memory in enumerate(memories):
        gpu = memory.uuid if memory.uuid and memory.uuid not in named else str(number)
        named.add(gpu)
        yield gpu, memory


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"plimsoll_replica_{name}", text, labels=(*_EACH, *labels))


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"plimsoll_replica_{name}", text, labels=(*_EACH, *labels))
