"""Stages that part requests by class, and divide each class among its replicas.

What Envoys are told is a table: for each class of requests a weight for each replica, 0 where the
replica serves that class only when those with a weight cannot.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing import classes, parting
from controlplane.balancing.backlog import leaned, leans
from controlplane.balancing.candidates import Demand, Fleet, fast_set, fleet_of, part_for_fast
from controlplane.balancing.capacity import TRUSTED, squares_of, tokens_of
from controlplane.balancing.frame import BULK, COUNTED, COUNTING, MEDIAN_WEIGHT, Frame
from controlplane.balancing.headroom import LEAST_BUSY, QUANTUM, with_headroom
from controlplane.balancing.parting import Parting
from controlplane.balancing.prediction import Flow
from controlplane.balancing.shares import work_rate
from controlplane.balancing.table import DEFAULT, Bools, Floats, Ints
from controlplane.config import PoolSettings
from controlplane.config.classes import DEFAULT as OTHERS_SHOWN
from controlplane.telemetry.sizes import LARGEST, Sizes

ENOUGH: Final = 6.0
"""Samples of each side that make a threshold one to rely on."""
ENOUGH_SPREAD: Final = 30.0
"""Samples of long requests where sizes are spread: a few very long ones are much of the work."""
CHECKED: Final = 1.0
"""Seconds after a health check's timeout in which Envoys make the first checks of a cluster."""
DEAD_BAND: Final = 0.05
"""Changes of a weight below this are noise, and every change makes Envoy rebuild its balancer."""
LEAST_SHORT: Final = 0.02
"""Part of the short requests that a replica for long ones keeps, of what it would get."""
SETTLING: Final = 120.0
"""Seconds in which a replica that has changed sides first serves what it has."""


def may_part(frame: Frame) -> bool:
    """Whether requests may be parted.

    Until sizes are known, as after a restart, requests stay parted as they are.
    """
    balancing = frame.settings.balancing
    return (
        frame.settings.classes is None
        and not frame.settings.is_grpc
        and balancing.policy == "capacity-tiers"
        and balancing.long_requests != "any-replica"
    )


def counted(frame: Frame) -> None:
    """Take note of how many requests have come, by class."""
    points, come = frame.pool.come, frame.table.come()
    if points and frame.now - points[-1][0] < COUNTED:
        return
    kept = tuple(each for each in points if frame.now - each[0] <= COUNTING)
    frame.pool = replace(frame.pool, come=(*kept, (frame.now, come)) if come else ())


def demands(frame: Frame) -> None:
    """Find what comes, by the size of requests."""
    frame.demand = None
    looked = frame.pool.looked
    if frame.sizes is None or not may_part(frame):
        return
    split = frame.sizes.threshold()
    known = looked.parting
    if known is not None and known.kind == "apart":
        frame.demand = _demand(frame, known.threshold)
    elif split is not None:
        found = _demand(frame, _rounded(split.threshold))
        if found is not None:
            # How much is bulk is only sampled: by a standard error more of it may come.
            more = 1 + 1 / math.sqrt(max(split.above.requests, 1.0))
            found = replace(found, long=replace(found.long, rate=more * found.long.rate))
        frame.demand = found


def part(frame: Frame) -> None:
    """Decide which replicas serve which class."""
    before = frame.pool.looked
    division = _division(frame) if frame.settings.classes is not None else None
    frame.pool = replace(frame.pool, division=division)
    if not may_part(frame):
        frame.looked = parting.Looked()
        frame.pool = replace(frame.pool, looked=frame.looked)
        return
    before = frame.looked = _settled(frame, before)
    frame.pool = replace(frame.pool, looked=before)
    if before.parting is None and frame.demand is None:
        return
    rows = np.flatnonzero(frame.serving & ~frame.starting)
    known = (frame.worth[rows] >= TRUSTED).sum() * 2 > len(rows)
    if frame.demand is not None and not known:
        frame.demand = replace(frame.demand, enough=False)
    if len(rows) < 2:
        rows = np.flatnonzero(frame.serving)
    fleet = _fleet(frame, rows)
    notice = frame.settings.health_check.timeout + CHECKED
    frame.looked = parting.looked(
        before,
        fleet,
        frame.demand,
        _fast_demand(frame, fleet),
        frame.envoys or 1,
        notice,
        _waits(frame, of_searches=True),
        _waits(frame, of_searches=False),
        frame.now,
    )
    frame.pool = replace(frame.pool, looked=frame.looked)


