"""A pool's decision: what was decided before and what is known now in, the next decision out.

`STAGES` lists every rule in its order. Each is a function that reads columns of the frame and
writes its own; there is one path for every pool, measured or not, of three replicas or of ten
thousand. A rule is to stand here only if p99 is worse by more than 3 % somewhere without it; what
has been measured of that is in docs/decisions/0021-one-pipeline.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing import (
    backlog,
    capacity,
    gauges,
    guards,
    lengths,
    sets,
    shares,
    tiers,
    trust,
    zones,
)
from controlplane.balancing.decision import ClassDecision, Decision
from controlplane.balancing.frame import (
    COUNTED,
    COUNTING,
    MEDIAN_WEIGHT,
    Frame,
    PoolState,
    State,
    recent_rate,
)
from controlplane.balancing.table import Table
from controlplane.balancing.zones import Place, ZoneInput, ZonePlan
from controlplane.config import WEIGHED, PoolSettings
from controlplane.telemetry.sizes import Sizes

Stage = Callable[[Frame], None]

_SILENT: Final = (
    "Most replicas cannot be scraped; the control plane may be at fault. Weights are frozen."
)

STAGES: Final[tuple[Stage, ...]] = (
    capacity.freshness,
    lengths.measured,
    gauges.believed,
    capacity.measured,
    capacity.mixed,
    trust.seen,
    guards.errors,
    guards.failing,
    guards.gpu_memory,
    guards.silence,
    shares.relative,
    shares.slow_start,
    sets.counted,
    sets.demands,
    backlog.waiting,
    backlog.overload,
    shares.damping,
    shares.utilisation,
    tiers.placement,
    tiers.names,
    sets.part,
    sets.divide,
)

WATCHED: Final[tuple[Stage, ...]] = (
    capacity.freshness,
    lengths.measured,
    gauges.believed,
    capacity.measured,
    capacity.mixed,
    trust.seen,
    guards.errors,
    guards.failing,
    guards.gpu_memory,
)
"""For policies without weights: capacities are shown, and failing replicas and replicas without
free memory are cut."""


def decide(
    before: Decision | None,
    settings: PoolSettings,
    table: Table,
    now: float,
    *,
    gpus: Mapping[str, float] | None = None,
    envoys: int | None = None,
    sizes: Sizes | None = None,
    class_sizes: Mapping[str, Sizes] | None = None,
    hold: str | None = None,
    zone_input: ZoneInput | None = None,
    stages: tuple[Stage, ...] = STAGES,
) -> Decision:
    """Decide what each replica of a pool gets.

    It may be called at any time: a reading counts once, and steps follow the clock.

    Args:
        before: The last decision about this pool; None for the first.
        settings: Of the pool.
        table: What is known of its replicas.
        now: Seconds of a monotonic clock.
        gpus: Part of GPU memory in use, over all pools, as `guards.memory_by_row` takes it; None:
            as each replica says of itself.
        envoys: How many Envoys the pool's requests come through; None: unknown.
        sizes: Of its requests; None: unknown.
        class_sizes: Of the requests of each class, where a user names classes.
        hold: Why nothing is to change for replicas that were known before; None: it may.
        zone_input: What is known of its zones; None where Envoys use all replicas alike.
        stages: The rules, in their order.
    """
    interval = settings.metrics.interval
    if gpus is None:
        gpus = {}
    age = (now - table.column("scraped_at"))[table.alive & (table.column("ready") == 1)]
    suspect = capacity.is_suspect(age, interval)
    state = before.state if before is not None else State.empty(0)
    frame = Frame(
        settings,
        table,
        state.for_rows(table.who),
        before.pool if before is not None else PoolState(),
        now,
        since=now - before.at if before is not None else None,
        envoys=envoys,
        sizes=sizes,
        class_sizes=class_sizes or {},
        memory_in_use=guards.memory_by_row(table, gpus, interval, now),
        suspect=suspect,
        held=None if before is None else hold or (_SILENT if suspect else None),
    )
    # What leans on lines that nobody sees any more is taken back; a restart changes nothing.
    frame.keeps_told = frame.held is not None and frame.held == hold
    if settings.balancing.policy not in WEIGHED:
        held, frame.held = frame.held, None
        return _with_zones(_unweighed(frame), frame, zone_input, is_held=held is not None)
    is_held = before is not None and frame.held is not None
    if before is not None and is_held:
        _keep(frame, before)
    else:
        for stage in stages:
            stage(frame)
    return _with_zones(_decision(frame), frame, zone_input, is_held=is_held)


def _keep(frame: Frame, decision: Decision) -> None:
    """Leave every known replica with what it had; newcomers are usual ones."""
    capacity.freshness(frame)
    lengths.measured(frame)
    # What others left behind may be all that can serve: the limits of cuts hold even now.
    guards.within_limits_again(frame)
    before, state = frame.state.relative, frame.state
    frame.serving = frame.ready & ~state.cut
    frame.mixed, frame.measured = state.records.capacity, state.records.capacity
    frame.worth = state.records.worth
    known = frame.mixed[frame.alive & ~np.isnan(frame.mixed)]
    frame.median = float(np.median(known)) if len(known) else None
    frame.mixed = np.where(np.isnan(frame.mixed), frame.median or 1.0, frame.mixed)
    frame.claimed = frame.aged = frame.mixed
    frame.usual = frame.median or 1.0
    frame.relative = np.where(np.isnan(before), 1.0, before)
    frame.target = frame.relative
    frame.starting = np.zeros(frame.size, np.bool_)
    frame.overloaded = ~np.isnan(state.line)
    frame.waits = np.full(frame.size, np.nan)
    frame.slots = np.ones(frame.size)
    frame.state = replace(state, relative=frame.relative)
    frame.pool = replace(frame.pool, backlogs={}, division=sets.of_settings(frame))
    if decision.policy == frame.settings.balancing.policy:
        tiers.names_as_before(frame, decision.tier, decision.tier_names, ~np.isnan(before))
    else:
        tiers.names(frame)
    sets.divide(frame)


def _decision(frame: Frame) -> Decision:
    table = frame.table
    parts = sets.class_parts(frame)
    division = frame.pool.division
    titles = sets.titles(frame.settings, division)
    classes = tuple(
        ClassDecision(
            name,
            titles[name],
            weights,
            frame.shares[name],
            parts[name],
            frame.tiers[name][0],
            tuple(frame.tiers[name][1]),
        )
        for name, weights in frame.weights.items()
    )
    share = sum((parts[name] * each for name, each in frame.shares.items()), np.zeros(frame.size))
    line = frame.state.line
    going = frame.serving & (frame.relative != getattr(frame, "after_overload", frame.relative))
    return Decision(
        policy=frame.settings.balancing.policy,
        at=frame.now,
        rows=dict(table.rows),
        tier=frame.tier,
        tier_names=tuple(frame.tier_names),
        weight=frame.base,
        share=np.where(frame.serving, share, 0.0),
        drained=frame.state.cut & frame.alive,
        stale=frame.stale,
        capacity=frame.mixed,
        classes=classes,
        suspect=frame.suspect,
        moving=bool(
            going.any()
            or frame.starting.any()
            or guards.is_left_out(frame.state, frame.now).any()
            or (~np.isnan(line[frame.alive])).any()
            or (division.is_planned and not classes)
        ),
        state=frame.state,
        pool=frame.pool,
        frame=frame,
    )


def _unweighed(frame: Frame) -> Decision:
    """All replicas are told alike, but for one that must be spared."""
    for stage in WATCHED:
        stage(frame)
    serving = frame.serving
    turn = frame.settings.balancing.policy == "round-robin"
    each = 1 / max(int(serving.sum()), 1) if turn else np.nan
    frame.state = replace(frame.state, relative=np.ones(frame.size))
    return Decision(
        policy=frame.settings.balancing.policy,
        at=frame.now,
        rows=dict(frame.table.rows),
        tier=np.zeros(frame.size, np.int64),
        tier_names=("",),
        weight=np.full(frame.size, MEDIAN_WEIGHT),
        share=np.where(serving, each, 0.0),
        drained=frame.state.cut & frame.alive,
        stale=frame.stale,
        capacity=frame.mixed,
        classes=(),
        suspect=frame.suspect,
        moving=bool(guards.is_left_out(frame.state, frame.now).any()),
        state=frame.state,
        pool=replace(frame.pool, equal=True, anchor=0.0),
        frame=frame,
    )


def _with_zones(
    decision: Decision, frame: Frame, given: ZoneInput | None, *, is_held: bool
) -> Decision:
    """Add where each zone sends the requests of each class."""
    known = frame.pool.zones
    if given is None or (is_held and known is not None):
        plan = None if given is None else known
        return replace(decision, pool=replace(decision.pool, zones=plan))
    come = known.come if known is not None else ()
    if not come or frame.now - come[-1][0] >= COUNTED:
        recent = (point for point in come if frame.now - point[0] <= COUNTING)
        come = (*recent, (frame.now, given.come))
    rows = [
        (decision.rows[id_], place) for id_, place in given.places.items() if id_ in decision.rows
    ]
    able = frame.serving & np.asarray([id_ not in given.gone for id_ in frame.ids])
    carried = np.where(able, frame.mixed * frame.warmth, 0.0)
    target = zones.TARGET * np.where(capacity.is_timed(frame), 1.0, zones.UNTIMED)
    # A replica of several classes carries of each what it does for it.
    work = {each.name: each.part * each.shares for each in decision.classes} or {"": carried}
    total = np.maximum(sum(work.values()), 1e-12)
    by_class = {}
    for name, part in work.items():
        carries = dict.fromkeys(given.places.values(), 0.0)
        keeps = dict(carries)
        of_class = carried * part / total
        for row, place in rows:
            carries[place] += float(of_class[row])
            keeps[place] += float(of_class[row] * target[row])
        by_class[name] = zones.planned(
            known.by_class.get(name) if known is not None else None,
            _arising(frame, given, come, name if decision.classes else None),
            carries,
            given.nodes,
            frame.now - known.at if known is not None else math.inf,
            is_measured=frame.median is not None,
            targets={place: keeps[place] / each for place, each in carries.items() if each > 0},
        )
    plan = ZonePlan(by_class, given.nodes, come, frame.now)
    return replace(decision, pool=replace(decision.pool, zones=plan))


def _arising(
    frame: Frame,
    given: ZoneInput,
    come: Sequence[tuple[float, Mapping[tuple[str, Place], float]]],
    class_name: str | None,
) -> dict[Place, float] | None:
    """Tokens per second of a class that arise in each zone; None where none were counted.

    Args:
        frame: Of the decision.
        given: What is known of the zones.
        come: Requests that had arisen by some times.
        class_name: Of the class; None: all requests.
    """
    rate, tokens = frame.table.column("rate"), shares.work_rate(frame)
    counts = frame.serving & frame.fresh & (rate > 0) & ~np.isnan(tokens)
    usual = frame.pool.length or lengths.USUAL_LENGTH
    if counts.any():
        usual = math.fsum(tokens[counts]) / math.fsum(rate[counts])
    of_class = frame.class_sizes.get(class_name) if class_name is not None else None
    if of_class is not None and frame.sizes is not None and of_class.samples >= sets.ENOUGH:
        usual *= of_class.mean / frame.sizes.mean
    found: dict[Place, float] = {}
    for name, place in given.come:
        if class_name is not None and name != class_name:
            continue
        known = [(at, counted[name, place]) for at, counted in come if (name, place) in counted]
        if (per_second := recent_rate(known)) is not None:
            size = given.sizes.get(place, 1.0) if class_name is None else 1.0
            found[place] = found.get(place, 0.0) + per_second * size * usual
    return found or None
