"""The result of a load: measurements, what they mean, and the same as plain data. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.tools.load.diagnosis import Capacity, Finding, capacity, diagnose, keeps
from controlplane.tools.load.envoy import Hop, ReplicaLoad
from controlplane.tools.load.record import Histogram, Series, StepRecord
from controlplane.tools.load.schedule import Step
from controlplane.tools.load.workload import Classes, RequestClass, Workload

PARTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
"""The percentiles that are shown."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A step and what came of it."""

    step: Step
    record: StepRecord
    replicas: tuple[ReplicaLoad, ...]
    seconds: float
    whole: bool = True

    @property
    def achieved(self) -> float:
        """Requests per second that succeeded."""
        return self.record.completed / self.seconds

    @property
    def tokens(self) -> float:
        """Tokens per second of those."""
        return self.record.tokens / self.seconds

    def by_class(self, classes: Classes) -> Iterator[tuple[RequestClass, Series]]:
        """Return what came of each class that had requests; nothing where there are no classes."""
        return (
            (each, self.record.classes[each.name])
            for each in classes
            if each.name in self.record.classes
        )

    def part_of_work(self, series: Series) -> float | None:
        """Return the part of all tokens that some requests have; None before any succeeded."""
        return series.tokens / self.record.whole.tokens if self.record.whole.tokens else None

    def findings(self) -> tuple[Finding, ...]:
        """Return the bottlenecks, the most important first."""
        return diagnose(self.step, self.record, self.replicas)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole load.

    Attributes:
        hops: Durations in Envoy during the whole load, by Envoy and by histogram.
        cut: Whether higher rates were left out, because too many requests were in flight or the
            generator did not keep up.
        stopped: The exit code of the signal that ended the load early; None: none did.
    """

    workload: Workload
    steps: Sequence[Measured]
    hops: Mapping[str, Mapping[str, Hop]]
    unanswered: int = 0
    cut: bool = False
    stopped: int | None = None

    @property
    def failed(self) -> int:
        return sum(each.record.whole.failed for each in self.steps)

    def capacity(self, objective: float | None) -> Capacity | None:
        """Return what the fleet carries at an objective, in seconds of the 99th percentile."""
        return capacity([(each.step, each.record) for each in self.steps if each.whole], objective)

    def telling(self, objective: float | None) -> Measured | None:
        """Return the step to look into: the lowest rate with a bottleneck, else the highest."""
        for each in self.steps:
            if objective is not None and not keeps(each.step, each.record, objective):
                return each
            if objective is None and each.findings()[0].where != "none":
                return each
        return self.steps[-1] if self.steps else None

    def as_json(self, objective: float | None) -> dict[str, Any]:
        """Return plain data for scripts: milliseconds, shares from 0 to 1, null for unknown.

        A percentile is null where it falls among failed requests.
        """
        found, telling = self.capacity(objective), self.telling(objective)
        return {
            "targets": [{"url": each.url, "weight": each.weight} for each in self.workload.targets],
            "seed": self.workload.seed,
            "stopped": self.stopped is not None,
            "unanswered": self.unanswered,
            "open_loop": not any(
                each.record.held_back or each.record.unsent for each in self.steps
            ),
            "higher_rates_left_out": self.cut,
            "objective_ms": _ms(objective),
            "capacity": found
            and {
                "known": found.known,
                "rate_rps": _rounded(found.rate),
                "missed_rps": _rounded(found.missed),
                "generator_missed_rps": _rounded(found.spoiled),
                "tokens_per_s": _rounded(found.tokens or None),
                "sentence": found.sentence,
            },
            "bottleneck": telling
            and {
                "rate_rps": _rounded(telling.step.rate),
                "findings": [
                    {"where": each.where, "name": each.name, "sentence": each.sentence}
                    for each in telling.findings()
                ],
            },
            "steps": [self._step(each) for each in self.steps],
            "envoys": [
                {
                    "admin": url,
                    **{
                        f"{name}_ms_at_most": {"p50": _ms(hop.p50), "p99": _ms(hop.p99)}
                        for name, hop in hops.items()
                    },
                }
                for url, hops in self.hops.items()
            ],
        }

    def _step(self, measured: Measured) -> dict[str, Any]:
        record, whole = measured.record, measured.record.whole
        targets = self.workload.targets
        return {
            "rate_rps": _rounded(measured.step.rate),
            "seconds": _rounded(measured.seconds),
            "whole": measured.whole,
            "requests": whole.requests,
            "failed": whole.failed,
            "held_back": record.held_back,
            "unsent": record.unsent,
            "achieved_rps": _rounded(measured.achieved),
            "tokens_per_s": _rounded(measured.tokens),
            "latency_ms": _series(whole),
            "service_ms": _quantiles(whole.service),
            "hop_ms": _quantiles(whole.hop),
            "upstream_ms": _quantiles(whole.upstream),
            "errors": dict(whole.faults.most_common()),
            "bytes_sent": record.sent,
            "bytes_received": record.received,
            "generator": {
                "cpu": _rounded(record.cpu),
                "late_ms": _quantiles(record.late),
            },
            "targets": [
                {
                    "url": targets[number].url,
                    "requests": series.requests,
                    "failed": series.failed,
                    "latency_ms": _series(series),
                }
                for number, series in sorted(record.targets.items())
            ],
            "classes": [
                {
                    "name": each.name,
                    "match": each.match and each.match.document(),
                    "requests": series.requests,
                    "failed": series.failed,
                    "rate_rps": _rounded(series.latency.count / measured.seconds),
                    "tokens_per_s": _rounded(series.tokens / measured.seconds),
                    "part_of_work": _rounded(measured.part_of_work(series)),
                    "latency_ms": _series(series),
                }
                for each, series in measured.by_class(self.workload.classes)
            ],
            "replicas": [
                {
                    "id": seen.id,
                    "share": _rounded(seen.share),
                    "share_by_weight": _rounded(seen.given),
                    "rate_rps": _rounded(seen.rate),
                    "capacity": _rounded(seen.capacity),
                    "capacity_tokens": _rounded(seen.capacity_tokens),
                    "load": _rounded(seen.load),
                    "latency_mean_ms": _ms(seen.latency),
                    "in_flight": _rounded(seen.in_flight),
                    "queue": _rounded(seen.queue),
                }
                for seen in measured.replicas
            ],
        }


def _series(series: Series) -> dict[str, float | None]:
    return {name: _ms(series.quantile(part)) for name, part in PARTS.items()} | {
        "max": _ms(series.quantile(1.0)),
        "mean": _ms(series.latency.mean),
    }


def _quantiles(histogram: Histogram) -> dict[str, float | None] | None:
    if not histogram.count:
        return None
    return {name: _ms(histogram.quantile(part)) for name, part in PARTS.items()} | {
        "max": _ms(histogram.longest),
        "mean": _ms(histogram.mean),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else _rounded(1000 * seconds)


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
