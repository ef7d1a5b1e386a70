"""What a load came to: all that was seen, what it means, and the same as plain data. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.tools.load.capacity import Capacity, capacity, keeps
from controlplane.tools.load.diagnosis import Finding, diagnose
from controlplane.tools.load.envoy_hops import Hop
from controlplane.tools.load.percentiles import Histogram
from controlplane.tools.load.record import Series, StepRecord
from controlplane.tools.load.replicas import Seen
from controlplane.tools.load.schedule import Step
from controlplane.tools.load.workload import Workload

PARTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
"""The percentiles that are shown."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A step and what came of it.

    Attributes:
        seconds: That were measured.
        whole: Whether it ran to its end.
    """

    step: Step
    record: StepRecord
    replicas: tuple[Seen, ...]
    seconds: float
    whole: bool = True

    @property
    def achieved(self) -> float:
        """Right answers per second."""
        return self.record.completed / self.seconds

    def findings(self) -> tuple[Finding, ...]:
        """What holds it up, the most important first."""
        return diagnose(self.step, self.record, self.replicas)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of it.

    Attributes:
        steps: Those that were measured, in order.
        hops: By Envoy and by histogram, of the whole load.
        unanswered: Requests that were in flight when it was stopped.
        cut: Whether higher rates were left out, because too many requests were in flight
            or the generator did not keep up.
        stopped: The exit code of the signal that ended it early; None when nothing did.
    """

    workload: Workload
    steps: Sequence[Measured]
    hops: Mapping[str, Mapping[str, Hop]]
    unanswered: int = 0
    cut: bool = False
    stopped: int | None = None

    @property
    def failed(self) -> int:
        """Requests without a right answer, of those that count."""
        return sum(it.record.whole.failed for it in self.steps)

    def capacity(self, objective: float | None) -> Capacity | None:
        """What the fleet carries at an objective, in seconds of the 99th percentile."""
        return capacity([(it.step, it.record) for it in self.steps if it.whole], objective)

    def telling(self, objective: float | None) -> Measured | None:
        """The step to look into: the lowest rate that something holds up; else the highest."""
        for it in self.steps:
            if objective is not None and not keeps(it.step, it.record, objective):
                return it
            if objective is None and it.findings()[0].where != "none":
                return it
        return self.steps[-1] if self.steps else None

    def as_json(self, objective: float | None) -> dict[str, Any]:
        """For scripts: durations in milliseconds, shares from 0 to 1, null for unknown.

        A percentile is null where it falls among failed requests, which took for ever.
        """
        found, telling = self.capacity(objective), self.telling(objective)
        return {
            "targets": [{"url": it.url, "weight": it.weight} for it in self.workload.targets],
            "seed": self.workload.seed,
            "stopped": self.stopped is not None,
            "unanswered": self.unanswered,
            "open_loop": not any(it.record.held_back or it.record.unsent for it in self.steps),
            "higher_rates_left_out": self.cut,
            "objective_ms": _ms(objective),
            "capacity": found
            and {
                "known": found.known,
                "rate_rps": _rounded(found.rate),
                "missed_rps": _rounded(found.missed),
                "generator_missed_rps": _rounded(found.spoiled),
                "sentence": found.sentence,
            },
            "bottleneck": telling
            and {
                "rate_rps": _rounded(telling.step.rate),
                "findings": [
                    {"where": it.where, "name": it.name, "sentence": it.sentence}
                    for it in telling.findings()
                ],
            },
            "steps": [self._step(it) for it in self.steps],
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

    def _step(self, it: Measured) -> dict[str, Any]:
        record, whole = it.record, it.record.whole
        targets = self.workload.targets
        return {
            "rate_rps": _rounded(it.step.rate),
            "seconds": _rounded(it.seconds),
            "whole": it.whole,
            "requests": whole.requests,
            "failed": whole.failed,
            "held_back": record.held_back,
            "unsent": record.unsent,
            "achieved_rps": _rounded(it.achieved),
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
            "replicas": [
                {
                    "id": seen.id,
                    "share": _rounded(seen.share),
                    "share_by_weight": _rounded(seen.given),
                    "rate_rps": _rounded(seen.rate),
                    "capacity": _rounded(seen.capacity),
                    "load": _rounded(seen.load),
                    "latency_mean_ms": _ms(seen.latency),
                    "in_flight": _rounded(seen.in_flight),
                    "queue": _rounded(seen.queue),
                }
                for seen in it.replicas
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
