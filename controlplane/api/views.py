"""Show pools and replicas as plain data; `schema` has the models that they hold to.

Answers are plain dictionaries, for speed; a test compares them with the models. An unknown number
is null, as is a number that JSON cannot express (NaN, infinity). Times of the plane's monotonic
clock become calendar times here.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from controlplane.api.explain import reasons
from controlplane.balancing import Decision, ReplicaDecision
from controlplane.balancing.explain import parting_sentences
from controlplane.balancing.sentences import Step, explain
from controlplane.balancing.sets import titles
from controlplane.balancing.zones import sentences
from controlplane.config import WEIGHED, Policy
from controlplane.fleet import Pool
from controlplane.plane import (
    RETENTION,
    GpuReport,
    HistoryItem,
    PoolReport,
    PoolTraffic,
    ReplicaReport,
    changes,
)
from controlplane.resources.classes import Parting
from controlplane.scaling import Need, Recommendation
from controlplane.telemetry import GpuMemory, Window
from controlplane.turns import Turns

_IN_SHORT: Final = (
    "capacity",
    "capacity_tokens",
    "tier",
    "weight",
    "share",
    "classes",
    "drained",
    "stale",
)


async def pool_view(
    pool: Pool,
    reports: Iterable[ReplicaReport],
    decision: Decision | None,
    parting: Parting | None = None,
) -> dict[str, Any]:
    """Show a pool: its settings, its replicas in short, and how many are in which state.

    There is no decision before the first weighing, and no parting where all requests go anywhere.
    """
    replicas, turns = [], Turns()
    cut = stale = 0
    for report in reports:
        replicas.append(in_short(report))
        if (given := report.decision) is not None:
            cut, stale = cut + given.drained, stale + given.stale
        await turns.give_way()
    states = [each["state"] for each in replicas]
    return {
        "name": pool.name,
        "source": pool.source.value,
        "sources": pool.layers.sources(),
        **pool.settings.model_dump(mode="json"),
        **_in_force(decision.policy if decision else None),
        "suspect": decision is not None and decision.suspect,
        **parting_view(pool, decision, parting),
        **zones_view(pool, decision),
        "replicas": replicas,
        "counts": {
            "total": len(replicas),
            "starting": states.count("starting"),
            "ready": states.count("ready"),
            "unhealthy": states.count("unhealthy"),
            "gone": states.count("gone"),
            "draining": sum(each["draining"] is not None for each in replicas),
            "cut": cut,
            "stale": stale,
        },
    }


def parting_view(pool: Pool, decision: Decision | None, parting: Parting | None) -> dict[str, Any]:
    """Show the classes of a pool's requests, their replicas, and the reasons."""
    shown = titles(pool.settings, decision.division if decision else None)
    parts = {each.name: each.part for each in decision.classes} if decision else {}
    classes = [
        {
            "name": shown.get(served.name, served.name),
            "match": None if served.match is None else served.match.model_dump(mode="json"),
            "replicas": sorted(served.endpoint_weights),
            "routed": served.routed,
            "part_of_work": plain(parts.get(served.name)),
        }
        for served in (parting.classes if parting else ())
    ]
    return {
        "parting": classes or None,
        "parting_reasons": list(parting_sentences(decision)) if decision else [],
    }


def zones_view(pool: Pool, decision: Decision | None) -> dict[str, Any]:
    """Show what arises in each zone of a pool, what it carries, and what goes where."""
    plan = decision.pool.zones if decision is not None else None
    if plan is None or decision is None:
        return {"zones": None, "zone_reasons": []}
    shown = titles(pool.settings, decision.division) if decision.classes else {}
    found = [
        {
            "class_name": name,
            "region": place.region,
            "zone": place.zone,
            "envoys": plan.nodes.get(place, 0),
            "demand": plain(float(each.demand[index])) if each.is_counted else None,
            "capacity": plain(float(each.capacity[index])) if each.is_measured else None,
            "stays": each.told.get(place, {}).get(place, 0.0),
            "spills": [
                {"region": there.region, "zone": there.zone, "part": part}
                for there, part in each.told.get(place, {}).items()
                if there != place
            ],
        }
        for name, each in plan.by_class.items()
        for index, place in enumerate(each.places)
    ]
    return {"zones": found, "zone_reasons": list(sentences(plan, shown))}


def _in_force(policy: Policy | None) -> dict[str, Any]:
    """Show the policy of the last decision; a changed policy applies from the next decision on."""
    has_shares = None if policy is None else policy in WEIGHED
    return {"policy_in_force": policy, "shares_told_to_envoy": has_shares}


