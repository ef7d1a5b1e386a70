"""What outlives the control plane of a decision, as plain data, and back again.

Times of a monotonic clock mean nothing after a restart, so they are kept relative to the decision,
or left out. So is where in a replica's counters the last reading was: what happened meanwhile was
seen by nobody.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from controlplane.balancing.columns import Bools, Floats
from controlplane.balancing.decision import Decision
from controlplane.balancing.division import Division
from controlplane.balancing.frame import TRAIL, PoolState, State
from controlplane.balancing.records import Records
from controlplane.balancing.table import who_is
from controlplane.balancing.zones import plan_data, plan_of

_NOTICED: Final = 0.05
"""Relative change of what a replica gets that is worth writing down."""
_COLUMNS: Final = ("relative", "wanted", "cut", "band", "earned")
_OF_RECORDS: Final = ("before", "past", "parts")
_OF_SHAPES: Final = ("sums", "budget", "batched")


def pool_data(decision: Decision) -> dict[str, Any]:
    """What is kept of a pool's decision beside its replicas."""
    pool = decision.pool
    is_tiered = decision.policy == "capacity-tiers"
    return {
        "policy": decision.policy,
        "equal": pool.equal,
        "anchor": pool.anchor,
        "used": pool.used,
        "length": pool.length,
        "counts_tokens": pool.counts_tokens,
        "bytes_per_token": [*pool.bytes_per_token.items()],
        # Where there are no tiers, weights are told of each replica; its own data has them.
        "told": [[*key, weight] for key, weight in pool.told.items()] if is_tiered else [],
        "division": _division_data(pool.division, decision.at),
        "zones": plan_data(pool.zones),
    }


def replica_data(decision: Decision, id_: str) -> dict[str, Any]:
    """What is kept of one replica: what Envoys were told, and what that rests on.

    Raises:
        KeyError: There is no such replica.
    """
    row = decision.rows[id_]
    state = decision.state
    records, shapes = state.records, state.records.shapes
    return {
        "tier": decision.tier_of(row),
        "weight": int(decision.weight[row]),
        "drained": bool(decision.drained[row]),
        "share": _number(decision.share, row),
        "capacity": _number(decision.capacity, row),
        "relative": _number(state.relative, row),
        "band": int(state.band[row]),
        "earned": bool(state.earned[row]),
        "guard": [bool(state.wanted[row]), bool(state.cut[row])],
        "count": _number(records.last[:, 0], row),
        # An open chunk ends here: nobody knows what would have come to it.
        "evidence": [float(each) for each in records.parts[row].sum(axis=0)],
        "past": [float(each) for each in records.past[row]],
        "before": _number(records.before, row),
        "batches": {
            "line": [float(each) for each in shapes.sums[row]],
            "budget": _number(shapes.budget, row),
            "batched": bool(shapes.batched[row]),
        },
    }


def restored(
    pool: Mapping[str, Any], replicas: Mapping[str, tuple[Mapping[str, Any], int]], now: float
) -> Decision | None:
    """What the data was made of.

    Args:
        pool: By `pool_data`.
        replicas: By `replica_data`, with the generation that the next decision will be told, by
            id. Data of another version is as good as none. In the table of the next decision they
            have the rows of the result.
        now: Seconds of a monotonic clock.

    Returns:
        None where nothing can be used.
    """
    known = {
        id_: read | {"who": who_is(id_, generation)}
        for id_, (data, generation) in replicas.items()
        if (read := _read(data))
    }
    if not known:
        return None
    try:
        return _restored(pool, known, now)
    except (KeyError, TypeError, ValueError):
        return None


def differing(before: Decision | None, after: Decision) -> list[str]:
    """Ids of the replicas of which one decision would have other data kept than the other."""
    if before is None or before.policy != after.policy:
        return [*after.rows]
    size = min(len(before.weight), len(after.weight))
    differs = np.zeros(len(after.weight), np.bool_)
    some = differs[:size]
    for names, old, new in (
        (_COLUMNS, before.state, after.state),
        (_OF_RECORDS, before.state.records, after.state.records),
        (_OF_SHAPES, before.state.records.shapes, after.state.records.shapes),
    ):
        for name in names:
            some |= _differ(getattr(old, name)[:size], getattr(new, name)[:size])
    # That others came or went changes every share a little.
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = np.abs(after.share[:size] / before.share[:size] - 1) > _NOTICED
    some |= moved | ((after.share[:size] == 0) != (before.share[:size] == 0))
    return after.ids(differs | after.changed(before))


def without_counters(decision: Decision) -> Decision:
    """The same, for readings that begin anew with the next one; what replicas carry stays known.

    Counters of two sources have nothing to do with one another: a difference between them would be
    millions of requests in a second. The same holds for what one of them said of memory.
    """
    state, records = decision.state, decision.state.records
    size = len(state.who)
    unknown, nothing = np.full(size, np.nan), np.zeros(size, np.bool_)
    parts = records.parts.copy()
    parts[:, 0] += parts[:, -1]
    parts[:, -1] = 0.0
    records = replace(
        records,
        at=unknown.copy(),
        since=unknown.copy(),
        base=np.full_like(records.base, np.nan),
        last=np.full_like(records.last, np.nan),
        parts=parts,
    )
    state = replace(
        state,
        records=records,
        wanted=nothing.copy(),
        cut=nothing.copy(),
        below_since=unknown.copy(),
        trail=np.full((size, TRAIL, 2), np.nan),
        memory=unknown.copy(),
        line=unknown.copy(),
        line_at=unknown.copy(),
    )
    return replace(decision, state=state, frame=None)


