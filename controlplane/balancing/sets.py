"""Stages that part requests by class, and divide each class among its replicas.

What Envoys are told is a table: for each class of requests a weight for each replica, 0 where the
replica serves that class only when those with a weight cannot.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing import tiers
from controlplane.balancing.backlog import leaned, leans
from controlplane.balancing.capacity import TRUSTED
from controlplane.balancing.columns import Bools, Floats, Ints
from controlplane.balancing.demand import Demand
from controlplane.balancing.division import MOVE, Division, Given, divided
from controlplane.balancing.fleet import Fleet, fast_set, fleet_of, part_for_fast
from controlplane.balancing.frame import COUNTED, COUNTING, MEDIAN_WEIGHT, Frame
from controlplane.balancing.headroom import LEAST_BUSY, QUANTUM, with_headroom
from controlplane.balancing.lengths import squares_of, tokens_of
from controlplane.balancing.prediction import Flow
from controlplane.balancing.shares import work_rate
from controlplane.balancing.table import BULK, DEFAULT
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
    recent = tuple(each for each in points if frame.now - each[0] <= COUNTING)
    frame.pool = replace(frame.pool, come=(*recent, (frame.now, come)) if come else ())


def demands(frame: Frame) -> None:
    """Find what comes, by the classes that a user names or by the size of requests."""
    frame.pool = replace(frame.pool, division=of_settings(frame))
    named = frame.settings.classes
    if named is not None:
        flows = class_flows(frame)
        goals = {each.name: each.objective.p99 for each in named if each.objective is not None}
        if frame.settings.objective is not None and goals:
            goals[DEFAULT] = frame.settings.objective.p99
        frame.demand = Demand(flows, objectives=goals) if flows else None
        return
    frame.demand = None
    if frame.sizes is None or not may_part(frame):
        return
    division, split = frame.pool.division, frame.sizes.threshold()
    if division.threshold is not None and division.rest is not None:
        frame.demand = _demand(frame, division.threshold)
    elif split is not None and (found := _demand(frame, _rounded(split.threshold))) is not None:
        # How much is bulk is only sampled: by a standard error more of it may come.
        more = 1 + 1 / math.sqrt(max(split.above.requests, 1.0))
        bulk = found.flows[BULK]
        frame.demand = replace(
            found, flows={**found.flows, BULK: replace(bulk, rate=more * bulk.rate)}
        )


def of_settings(frame: Frame) -> Division:
    """The division as it was, unless the pool's settings ask for another."""
    division, named = frame.pool.division, frame.settings.classes
    if named is None:
        is_by_size = division.threshold is not None or not division.is_planned
        return division if is_by_size and may_part(frame) else Division()
    known = {None, DEFAULT, *(each.name for each in named)}
    is_named = division.is_planned and division.threshold is None
    if is_named and known >= {*division.sets, division.rest}:
        return division
    return Division(begun=frame.now + _notice(frame))


def _notice(frame: Frame) -> float:
    """Seconds that Envoys need until requests can go by class."""
    return frame.settings.health_check.timeout + CHECKED


def part(frame: Frame) -> None:
    """Decide which replicas serve which class."""
    if frame.settings.classes is None and not may_part(frame):
        return
    rows = np.flatnonzero(frame.serving & ~frame.starting & ~frame.overloaded)
    known = (frame.worth[rows] >= TRUSTED).sum() * 2 > len(rows)
    if frame.demand is not None and not known:
        frame.demand = replace(frame.demand, enough=False)
    if len(rows) < 2:
        rows = np.flatnonzero(frame.serving)
    fleet = _fleet(frame, rows)
    before = _settled(frame)
    names = (*before.sets, before.rest) if before.rest is not None else ()
    given = Given(
        fleet,
        frame.demand,
        _fast_demand(frame, fleet),
        {name: _waits(frame, before, name) for name in names},
        frame.envoys or 1,
        _notice(frame),
        frame.now,
        {
            name: frame.dispatchers(name)
            for name in (frame.demand.flows if frame.demand is not None else ())
            if frame.settings.gateways_of(name)
        },
        _waited(frame),
    )
    frame.pool = replace(frame.pool, division=divided(before, given))


