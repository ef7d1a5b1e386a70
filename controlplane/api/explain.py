"""Why a replica gets what it gets, in sentences: first its state, then every step of its weight."""

import math
from collections.abc import Iterator
from typing import Final

from controlplane.balancing.sentences import duration, explain, percent
from controlplane.fleet import DRAIN_SECONDS, Draining
from controlplane.plane import GpuReport, Probe, ReplicaReport, State

NAMED: Final = 3
"""Envoys that are named in a sentence."""


def reasons(report: ReplicaReport, now: float) -> Iterator[str]:
    """The sentences, most urgent first; `now`: the plane's monotonic clock."""
    yield from _of_readiness(report, now)
    yield from _of_disputes(report)
    yield from _of_draining(report, now)
    if report.observed.failure is not None:
        ago = "none has succeeded yet"
        if report.age is not None:
            ago = f"the last success was {_ago(report.age)}"
        yield f"The last scrape failed: {report.observed.failure}; {ago}"
    elif not report.pool.settings.metrics.is_scraped:
        known = "no Envoy reports" if report.by_envoys is None else "Envoys report"
        yield f"Not scraped (metrics profile none); {known} its load"
    elif report.observed.window is None and report.observed.readiness.is_shown:
        yield "Not scraped yet: it gets the share of the pool's median"
    if report.gpus is not None:
        yield from _of_joined(report.gpus)
    if report.decision is None:
        yield "No weight yet"
    else:
        yield from explain(report.decision.steps)


def _of_readiness(report: ReplicaReport, now: float) -> Iterator[str]:
    readiness, address = report.observed.readiness, report.replica.settings.address
    # A replica from before a restart has been in its state for longer than is known.
    known = math.isfinite(readiness.since)
    lasted = f" for {duration(max(now - readiness.since, 0.0))}" if known else ""
    settings = report.pool.settings.health_check
    check = f"its health check {settings.asked} at {address}"
    well = "SERVING" if settings.protocol == "grpc" else "200"
    if readiness.state is State.STARTING:
        asked = f"has not answered {well}{lasted}" if readiness.probed else "has not been tried yet"
        yield f"Not known to Envoy yet: {check} {asked}"
    elif readiness.state is State.GONE and not readiness.probed:
        yield f"Envoys knew it before the control plane restarted; {check} has not been tried yet"
    elif readiness.state is State.UNHEALTHY:
        over = " over TLS" if report.pool.settings.upstream.tls is not None else ""
        answers = {
            Probe.UNHEALTHY: f"does not answer {well}",
            Probe.UNREACHABLE: f"gets no answer{over}",
        }
        answered = answers.get(readiness.answer or Probe.HEALTHY, "fails")
        yield f"Unhealthy{lasted}: {check} {answered}; Envoys keep requests away as theirs say"
    elif readiness.state is State.GONE:
        yield (
            f"Gone{lasted}: {address} refused a connection, or another process took over; Envoy's"
            f" health checks keep requests away until {check} answers {well}"
        )
    tls = report.pool.settings.upstream.tls
    if readiness.answer is Probe.UNTRUSTED and tls is not None:
        name = tls.name_of(report.replica.id)
        yield f"Its certificate is not trusted as one of {name}; the control plane's log says why"


def _of_disputes(report: ReplicaReport) -> Iterator[str]:
    if not report.disputes:
        return
    first = max(report.disputes, key=lambda dispute: dispute.seconds)
    nodes = sorted({dispute.opinion.node for dispute in report.disputes})
    who = ", ".join(nodes[:NAMED]) + (f" and {len(nodes) - NAMED} more" * (len(nodes) > NAMED))
    is_healthy = first.opinion.is_healthy
    here, there = ("unhealthy", "healthy") if is_healthy else ("ready", "unhealthy")
    yield (
        f"Envoys and the control plane disagree about its health: {here} to the control plane,"
        f" {there} at {who}, for {duration(first.seconds)}; network, name or health check may"
        " differ there"
    )


def _of_draining(report: ReplicaReport, now: float) -> Iterator[str]:
    replica = report.replica
    if replica.draining is Draining.OPERATOR:
        yield "Drained by an operator: no new requests until it is undrained"
    elif replica.draining is Draining.LEASE and replica.lease_until is not None:
        late = now - replica.lease_until
        left = duration(max(DRAIN_SECONDS - late, 0.0))
        then = (
            f"it is removed unless a heartbeat comes within {left}"
            if replica.layers.file is None
            else "it stays drained until a heartbeat comes"
        )
        yield f"Drained: its lease ran out {_ago(late)}; {then}"
    elif replica.draining is Draining.DISCOVERY and replica.lease_until is not None:
        late = now - replica.lease_until
        left = duration(max(DRAIN_SECONDS - late, 0.0))
        yield (
            f"Drained: {replica.found_by} has not had it for {duration(max(late, 0.0))}; it is"
            f" removed unless it is found again within {left}"
        )
    elif replica.lease_until is not None and now >= replica.lease_until:
        yield (
            f"Its lease ran out {_ago(now - replica.lease_until)}, as did most leases of the pool;"
            " the control plane may be at fault, so none of them is drained"
        )
    if replica.draining is not None and report.in_flight is not None:
        left = "None" if report.in_flight < 1 else f"{report.in_flight:.0f}"
        yield f"{left} of its requests still in flight"


def _of_joined(joined: GpuReport) -> Iterator[str]:
    if joined.failure is not None:
        yield f"The last scrape of an exporter of GPU memory failed: {joined.failure}"
    if joined.memory and joined.age is not None:
        fullest = joined.memory[-1]
        yield (
            f"{percent(fullest.fraction)} of the memory of {fullest.uuid} was in use; its exporter"
            f" was scraped {_ago(joined.age)}"
        )
    elif joined.failure is None:
        yield (
            "No exporter reports its GPU: declare gpu: {uuid: …}, or the labels namespace and pod"
        )


def _ago(seconds: float) -> str:
    return f"{duration(max(seconds, 0.0))} ago"