def in_short(report: ReplicaReport) -> dict[str, Any]:
    """Show a replica in the list of its pool."""
    given = _given(report.decision)
    return {
        "id": report.replica.id,
        "address": str(report.replica.settings.address),
        "state": report.observed.readiness.state.value,
        "draining": report.replica.draining.value if report.replica.draining else None,
        "in_flight": plain(report.in_flight),
        **_measured(report),
        **{key: given[key] for key in _IN_SHORT},
    }


def _measured(report: ReplicaReport) -> dict[str, Any]:
    """Show what a replica does, in short."""
    window, joined = report.observed.window or report.by_envoys, report.gpus
    gpus = (*(window.memory if window else ()), *(joined.memory if joined else ()))
    return {
        "rate_rps": plain(window.rate) if window else None,
        "p50_ms": _milliseconds(window.p50) if window else None,
        "p99_ms": _milliseconds(window.p99) if window else None,
        "error_fraction": plain(window.error_fraction) if window else None,
        "queue": plain(window.queue) if window else None,
        "memory": plain(max((gpu.fraction for gpu in gpus), default=None)),
    }


def replica_view(report: ReplicaReport, now: float) -> dict[str, Any]:
    """Show everything that is known of a replica; `now`: the plane's monotonic clock."""
    replica, observed, decision = report.replica, report.observed, report.decision
    lease, by_envoys = replica.lease_until, report.by_envoys
    return {
        "pool": report.pool.name,
        "id": replica.id,
        **replica.settings.model_dump(mode="json"),
        "source": replica.source.value,
        "sources": replica.sources(),
        "found_by": replica.found_by,
        "owner": replica.layers.owner,
        "generation": replica.generation,
        "state": observed.readiness.state.value,
        "state_for_s": plain(now - observed.readiness.since),
        "draining": replica.draining.value if replica.draining else None,
        "lease_left_s": None if lease is None else plain(lease - now),
        "shown_to_envoy": report.endpoint_weight is not None,
        "scrape": {"age_s": plain(report.age), "failure": observed.failure},
        "in_flight": plain(report.in_flight),
        **_in_force(report.policy),
        "readings": readings(observed.window) if observed.window else None,
        "load_reports": load_reports(by_envoys, now - by_envoys.at) if by_envoys else None,
        "joined": _joined(report.gpus) if report.gpus else None,
        **_given(decision),
        "why": list(reasons(report, now)),
        "steps": steps_view(decision.steps) if decision else [],
    }


def plain(value: float | None) -> float | None:
    """Round a number to six significant digits; None where JSON cannot express it."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def readings(window: Window) -> dict[str, Any]:
    """Show what a replica reported over its window."""
    return {
        **_requests(window),
        "p50_ms": _milliseconds(window.p50),
        "p99_ms": _milliseconds(window.p99),
        "p99_resolution": window.resolution,
        "queue": plain(window.queue),
        "running": plain(window.running),
        "memory": [_memory(memory) for memory in window.memory],
        "note": window.note,
    }


def load_reports(window: Window, age: float) -> dict[str, Any]:
    """Show what all Envoys counted of a replica's requests; `age`: seconds since they reported."""
    return {"age_s": plain(age), **_requests(window)}


def _requests(window: Window) -> dict[str, Any]:
    return {
        "rate_rps": plain(window.rate),
        "latency_mean_ms": _milliseconds(window.latency),
        "in_flight": plain(window.in_flight),
        "samples": plain(window.samples),
        "window_s": plain(window.seconds),
        "errors": plain(window.errors),
        "error_fraction": plain(window.error_fraction),
    }


def _memory(memory: GpuMemory) -> dict[str, Any]:
    return {
        "gpu": memory.uuid,
        # A replica that exposes only a fraction has a total of 1.
        "used_bytes": plain(memory.used) if memory.total > 1 else None,
        "total_bytes": plain(memory.total) if memory.total > 1 else None,
        "fraction": plain(memory.fraction),
    }