def class_flows(frame: Frame) -> dict[str, Flow]:
    """What comes of each class that the pool's user names, as far as it was counted."""
    flows = {}
    for name in class_names(frame.settings):
        sizes, rate = frame.class_sizes.get(name), frame.rate_of(name)
        if sizes is not None and sizes.samples >= ENOUGH and rate:
            square = squares_of(frame, sizes.whole, name)
            long = tokens_of(frame, sizes.quantile(0.99), name)
            flows[name] = Flow(rate, tokens_of(frame, sizes.mean, name), square, long)
    return flows


def _waits(frame: Frame, division: Division, name: str) -> float:
    """Mean seconds of work at the replicas that serve one class, newcomers left out."""
    settled = np.asarray([id_ not in division.joined for id_ in frame.ids])
    inside = division.members(name, frame.ids) & settled
    rows = frame.serving & inside & ~np.isnan(frame.waits)
    return float(frame.waits[rows].mean()) if rows.any() else math.nan


def _waited(frame: Frame) -> float:
    """Mean seconds of work at all replicas, weighted by what they carry; 0 where nobody counts."""
    rows = frame.serving & ~np.isnan(frame.waits)
    return float(np.average(frame.waits[rows], weights=frame.mixed[rows])) if rows.any() else 0.0


def batching(frame: Frame, rows: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """How replicas compute: see `Fleet.start`, `budget`, `slots` and `are_batches`.

    Args:
        frame: Of the decision.
        rows: Where a batch of some of these was seen, all replicas compute batches.
    """
    shapes = frame.state.records.shapes
    (overhead, _), budget = shapes.overhead(), np.full(frame.size, shapes.full())
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
    rate = frame.rate_of(None) or _token_rate(frame) / tokens_of(frame, sizes.mean)
    if rate <= 0:
        return None
    above = split.requests_above
    flows = [
        Flow(
            rate * part,
            tokens_of(frame, side.mean, name),
            squares_of(frame, side, name),
            tokens_of(frame, sizes.quantile(percentile), name),
        )
        for name, side, part, percentile in (
            (DEFAULT, split.below, 1 - split.above_lately, 0.99 * (1 - above)),
            (BULK, split.above, split.above_lately, 1 - 0.01 * above),
        )
    ]
    enough = min(split.below.requests, split.above.requests) >= ENOUGH
    division = frame.pool.division
    is_counted = division.rest is not None and division.is_in_force(frame.now)
    by_class = [frame.rate_of(name, division.begun + COUNTED) for name in (DEFAULT, BULK)]
    # Requests are counted by class only while Envoys part them.
    if is_counted and None not in by_class:
        flows = [
            replace(flow, rate=rate)
            for flow, rate in zip(flows, by_class, strict=True)
            if rate is not None
        ]
    by_name = dict(zip((DEFAULT, BULK), flows, strict=True))
    return Demand(by_name, threshold, enough, split.explained)


def _token_rate(frame: Frame) -> float:
    """Tokens per second that the pool serves."""
    return math.fsum(np.nan_to_num(work_rate(frame)[frame.serving & frame.fresh]))


def _fast_demand(frame: Frame, fleet: Fleet) -> Demand | None:
    """Both sides of the threshold at which the fast replicas can do all that is long."""
    division = frame.pool.division
    if frame.sizes is None or not may_part(frame) or division.rest is not None:
        return None
    fast = fast_set(fleet)
    if not fast:
        return None
    threshold = _threshold_for(frame.sizes, part_for_fast(fleet, fast))
    known = division.threshold
    if known is not None and 1 / MOVE < threshold / known < MOVE:
        threshold = known
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
    frame.leans, frame.weights, frame.shares, frame.tiers = {}, {}, {}, {}
    told: dict[tuple[str, str], int] = {}
    base = np.where(frame.serving, frame.relative, 0.0)
    division = frame.pool.division
    if not division.is_in_force(frame.now):
        shares = with_headroom(frame.relative, frame.serving, frame.pool.used)
        frame.base = _weights(frame, DEFAULT, frame.serving, shares, told)
        frame.shares[DEFAULT] = _share_of(frame.base, frame.serving)
    else:
        frame.base = _weights(frame, "*", frame.serving, base, told)
        for name in class_names(frame.settings):
            rows, shares = _of_class(frame, division, name)
            weights = _weights(frame, name, rows, shares, told)
            frame.weights[name] = np.where(rows, weights, 0)
            frame.shares[name] = _share_of(weights, rows)
    frame.pool = replace(frame.pool, backlogs=frame.leans, told=told)


def _of_class(frame: Frame, division: Division, name: str) -> tuple[Bools, Floats]:
    """The replicas of a class, all where none of its own can serve, and the share of each."""
    own = frame.serving & division.members(name, frame.ids)
    rows = own
    if name in division.sets:
        # Those that have just come first finish what they have.
        rows = own & ~_still_full(frame, division)
    rows = next((each for each in (rows, own) if each.any()), frame.serving)
    part = division.parts.get(name, 0.0)
    if name in division.sets or name == division.rest:
        return rows, with_headroom(frame.relative, rows, _used(frame, rows, part))
    if not division.sets:
        return rows, with_headroom(frame.relative, rows, frame.pool.used)
    # What classes with replicas of their own leave there.
    total, shares = math.fsum(frame.relative[frame.serving]), frame.relative.copy()
    for other in division.sets:
        taken = frame.serving & division.members(other, frame.ids)
        share = math.fsum(frame.relative[taken]) / total if total else 0.0
        left = 1 - division.parts.get(other, 0.0) / share if share else 1.0
        shares[taken] *= max(left, LEAST_SHORT)
    return rows, shares


def _settled(frame: Frame) -> Division:
    """Take note of replicas that have done what they had before they joined a set."""
    division = frame.pool.division
    if not division.joined or not division.is_in_force(frame.now):
        return division
    full = _still_full(frame, division)
    still = {id_ for id_, is_full in zip(frame.ids, full, strict=True) if is_full}
    joined = {id_: at for id_, at in division.joined.items() if id_ in still}
    return replace(division, joined=joined)


def _still_full(frame: Frame, division: Division) -> Bools:
    """Replicas that have just joined a set, and have more than half a batch to do."""
    shapes = frame.state.records.shapes
    half = shapes.full() / 2 / frame.mixed
    recent = [frame.now - division.joined.get(id_, -math.inf) < SETTLING for id_ in frame.ids]
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
    tier, tier_names = frame.tiers[name] = tiers.of_class(frame, name, rows)
    count = len(tier_names)
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
    keys = [(name, tier_names[index]) for index in used]
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


def class_names(settings: PoolSettings) -> tuple[str, ...]:
    """The classes that a pool's requests may fall into."""
    if settings.classes is None:
        return DEFAULT, BULK
    return (*(each.name for each in settings.classes), DEFAULT)


def titles(settings: PoolSettings, division: Division | None) -> Mapping[str, str]:
    """The name of each class as people read it, by its own name."""
    if settings.classes is not None:
        return {each.name: each.name for each in settings.classes} | {DEFAULT: OTHERS_SHOWN}
    if division is not None and division.threshold is not None and division.rest is None:
        return {DEFAULT: "short", BULK: "long"}
    return {DEFAULT: "search", BULK: "bulk"}


def class_parts(frame: Frame) -> Mapping[str, float]:
    """The part of all work that each class is."""
    if not frame.weights:
        return {DEFAULT: 1.0}
    parts = frame.pool.division.parts or dict.fromkeys(frame.weights, 1 / len(frame.weights))
    return {name: parts.get(name, 0.0) for name in frame.weights}
