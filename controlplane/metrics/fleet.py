"""What every pool and replica gets, read from the plane at each scrape.

Nothing is kept between two scrapes, so the series of what is gone go with it.
"""

from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from itertools import count as numbers
from typing import Final

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

_GAUGES: Final = {
    "drained": ("1 while a replica gets no new requests."),
    "capacity_requests_per_second": (
        "Estimate of what a replica can carry, in requests per second."
    ),
    "capacity_tokens_per_second": (
        "Estimate of what a replica can carry, in tokens per second; none where not counted."
    ),
    "weight": "Envoy's weight; the median has 1000.",
    "share_ratio": "Expected part of the pool's traffic, 0 to 1.",
    "stale": "1 while the last good scrape of a replica is too old for its weight to follow.",
    "scrape_age_seconds": "Since the last good scrape of a replica.",
    "latency_p50_seconds": (
        "Median duration of requests in the last seconds, by the replica's own histogram."
    ),
    "latency_p99_seconds": (
        "99th percentile of durations in the last seconds, by the replica's own histogram."
    ),
    "latency_mean_seconds": (
        "Mean duration in the last seconds, by the replica's own metrics or else by Envoys."
    ),
    "in_flight_requests": (
        "Requests that all Envoys together have at a replica; none where no Envoy reports."
    ),
    "queued_requests": "Requests that wait in a replica, by its own metrics.",
    "queued_texts": "Texts that wait in a replica, by its own metrics.",
}


def fleet_families(plane: Plane, now: float) -> Generator[None, None, list[Metric]]:
    """Yield after each replica, and return the families."""
    pools = Families("plimsoll_pool_", "pool")
    pools.gauges("state", replicas="Replicas of a pool, by state.")
    pools.gauges(
        suspect="1 while more than half of a pool cannot be scraped, so that its weights stand"
        " still.",
        health_disputed="Replicas whose health an Envoy sees otherwise for a while than the control"
        " plane.",
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
            pools.put(name, state.value, replicas=found.count(state))
        decision = plane.decision(name)
        requests.add(pool, decision, plane.answers.get(name, {}))
        suspect = decision is not None and decision.suspect
        pools.put(name, suspect=suspect, health_disputed=disputes)
        if decision is not None:
            classes.add(name, decision)
            if (plan := decision.pool.zones) is not None:
                zones.add(name, plan)
        # The pool may have gone meanwhile.
        if name in plane.fleet.pools:
            scaling.add(plane.recommendation(name, now))
        yield
    return [
        GaugeMetricFamily("plimsoll_pools", "Pools.", value=total),
        *(
            family
            for each in (pools, requests, classes, zones, scaling, replicas)
            for family in each.all
        ),
    ]


def _mean(report: ReplicaReport) -> float | None:
    """By its own metrics, or else by load reports."""
    for window in (report.observed.window, report.by_envoys):
        if window is not None and window.latency is not None:
            return window.latency
    return None


class ReplicaFamilies(Families):
    """A family for each thing to say of a replica; what is not known has no series."""

    def __init__(self) -> None:
        super().__init__("plimsoll_replica_", "pool", "replica")
        self.gauges("state", state="1 for the state that a replica is in, else 0.")
        self.gauges("tier", tier="1 for the tier of a replica; none without tiers.")
        text = "1 for each class of requests that a replica serves first, where they are parted."
        self.gauges("class", **{"class": text})
        self.gauges(**_GAUGES)
        self.counters(
            "result", requests="Tries at a replica that ended, by the count of all Envoys."
        )
        self.counters(
            tokens="Tokens that a replica has computed, by its own count.",
            scrape_failures="Scrapes of a replica that have failed.",
        )
        self.gauges(
            "gpu",
            gpu_memory_used_bytes="GPU memory in use.",
            gpu_memory_total_bytes="GPU memory that there is.",
            gpu_memory_used_ratio="Part of GPU memory that is in use, 0 to 1.",
        )
        self.gauges(
            "limit",
            gpu_memory_limit_ratio="Part of GPU memory in use from which a replica gets less"
            " (soft), or nothing (hard).",
        )
        self.gauges(
            gpu_memory_guard_ratio="Part of its share that GPU memory leaves a replica: 1 all, 0 it"
            " is cut."
        )

    def add(self, report: ReplicaReport, decision: Decision | None) -> None:
        """Add a replica; `decision`: the last one about its pool."""
        labels, own = (report.pool.name, report.replica.id), report.decision
        window = report.observed.window
        for state in State:
            self.put(*labels, state.value, state=report.observed.readiness.state is state)
        for result, count in zip(("ok", "error"), report.ended or (None, None), strict=True):
            self.put(*labels, result, requests=count)
        cut = own is not None and own.drained
        self.put(
            *labels,
            drained=cut or report.replica.draining is not None,
            scrape_age_seconds=report.age,
            latency_mean_seconds=_mean(report),
            in_flight_requests=report.in_flight,
            scrape_failures=report.observed.failures,
        )
        if window is not None:
            self.put(
                *labels,
                latency_p50_seconds=window.p50,
                latency_p99_seconds=window.p99,
                tokens=window.tokens,
                **{f"queued_{window.queue_unit}": window.queue},
            )
        if own is None:
            return
        self.put(
            *labels,
            capacity_requests_per_second=own.capacity,
            capacity_tokens_per_second=own.tokens,
            weight=own.weight,
            share_ratio=own.share,
            stale=own.stale,
        )
        if own.tier:
            self.put(*labels, own.tier, tier=1)
        for name in own.classes:
            self.put(*labels, name, **{"class": 1})
        self._add_memory(report, decision)

    def _add_memory(self, report: ReplicaReport, decision: Decision | None) -> None:
        labels, memories = (report.pool.name, report.replica.id), _memories(report)
        for gpu, memory in _by_gpu(memories):
            self.put(*labels, gpu, gpu_memory_used_ratio=memory.fraction)
            # One that exposes only a fraction has a total of 1.
            if memory.total > 1:
                used, total = memory.used, memory.total
                self.put(*labels, gpu, gpu_memory_used_bytes=used, gpu_memory_total_bytes=total)
        guard = (
            decision.memory_guard(report.replica.id) if memories and decision is not None else None
        )
        if guard is not None:
            self.put(*labels, "soft", gpu_memory_limit_ratio=guard.soft)
            self.put(*labels, "hard", gpu_memory_limit_ratio=guard.hard)
            self.put(*labels, gpu_memory_guard_ratio=guard.left)


def _memories(report: ReplicaReport) -> tuple[GpuMemory, ...]:
    """Of its GPUs: as an exporter says, or else by its own metrics."""
    if report.gpus is not None and report.gpus.memory:
        return report.gpus.memory
    return report.observed.window.memory if report.observed.window is not None else ()


def _by_gpu(memories: Iterable[GpuMemory]) -> Iterator[tuple[str, GpuMemory]]:
    """Each under the GPU's name; one without a name, or with that of another, under a number."""
    named: set[str] = set()
    for number, memory in enumerate(memories):
        names = chain((memory.uuid,), map(str, numbers(number)))
        gpu = next(name for name in names if name and name not in named)
        named.add(gpu)
        yield gpu, memory