def _joined(joined: GpuReport) -> dict[str, Any]:
    return {
        "memory": [_memory(memory) for memory in joined.memory],
        "age_s": plain(joined.age),
        "failure": joined.failure,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else plain(seconds * 1000)


def _given(decision: ReplicaDecision | None) -> dict[str, Any]:
    """Show what a replica gets."""
    if decision is None:
        return dict.fromkeys(_IN_SHORT) | {"classes": []}
    return {
        "capacity": plain(decision.capacity),
        "capacity_tokens": plain(decision.tokens),
        "tier": decision.tier or None,
        "weight": decision.weight,
        "share": plain(decision.share),
        "classes": list(decision.classes),
        "drained": decision.drained,
        "stale": decision.stale,
    }


def steps_view(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Show the steps to what a replica gets."""
    return [
        {
            "name": step.name,
            "before": plain(step.before),
            "after": plain(step.after),
            "factor": plain(step.factor),
            "words": step.words,
        }
        for step in steps
    ]


def discovery_view(report: PoolReport, now: float) -> dict[str, Any]:
    """Show the sources of a pool, and which of their answers are not used."""
    return {
        "sources": [
            {
                "name": source.source,
                "replicas": None if source.found is None else len(source.found),
                "answer_age_s": plain(now - source.answered_at),
                "failing": source.failing,
                "problem": source.problem,
            }
            for source in report.sources
        ],
        "withheld": list(report.withheld),
        "clashes": list(report.clashes),
    }


def traffic_view(traffic: PoolTraffic) -> dict[str, Any]:
    """Show what the replicas of a pool do together."""
    return {
        "rate_rps": plain(traffic.rate),
        "p50_ms": _milliseconds(traffic.p50),
        "p99_ms": _milliseconds(traffic.p99),
        "error_fraction": plain(traffic.error_fraction),
        "in_flight": plain(traffic.in_flight),
        "queue": plain(traffic.queue),
        "capacity_rps": plain(traffic.capacity),
    }


def pool_history_view(
    pool: str, points: Iterable[PoolTraffic], now: float, wall: float
) -> dict[str, Any]:
    """Show the last hour of a pool, the oldest point first; see `history_view`."""
    return {
        "pool": pool,
        "now": _calendar(wall),
        "kept_s": RETENTION,
        "points": [
            {
                "at": _calendar(wall - now + point.at),
                "age_s": plain(now - point.at),
                **traffic_view(point),
            }
            for point in points
        ],
    }


def history_view(
    pool: str, replica: str, items: Iterable[HistoryItem], now: float, wall: float
) -> dict[str, Any]:
    """Show the last hour of a replica, the oldest entry first.

    The present is `now` by the plane's monotonic clock, and `wall` in seconds since 1970.
    """
    return {
        "pool": pool,
        "id": replica,
        "now": _calendar(wall),
        "kept_s": RETENTION,
        "entries": [_entry(item, now, wall) for item in items],
    }


def _entry(item: HistoryItem, now: float, wall: float) -> dict[str, Any]:
    entry, window = item.entry, item.entry.window
    scraped, counted = (None, window) if entry.by_envoys else (window, None)
    return {
        "at": _calendar(wall - now + entry.at),
        "age_s": plain(now - entry.at),
        "changes": list(changes(item.before, entry)),
        "left_out": item.left_out,
        "state": entry.state.value,
        "draining": entry.draining,
        "scrape": {"age_s": plain(entry.age) if scraped else None, "failure": entry.failure},
        "in_flight": plain(entry.in_flight),
        "readings": readings(scraped) if scraped else None,
        "load_reports": load_reports(counted, entry.age or 0.0) if counted else None,
        "capacity": plain(entry.capacity),
        "tier": entry.tier or None,
        "weight": entry.weight,
        "share": plain(entry.share),
        "classes": list(entry.classes),
        "serving": entry.serving,
        "drained": entry.drained,
        "stale": entry.stale,
        "why": list(explain(entry.steps)),
        "steps": steps_view(entry.steps),
    }


def _calendar(seconds: float) -> str:
    """Write a time as RFC 3339, in UTC, to the millisecond."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def scaling_view(found: Recommendation) -> dict[str, Any]:
    """Show how many replicas a pool should have, and why."""
    return {
        "pool": found.pool,
        "replicas": found.replicas,
        "current": found.current,
        "present": found.present,
        "active": found.active,
        "removable": list(found.removable),
        "typical_capacity_tokens": plain(found.typical),
        "cold_start_s": plain(found.horizon),
        "cold_starts": found.starts,
        "classes": [_need(need) for need in found.needs],
        "reasons": list(found.reasons),
    }


def _need(need: Need) -> dict[str, Any]:
    demand, load = need.demand, need.load
    return {
        "name": demand.title,
        "tokens": plain(demand.flow.tokens),
        "forecast_tokens": plain(load.tokens),
        "backlog_tokens": plain(load.floor),
        "present": need.now,
        "replicas": need.wanted,
        "utilization": plain(need.utilization),
        "p99_ms": None if need.p99 is None else plain(1000 * need.p99),
        "objective_ms": None if demand.objective is None else plain(1000 * demand.objective),
        "reachable": need.is_reachable,
    }