def class_flows(frame: Frame) -> dict[str, Flow]:
    """What comes of each class that the pool's user names, as far as it was counted."""
    flows = {}
    for name in (*(each.name for each in frame.settings.classes or ()), DEFAULT):
        sizes, rate = frame.class_sizes.get(name), frame.rate_of(name)
        if sizes is not None and sizes.samples >= ENOUGH and rate:
            square, long = squares_of(sizes.whole), tokens_of(sizes.quantile(0.99))
            flows[name] = Flow(rate, tokens_of(sizes.mean), square, long)
    return flows


def _division(frame: Frame) -> classes.Division:
    """Who serves the classes that the pool's user names."""
    named, flows = frame.settings.classes or (), class_flows(frame)
    goals = {each.name: each.objective.p99 for each in named if each.objective is not None}
    if frame.settings.objective is not None and goals:
        goals[DEFAULT] = frame.settings.objective.p99
    fleet = _fleet(frame, np.flatnonzero(frame.serving))
    notice = frame.settings.health_check.timeout + CHECKED
    before, envoys = frame.pool.division, frame.envoys or 1
    return classes.divided(before, fleet, flows, goals, envoys, notice, frame.now)


def _waits(frame: Frame, *, of_searches: bool) -> float:
    """Mean seconds of work at the replicas that serve one class, newcomers left out."""
    known = frame.pool.looked.parting
    if known is None or known.kind != "apart":
        return math.nan
    inside = [(id_ in known.own) is of_searches and id_ not in known.joined for id_ in frame.ids]
    rows = frame.serving & np.asarray(inside) & ~np.isnan(frame.waits)
    return float(frame.waits[rows].mean()) if rows.any() else math.nan


