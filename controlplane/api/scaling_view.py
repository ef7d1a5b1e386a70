"""Show how many replicas a pool should have as plain data."""

from typing import Any

from controlplane.api.views import plain
from controlplane.scaling import Need, Recommendation


def scaling_view(found: Recommendation) -> dict[str, Any]:
    """Show a recommendation and its reasons."""
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
        "classes": [_class(need) for need in found.needs],
        "reasons": list(found.reasons),
    }


def _class(need: Need) -> dict[str, Any]:
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