def _read(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """One replica's data in the types that it was written with; None: it is of another version."""
    try:
        wanted, cut = data["guard"]
        batches = data["batches"]
        return {
            "tier": str(data["tier"]),
            "weight": int(data["weight"]),
            "drained": bool(data["drained"]),
            "share": _float(data["share"]),
            "capacity": _float(data["capacity"]),
            "relative": _float(data["relative"]),
            "count": _float(data["count"]),
            "band": int(data["band"]),
            "earned": bool(data["earned"]),
            "wanted": bool(wanted),
            "cut": bool(cut),
            "evidence": _numbers(data["evidence"], 3),
            "past": _numbers(data["past"], 3),
            "before": _float(data["before"]),
            "line": _numbers(batches["line"], 5),
            "budget": _float(batches["budget"]),
            "batched": bool(batches["batched"]),
        }
    except (KeyError, TypeError, ValueError):
        return None


def _restored(
    pool: Mapping[str, Any], replicas: Mapping[str, Mapping[str, Any]], now: float
) -> Decision:
    ids, size = [*replicas], len(replicas)

    def column(name: str) -> Floats:
        return np.asarray([each[name] for each in replicas.values()], np.float64)

    def flags(name: str) -> Bools:
        return np.asarray([each[name] for each in replicas.values()], np.bool_)

    is_tiered = pool["policy"] == "capacity-tiers"
    names = [each["tier"] if is_tiered else id_ for id_, each in replicas.items()]
    tier_names = tuple(dict.fromkeys(names))
    places = {name: at for at, name in enumerate(tier_names)}
    weight = column("weight").astype(np.int64)
    told = {(of, name): int(told) for of, name, told in pool["told"]}
    if not is_tiered:
        told = {("", id_): int(each) for id_, each in zip(ids, weight, strict=True)}
    parts = np.zeros_like(Records.empty(size).parts)
    parts[:, 0] = total = column("evidence")
    records = Records.empty(size)
    shapes = replace(
        records.shapes,
        sums=column("line"),
        budget=column("budget"),
        batched=flags("batched"),
    )
    state = replace(
        State.empty(size),
        who=np.asarray([each["who"] for each in replicas.values()], np.int64),
        records=replace(
            records,
            parts=parts,
            all=total,
            past=column("past"),
            before=column("before"),
            shapes=shapes,
        ),
        relative=column("relative"),
        wanted=flags("wanted"),
        cut=flags("cut"),
        band=column("band").astype(np.int64),
        earned=flags("earned"),
    )
    return Decision(
        policy=pool["policy"],
        at=now,
        rows={id_: row for row, id_ in enumerate(ids)},
        tier=np.asarray([places[name] for name in names], np.int64),
        tier_names=tier_names,
        weight=weight,
        share=column("share"),
        drained=flags("drained"),
        stale=np.zeros(size, np.bool_),
        capacity=column("capacity"),
        classes=(),
        suspect=False,
        moving=False,
        state=state,
        pool=PoolState(
            equal=bool(pool["equal"]),
            anchor=_optional(pool["anchor"]),
            used=_optional(pool["used"]),
            length=_optional(pool["length"]),
            counts_tokens=bool(pool["counts_tokens"]),
            bytes_per_token={name: float(each) for name, each in pool.get("bytes_per_token", ())},
            told=told,
            division=_division(pool["division"], now),
            zones=plan_of(pool.get("zones")),
        ),
        frame=None,
    )


def _division_data(division: Division, at: float) -> dict[str, Any]:
    return {
        "threshold": division.threshold,
        "sets": {name: sorted(ids) for name, ids in division.sets.items()},
        "rest": division.rest,
        "parts": dict(division.parts),
        "begun_for": _or_none(at - division.begun),
        "wanted_for": _or_none(at - division.since),
        "seen_for": _or_none(at - division.seen),
        "crowded_for": _or_none(at - division.crowded),
        "joined_for": {id_: at - joined for id_, joined in sorted(division.joined.items())},
    }


def _division(data: Mapping[str, Any], now: float) -> Division:
    """The time in which nobody was there is left out: Envoys may have been started in it."""
    begun_for, seen_for = _optional(data["begun_for"]), _optional(data["seen_for"])
    threshold, rest = data["threshold"], data["rest"]
    return Division(
        threshold=None if threshold is None else int(threshold),
        sets={name: frozenset(ids) for name, ids in data["sets"].items()},
        rest=None if rest is None else str(rest),
        begun=math.inf if begun_for is None else now - begun_for,
        parts={name: float(part) for name, part in data["parts"].items()},
        since=now - _float(data["wanted_for"]),
        seen=-math.inf if seen_for is None else now - seen_for,
        crowded=now - _float(data["crowded_for"]),
        joined={id_: now - joined_for for id_, joined_for in data["joined_for"].items()},
    )


def _differ(old: Floats | Bools, new: Floats | Bools) -> Bools:
    """The rows in which two columns differ; what is not known is like what is not known."""
    both_unknown = (old != old) & (new != new)  # NaN, in columns that may hold no floats
    differs = (old != new) & ~both_unknown
    return np.asarray(differs.reshape(len(old), -1).any(axis=1))


def _number(column: Floats, row: int) -> float | None:
    return _or_none(float(column[row]))


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _optional(value: float | None) -> float | None:
    return None if value is None else float(value)


def _numbers(values: list[float], count: int) -> tuple[float, ...]:
    found = tuple(map(float, values))
    if len(found) != count:
        raise ValueError(values)
    return found
