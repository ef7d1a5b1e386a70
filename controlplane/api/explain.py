"""Why a replica gets what it gets, in sentences: first what its state says, then every step."""

import math
from collections.abc import Iterator
from typing import Final

from controlplane.balancing.sentences import duration, explain, percent
from controlplane.fleet import DRAIN_SECONDS, Draining
from controlplane.plane import Joined, ReplicaReport, State
from controlplane.plane.envoys import Dispute

NAMED: Final = 3
"""Envoys that are named in a sentence."""


def reasons(report: ReplicaReport, now: float) -> Iterator[str]:
    """The sentences, most urgent first.

    Args:
        report: Of the plane.
        now: Seconds of the clock that the plane is given.
    """
    yield from _of_readiness(report, now)
    yield from _of_disputes(report)
    yield from _of_draining(report, now)
    if report.observed.failure is not None:
        ago = "there was no good one yet"
        if report.age is not None:
            ago = f"the last good one was {_ago(report.age)}"
        yield f"the last scrape failed: {report.observed.failure}; {ago}"
    elif not report.pool.settings.metrics.is_scraped:
        known = "and no Envoy reports of it" if report.by_envoys is None else "Envoys report of it"
        yield f"never scraped (metrics profile none), {known}"
    elif report.observed.window is None and report.observed.readiness.is_shown:
        yield "not scraped yet: it gets what the pool's median gets"
    if report.joined is not None:
        yield from _of_joined(report.joined)
    if report.decision is None:
        yield "not weighed yet"
    else:
        yield from explain(report.decision.steps)


def _of_readiness(report: ReplicaReport, now: float) -> Iterator[str]:
    readiness, address = report.observed.readiness, report.replica.settings.address
    # A replica that was there before us has been in its state for longer than we know.
    known = math.isfinite(readiness.since)
    lasted = f" for {duration(max(now - readiness.since, 0.0))}" if known else ""
    check = f"its health check {report.pool.settings.health_check.path} at {address}"
    if readiness.state is State.STARTING:
        asked = f"has not answered 200{lasted}" if readiness.probed else "is yet to be asked"
        yield f"not shown to Envoy yet: {check} {asked}"
    elif readiness.state is State.GONE and not readiness.probed:
        yield f"Envoys knew it before the control plane was restarted; {check} is yet to be asked"
    elif readiness.state is State.GONE:
        yield (
            f"gone{lasted}: nobody listened at {address}, or another process took over;"
            f" Envoy's health checks keep requests away until {check} answers 200"
        )


def _of_disputes(report: ReplicaReport) -> Iterator[str]:
    if not report.disputes:
        return
    first = max(report.disputes, key=lambda it: it.seconds)
    nodes = sorted({it.opinion.node for it in report.disputes})
    who = ", ".join(nodes[:NAMED]) + (f" and {len(nodes) - NAMED} more" * (len(nodes) > NAMED))
    yield (
        f"Envoys and the control plane disagree about its health: {seen_by(first)} at {who}, for"
        f" {duration(first.seconds)}; its network, its name or its health check may differ there"
    )


def seen_by(dispute: Dispute) -> str:
    """What the two see, in a few words."""
    if dispute.opinion.is_healthy:
        return "gone to the control plane, and healthy"
    return "ready to the control plane, and unhealthy"


def _of_draining(report: ReplicaReport, now: float) -> Iterator[str]:
    replica = report.replica
    if replica.draining is Draining.OPERATOR:
        yield "drained by an operator: no new requests until it is undrained"
    elif replica.draining is Draining.LEASE and replica.lease_until is not None:
        late = now - replica.lease_until
        left = duration(max(DRAIN_SECONDS - late, 0.0))
        then = (
            f"and it is removed unless a heartbeat comes within {left}"
            if replica.layers.file is None
            else "until a heartbeat comes"
        )
        yield f"drained because its lease ran out {_ago(late)}: no new requests, {then}"
    elif replica.draining is Draining.DISCOVERY and replica.lease_until is not None:
        late = now - replica.lease_until
        left = duration(max(DRAIN_SECONDS - late, 0.0))
        yield (
            f"drained because {replica.found_by} no longer has it since {duration(max(late, 0.0))}:"
            f" no new requests, and it is removed unless it is found again within {left}"
        )
    elif replica.lease_until is not None and now >= replica.lease_until:
        yield (
            f"its lease ran out {_ago(now - replica.lease_until)}, but so did those of most of the"
            " pool: it may be us who cannot hear them, so nothing of it is drained"
        )
    if replica.draining is not None and report.in_flight is not None:
        left = "none is" if report.in_flight < 1 else f"{report.in_flight:.0f} are"
        yield f"of the requests that it had, {left} in flight still"


def _of_joined(joined: Joined) -> Iterator[str]:
    if joined.failure is not None:
        yield f"the last reading of an exporter of GPU memory failed: {joined.failure}"
    if joined.memory and joined.age is not None:
        fullest = joined.memory[-1]
        yield (
            f"{percent(fullest.fraction)} of the memory of {fullest.uuid} was in use when its"
            f" exporter was read {_ago(joined.age)}; it had collected that before"
        )
    elif joined.failure is None:
        yield (
            "no exporter tells of its GPU: declare gpu: {uuid: …}, or the labels namespace and pod"
        )


def _ago(seconds: float) -> str:
    return f"{duration(max(seconds, 0.0))} ago"
