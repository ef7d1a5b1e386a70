"""A weighing as plain data, so that it outlives the control plane, and back again.

Times of a monotonic clock mean nothing after a restart, so they are left out, and so is where in a
replica's counters the last reading was: what happened meanwhile was seen by nobody.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from controlplane.weighing.capacity import Change, Estimate
from controlplane.weighing.evidence import Evidence
from controlplane.weighing.guard import Guard
from controlplane.weighing.leaning import Lean
from controlplane.weighing.long_part import Tally
from controlplane.weighing.record import Record
from controlplane.weighing.replica import ReplicaWeighing, State, Weighing
from controlplane.weighing.sizes import Sizes
from controlplane.weighing.slots import Learned, Level
from controlplane.weighing.tiers import Placement

_LONG_AGO: Final = -math.inf


def pool_data(weighing: Weighing) -> dict[str, Any]:
    """What is kept of a pool's weighing beside its replicas."""
    return {
        "policy": weighing.policy,
        "equal": weighing.equal,
        "anchor": weighing.anchor,
        "used": weighing.used,
        "tokens": weighing.tokens,
        "sizes": _sizes_data(weighing.sizes, weighing.at) if weighing.sizes else None,
        "leans": {name: list(lean) for name, lean in weighing.leans.items()},
    }


def replica_data(weighed: ReplicaWeighing) -> dict[str, Any]:
    """What is kept of one replica: what Envoy was told, and what that rests on."""
    state = weighed.state
    placement, guard = state.placement, state.guard
    return {
        "tier": weighed.tier,
        "weight": weighed.weight,
        "drained": weighed.drained,
        "share": weighed.share,
        "capacity": weighed.capacity,
        "relative": state.relative,
        "kind": state.kind,
        "band": placement.band,
        "earned": placement.earned,
        "guard": [guard.wanted, guard.cut],
        "estimate": _estimate_data(state.estimate) if state.estimate else None,
        "learned": _learned_data(state.learned) if state.learned else None,
    }


def restored_replica(data: Mapping[str, Any], generation: int, *, counted: bool) -> ReplicaWeighing:
    """What `replica_data` was made of.

    Args:
        data: By `replica_data`.
        generation: The replica's, as the next weighing will be told it.
        counted: Whether the counters that it will be told are the ones that it was told before.

    Raises:
        KeyError, TypeError, ValueError: When the data is not of `replica_data`.
    """
    wanted, cut = data["guard"]
    estimate, learned = data["estimate"], data["learned"]
    return ReplicaWeighing(
        capacity=data["capacity"],
        weight=data["weight"],
        tier=data["tier"],
        drained=data["drained"],
        stale=False,
        share=data["share"],
        steps=(),
        state=State(
            generation,
            _estimate(estimate, counted=counted) if estimate else None,
            _learned(learned) if learned else None,
            data["kind"],
            data["relative"],
            Guard(None, wanted, cut),
            Placement(data["band"], earned=data["earned"]),
        ),
    )


def restored_weighing(
    pool: Mapping[str, Any], replicas: Mapping[str, ReplicaWeighing], now: float
) -> Weighing:
    """What `pool_data` was made of, with these replicas.

    Raises:
        KeyError, TypeError: When the data is not of `pool_data`.
    """
    sizes = pool["sizes"]
    return Weighing(
        policy=pool["policy"],
        replicas=MappingProxyType(dict(replicas)),
        suspect=False,
        at=now,
        equal=pool["equal"],
        anchor=pool["anchor"],
        used=pool["used"],
        tokens=pool["tokens"],
        sizes=_sizes(sizes, now) if sizes else None,
        leans={name: Lean(*lean) for name, lean in pool.get("leans", {}).items()},
    )


def _sizes_data(sizes: Sizes, at: float) -> dict[str, Any]:
    return {
        "threshold": sizes.threshold,
        "fast": sorted(sizes.fast),
        "part": sizes.part,
        "parted_for": at - sizes.begun,
        "unchanged_for": at - sizes.since,
        "assumed": sizes.assumed,
        "short": sizes.tally.short,
        "total": sizes.tally.total,
        "requests": sizes.tally.requests,
        "pause": sizes.pause,
        "turned": sizes.turned,
    }


def _sizes(data: Mapping[str, Any], now: float) -> Sizes:
    return Sizes(
        threshold=data["threshold"],
        fast=frozenset(data["fast"]),
        part=data["part"],
        assumed=data.get("assumed", data["part"]),
        # The time in which nobody was there is left out: Envoys may have been started in it.
        begun=now - data["parted_for"],
        since=now - data["unchanged_for"],
        tally=Tally(data["short"], data["total"], data["requests"]),
        pause=data["pause"],
        turned=data["turned"],
    )


def _estimate_data(estimate: Estimate) -> dict[str, Any]:
    record = estimate.record
    return {
        "slots": estimate.slots,
        "base": estimate.base,
        "past": _evidence_data(estimate.past) if estimate.past else None,
        "change": estimate.change.factor if estimate.change else None,
        "count": record.count,
        "total": record.total,
        "pace": record.pace,
        # The open batch ends here: nobody knows what would have come to it.
        "old": _evidence_data(record.old + record.open),
        "recent": [_evidence_data(batch) for batch in record.recent],
    }


def _estimate(data: Mapping[str, Any], *, counted: bool) -> Estimate:
    record = Record(
        at=_LONG_AGO,
        since=_LONG_AGO,
        count=data["count"] if counted else 0.0,
        total=data["total"] if counted else 0.0,
        old=Evidence(*data["old"]),
        recent=tuple(Evidence(*batch) for batch in data["recent"]),
        pace=data["pace"],
    )
    factor = data["change"]
    return Estimate(
        data["slots"],
        record,
        data["base"],
        Change(_LONG_AGO, factor) if factor is not None else None,
        Evidence(*data["past"]) if data["past"] else None,
    )


def _evidence_data(evidence: Evidence) -> list[float]:
    return [evidence.requests, evidence.busy, evidence.length]


def _learned_data(learned: Learned) -> dict[str, Any]:
    levels = [[it.requests, it.duration, it.seconds] for it in learned.levels]
    return {"slots": learned.slots, "levels": levels}


def _learned(data: Mapping[str, Any]) -> Learned:
    levels = tuple(Level(*level) for level in data["levels"])
    # No reading counts as many requests, so the first one is a new beginning.
    return Learned(data["slots"], levels, _LONG_AGO, math.inf, math.inf, _LONG_AGO)
