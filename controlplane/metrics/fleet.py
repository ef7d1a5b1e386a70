"""What every pool and replica gets, read from the plane at each scrape.

Nothing is kept between two scrapes, so the series of what is gone go with it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, count
from typing import Final, TypeAlias

from prometheus_client.core import GaugeMetricFamily, Metric

from controlplane.balancing import Decision
from controlplane.metrics.pools import (
    ClassFamilies,
    Families,
    RequestFamilies,
    ScalingFamilies,
    ZoneFamilies,
)
from controlplane.plane import Plane, ReplicaReport, State
from controlplane.telemetry import GpuMemory

Value: TypeAlias = Callable[[ReplicaReport], float | None]


def fleet_families(plane: Plane, now: float) -> Generator[None, None, list[Metric]]:
    """Yield after each replica, and return the families."""
    pools = Families("plimsoll_pool_", "pool")
    states = pools.gauge("replicas", "Replicas of a pool, by state.", "state")
    suspect = pools.gauge(
        "suspect",
        "1 while more than half of a pool cannot be scraped, so that its weights stand still.",
    )
    disputed = pools.gauge(
        "health_disputed",
        "Replicas whose health an Envoy sees otherwise for a while than the control plane.",
    )
    requests, classes, zones = RequestFamilies(), ClassFamilies(), ZoneFamilies()
    scaling, replicas = ScalingFamilies(), ReplicaFamilies()
    total = len(plane.fleet.pools)
    for name, pool in plane.fleet.pools.items():
        found, disputes = [], 0
        decision = plane.decision(name)
        for report in plane.reports(name, pool.replicas, now):
            found.append(report.observed.readiness.state)
            disputes += bool(report.disputes)
            replicas.add(report, decision)
            yield
        for state in State:
            states.add_metric((name, state.value), found.count(state))
        decision = plane.decision(name)
        requests.add(pool, decision, plane.answers.get(name, {}))
        suspect.add_metric((name,), float(decision is not None and decision.suspect))
        if decision is not None:
            classes.add(name, decision)
            if (plan := decision.pool.zones) is not None:
                zones.add(name, plan)
        disputed.add_metric((name,), disputes)
        # The pool may have gone meanwhile.
        if name in plane.fleet.pools:
            scaling.add(plane.recommendation(name, now))
        yield
    return [
        GaugeMetricFamily("plimsoll_pools", "Pools.", value=total),
        *(family for each in (pools, requests, classes, zones, scaling) for family in each.all),
        *replicas.all,
    ]


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
        lambda report: report.decision.capacity if report.decision else None,
    ),
    (
        "capacity_tokens_per_second",
        "Estimate of what a replica can carry, in tokens per second; none where not counted.",
        lambda report: report.decision.tokens if report.decision else None,
    ),
    (
        "weight",
        "Envoy's weight; the median has 1000.",
        lambda report: report.decision.weight if report.decision else None,
    ),
    (
        "share_ratio",
        "Expected part of the pool's traffic, 0 to 1.",
        lambda report: report.decision.share if report.decision else None,
    ),
    (
        "stale",
        "1 while the last good scrape of a replica is too old for its weight to follow.",
        lambda report: report.decision.stale if report.decision else None,
    ),
    ("scrape_age_seconds", "Since the last good scrape of a replica.", lambda report: report.age),
    (
        "latency_p50_seconds",
        "Median duration of requests in the last seconds, by the replica's own histogram.",
        lambda report: report.observed.window.p50 if report.observed.window else None,
    ),
    (
        "latency_p99_seconds",
        "99th percentile of durations in the last seconds, by the replica's own histogram.",
        lambda report: report.observed.window.p99 if report.observed.window else None,
    ),
    (
        "latency_mean_seconds",
        "Mean duration in the last seconds, by the replica's own metrics or else by Envoys.",
        _mean,
    ),
    (
        "in_flight_requests",
        "Requests that all Envoys together have at a replica; none where no Envoy reports.",
        lambda report: report.in_flight,
    ),
    (
        "queued_requests",
        "Requests that wait in a replica, by its own metrics.",
        _waiting("requests"),
    ),
    ("queued_texts", "Texts that wait in a replica, by its own metrics.", _waiting("texts")),
)


class ReplicaFamilies(Families):
    """A family for each thing to say of a replica; what is not known has no series."""

    def __init__(self) -> None:
        super().__init__("plimsoll_replica_", "pool", "replica")
        self._state = self.gauge("state", "1 for the state that a replica is in, else 0.", "state")
        self._tier = self.gauge("tier", "1 for the tier of a replica; none without tiers.", "tier")
        self._class = self.gauge(
            "class",
            "1 for each class of requests that a replica serves first, where they are parted.",
            "class",
        )
        self._values = [(self.gauge(name, text), value) for name, text, value in _GAUGES]
        self._requests = self.counter(
            "requests", "Tries at a replica that ended, by the count of all Envoys.", "result"
        )
        self._tokens = self.counter(
            "tokens", "Tokens that a replica has computed, by its own count."
        )
        self._failures = self.counter("scrape_failures", "Scrapes of a replica that have failed.")
        self._used = self.gauge("gpu_memory_used_bytes", "GPU memory in use.", "gpu")
        self._total = self.gauge("gpu_memory_total_bytes", "GPU memory that there is.", "gpu")
        self._ratio = self.gauge(
            "gpu_memory_used_ratio", "Part of GPU memory that is in use, 0 to 1.", "gpu"
        )
        self._limit = self.gauge(
            "gpu_memory_limit_ratio",
            "Part of GPU memory in use from which a replica gets less (soft), or nothing (hard).",
            "limit",
        )
        self._left = self.gauge(
            "gpu_memory_guard_ratio",
            "Part of its share that GPU memory leaves a replica: 1 all, 0 it is cut.",
        )

    def add(self, report: ReplicaReport, decision: Decision | None) -> None:
        """Add a replica; `decision`: the last one about its pool."""
        labels = (report.pool.name, report.replica.id)
        for state in State:
            is_in = report.observed.readiness.state is state
            self._state.add_metric((*labels, state.value), float(is_in))
        for family, value in self._values:
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
        self._add_memory(report, decision)

    def _add_memory(self, report: ReplicaReport, decision: Decision | None) -> None:
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
    """Each under the GPU's name; one without a name, or with that of another, under a number."""
    named: set[str] = set()
    for number, memory in enumerate(memories):
        names = chain((memory.uuid,), map(str, count(number)))
        gpu = next(name for name in names if name and name not in named)
        named.add(gpu)
        yield gpu, memory