def batching(frame: Frame, rows: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """How replicas compute: see `Fleet.start`, `budget`, `slots` and `are_batches`.

    Args:
        frame: Of the decision.
        rows: Where a batch of some of these was seen, all replicas compute batches.
    """
    shapes = frame.state.records.shapes
    overhead, budget = shapes.known_overhead(), np.full(frame.size, shapes.full())
    batched = np.full(frame.size, bool(shapes.batched[rows].any()))
    start = np.where(batched, overhead * budget / (budget + overhead) / frame.mixed, 0.0)
    return start, budget, np.where(batched, 1.0, frame.slots), batched.astype(np.float64)


def _fleet(frame: Frame, rows: Ints) -> Fleet:
    start, budget, slots, batched = batching(frame, rows)
    return fleet_of(
        [frame.ids[row] for row in rows],
        frame.relative[rows] * frame.usual if frame.pool.equal else frame.aged[rows],
        start[rows],
        budget[rows],
        slots[rows],
        batched[rows],
    )


def _demand(frame: Frame, threshold: int) -> Demand | None:
    """Both sides of a threshold in bytes, as flows of tokens."""
    sizes = frame.sizes
    if sizes is None or not sizes.samples:
        return None
    split = sizes.split(threshold)
    if not split.below.requests or not split.above.requests:
        return None
    rate = frame.rate_of(None) or _token_rate(frame) / tokens_of(sizes.mean)
    if rate <= 0:
        return None
    above = split.requests_above
    flows = [
        Flow(
            rate * part,
            tokens_of(side.mean),
            squares_of(side),
            tokens_of(sizes.quantile(percentile)),
        )
        for side, part, percentile in (
            (split.below, 1 - above, 0.99 * (1 - above)),
            (split.above, above, 1 - 0.01 * above),
        )
    ]
    enough = min(split.below.requests, split.above.requests) >= ENOUGH
    parted = frame.pool.looked.parting
    is_apart = parted is not None and parted.kind == "apart" and parted.is_in_force(frame.now)
    begun = math.inf if parted is None else parted.begun + COUNTED
    by_class = [frame.rate_of(name, begun) for name in (DEFAULT, BULK)]
    # Requests are counted by class only while Envoys part them.
    if is_apart and None not in by_class:
        flows = [
            replace(flow, rate=rate)
            for flow, rate in zip(flows, by_class, strict=True)
            if rate is not None
        ]
    return Demand(threshold, flows[0], flows[1], enough, split.explained)


def _token_rate(frame: Frame) -> float:
    """Tokens per second that the pool serves."""
    return math.fsum(np.nan_to_num(work_rate(frame)[frame.serving & frame.fresh]))


def _fast_demand(frame: Frame, fleet: Fleet) -> Demand | None:
    """Both sides of the threshold at which the fast replicas can do all that is long."""
    known = frame.pool.looked.parting
    if frame.sizes is None or (known is not None and known.kind == "apart"):
        return None
    fast = fast_set(fleet)
    if not fast:
        return None
    threshold = _threshold_for(frame.sizes, part_for_fast(fleet, fast))
    if known is not None and 1 / parting.MOVE < threshold / known.threshold < parting.MOVE:
        threshold = known.threshold
    found = _demand(frame, threshold)
    if found is None or frame.sizes.split(threshold).above.requests >= ENOUGH_SPREAD:
        return found
    return replace(found, enough=False)


def _threshold_for(sizes: Sizes, part: float) -> int:
    """The bytes from which on requests are such a part of all bytes."""
    low, high = 1.0, float(LARGEST)
    for _ in range(10):
        middle = math.sqrt(low * high)
        if sizes.split(round(middle)).bytes_above > part:
            low = middle
        else:
            high = middle
    return _rounded(high)


def _rounded(threshold: float) -> int:
    """To two digits: nobody is to take it for more exact than it is."""
    digits = len(str(int(threshold))) - 2
    return max(round(round(threshold), -digits) if digits > 0 else round(threshold), 1)


def divide(frame: Frame) -> None:
    """Divide each class among its replicas, and turn shares into Envoy's weights."""
    frame.leans, frame.weights, frame.shares = {}, {}, {}
    told: dict[tuple[str, str], int] = {}
    base = np.where(frame.serving, frame.relative, 0.0)
    known, division = frame.looked.parting, frame.pool.division
    if division is not None and division.is_in_force(frame.now):
        frame.base = _weights(frame, "*", frame.serving, base, told)
        for name, rows, shares in _of_division(frame, division):
            weights = _weights(frame, name, rows, shares, told)
            frame.weights[name] = np.where(rows, weights, 0)
            frame.shares[name] = _share_of(weights, rows)
    elif known is None or not known.is_in_force(frame.now):
        shares = with_headroom(frame.relative, frame.serving, frame.pool.used)
        frame.base = _weights(frame, DEFAULT, frame.serving, shares, told)
        frame.shares[DEFAULT] = _share_of(frame.base, frame.serving)
    else:
        frame.base = _weights(frame, "*", frame.serving, base, told)
        for name, rows, shares in _of_classes(frame, known):
            weights = _weights(frame, name, rows, shares, told)
            frame.weights[name] = np.where(rows, weights, 0)
            frame.shares[name] = _share_of(weights, rows)
    frame.pool = replace(frame.pool, backlogs=frame.leans, told=told)


def _of_classes(frame: Frame, known: Parting) -> list[tuple[str, Bools, Floats]]:
    own = np.asarray([id_ in known.own for id_ in frame.ids])
    if known.kind == "long to fast":
        fast = frame.serving & own
        if not fast.any():
            fast = frame.serving
        total = math.fsum(frame.relative[frame.serving])
        share = math.fsum(frame.relative[fast]) / total if total else 1.0
        left = max(1 - known.part / share, LEAST_SHORT)
        short = np.where(own, frame.relative * left, frame.relative)
        return [(DEFAULT, frame.serving, short), (BULK, fast, frame.relative)]
    searches = frame.serving & own & ~_still_full(frame, known)
    if not searches.any():
        searches = frame.serving & own if (frame.serving & own).any() else frame.serving
    bulk = frame.serving & ~own
    if not bulk.any():
        bulk = frame.serving
    found = []
    for name, rows, work in ((DEFAULT, searches, 1 - known.part), (BULK, bulk, known.part)):
        used = _used(frame, rows, work)
        found.append((name, rows, with_headroom(frame.relative, rows, used)))
    return found


def _of_division(frame: Frame, division: classes.Division) -> list[tuple[str, Bools, Floats]]:
    """The replicas of each class that a user names, all where it has none of its own."""
    found = []
    for name in (*(each.name for each in frame.settings.classes or ()), DEFAULT):
        own = division.sets.get(name, frozenset())
        rows = frame.serving & np.asarray([id_ in own for id_ in frame.ids])
        if not rows.any():
            rows = frame.serving
        used = _used(frame, rows, division.parts.get(name, 0.0))
        found.append((name, rows, with_headroom(frame.relative, rows, used)))
    return found


def _settled(frame: Frame, looked: parting.Looked) -> parting.Looked:
    """Take note of replicas for searches that have done what they had before."""
    known = looked.parting
    if known is None or not known.joined or not known.is_in_force(frame.now):
        return looked
    full = _still_full(frame, known)
    still = {id_ for id_, is_full in zip(frame.ids, full, strict=True) if is_full}
    joined = {id_: at for id_, at in known.joined.items() if id_ in still}
    return replace(looked, parting=replace(known, joined=joined))


def _still_full(frame: Frame, known: Parting) -> Bools:
    """Replicas that have just come to serve searches, and have more than half a batch to do."""
    shapes = frame.state.records.shapes
    half = shapes.full() / 2 / frame.mixed
    recent = [frame.now - known.joined.get(id_, -math.inf) < SETTLING for id_ in frame.ids]
    return np.asarray(recent) & (np.nan_to_num(frame.waits) > half)


def _used(frame: Frame, rows: Bools, work: float) -> float | None:
    """How busy a set is; in the steps in which that counts."""
    if frame.pool.used is None:
        return None
    total = math.fsum(frame.mixed[frame.serving])
    used = frame.pool.used * total * work / max(math.fsum(frame.mixed[rows]), 1e-9)
    return round(min(max(used, LEAST_BUSY), 1.0) / QUANTUM) * QUANTUM


def _weights(
    frame: Frame, name: str, rows: Bools, shares: Floats, told: dict[tuple[str, str], int]
) -> Ints:
    """Envoy's weights for one class: in a tier the mean of its replicas."""
    tier = frame.tier
    count = len(frame.tier_names)
    counts = np.bincount(tier[rows], minlength=count)
    # Of nothing at all, counts with weights are whole numbers.
    sums = np.bincount(tier[rows], weights=shares[rows], minlength=count).astype(np.float64)
    others = frame.alive & (counts[tier] == 0)
    counts += np.bincount(tier[others], minlength=count)
    sums += np.bincount(tier[others], weights=frame.relative[others], minlength=count)
    means = sums / np.maximum(counts, 1)
    if name != "*":
        frame.leans |= leans(frame, name, rows, shares, frame.pool.backlogs)
    used = np.flatnonzero(np.bincount(tier[frame.alive], minlength=count)).tolist()
    keys = [(name, frame.tier_names[index]) for index in used]
    shares = means[used]
    if frame.leans:
        leans_of = map(frame.leans.get, keys)
        shares = np.asarray([leaned(*each) for each in zip(shares.tolist(), leans_of, strict=True)])
    wanted = np.maximum(np.round(MEDIAN_WEIGHT * shares), 1).astype(np.int64)
    before = np.asarray([frame.pool.told.get(key, 0) for key in keys], np.int64)
    exact = frame.pool.equal and not frame.leans
    is_noise = np.abs(wanted - before) <= (-1.0 if exact else DEAD_BAND * before)
    stays = (before > 0) & (is_noise | frame.keeps_told)
    found = np.ones(count, np.int64)
    found[used] = weights = np.where(stays, before, wanted)
    told |= zip(keys, weights.tolist(), strict=True)
    return np.asarray(found[tier])


def _share_of(weights: Ints, rows: Bools) -> Floats:
    """The part of a class that each replica gets."""
    some = np.where(rows, weights, 0).astype(float)
    total = some.sum()
    return some / total if total else some


def titles(settings: PoolSettings, known: Parting | None) -> Mapping[str, str]:
    """The name of each class as people read it, by its own name."""
    if settings.classes is not None:
        return {each.name: each.name for each in settings.classes} | {DEFAULT: OTHERS_SHOWN}
    if known is not None and known.kind == "long to fast":
        return {DEFAULT: "short", BULK: "long"}
    return {DEFAULT: "search", BULK: "bulk"}


def class_parts(frame: Frame) -> Mapping[str, float]:
    """The part of all work that each class is."""
    known, division = frame.looked.parting, frame.pool.division
    if division is not None and frame.weights:
        even = 1 / len(frame.weights)
        return {
            name: division.parts.get(name, 0.0 if division.parts else even)
            for name in frame.weights
        }
    if known is None or not frame.weights:
        return {DEFAULT: 1.0}
    return {DEFAULT: 1 - known.part, BULK: known.part}
