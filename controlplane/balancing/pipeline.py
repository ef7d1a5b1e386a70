"""A pool's decision: what was decided before and what is known now in, the next decision out.

`STAGES` lists every rule in its order. Each is a function that reads columns of the frame and
writes its own; there is one path for every pool, measured or not, of three replicas or of ten
thousand. A rule is to stand here only if p99 is worse by more than 3 % somewhere without it; what
has been measured of that is in docs/decisions/0021-one-pipeline.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing import (
    backlog,
    capacity,
    gauges,
    guards,
    sets,
    shares,
    tiers,
    trust,
)
from controlplane.balancing.decision import ClassDecision, Decision
from controlplane.balancing.frame import MEDIAN_WEIGHT, Frame, PoolState, State
from controlplane.balancing.parting import Looked
from controlplane.balancing.table import Table
from controlplane.config import WEIGHED, PoolSettings
from controlplane.telemetry.sizes import Sizes

Stage = Callable[[Frame], None]

_SILENT: Final = (
    "Most replicas cannot be scraped; the control plane may be at fault. Weights are frozen."
)

STAGES: Final[tuple[Stage, ...]] = (
    capacity.freshness,
    capacity.lengths,
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
    capacity.lengths,
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
        frame.held = None
        return _unweighed(frame)
    if before is not None and frame.held is not None:
        _keep(frame, before)
    else:
        for stage in stages:
            stage(frame)
    return _decision(frame)


def _keep(frame: Frame, decision: Decision) -> None:
    """Leave every known replica with what it had; newcomers are usual ones."""
    capacity.freshness(frame)
    capacity.lengths(frame)
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
    frame.looked = frame.pool.looked if sets.may_part(frame) else Looked()
    frame.state = replace(state, relative=frame.relative)
    division = frame.pool.division if frame.settings.classes is not None else None
    frame.pool = replace(frame.pool, backlogs={}, looked=frame.looked, division=division)
    if decision.policy == frame.settings.balancing.policy:
        tiers.names_as_before(frame, decision.tier, decision.tier_names, ~np.isnan(before))
    else:
        tiers.names(frame)
    sets.divide(frame)


def _decision(frame: Frame) -> Decision:
    table = frame.table
    parts = sets.class_parts(frame)
    parting = frame.looked.parting
    titles = sets.titles(frame.settings, parting)
    classes = tuple(
        ClassDecision(name, titles[name], weights, frame.shares[name], parts[name])
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
        parting=parting,
        suspect=frame.suspect,
        moving=bool(
            going.any()
            or frame.starting.any()
            or guards.is_left_out(frame.state, frame.now).any()
            or (~np.isnan(line[frame.alive])).any()
            or (parting is not None and not classes)
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
        parting=None,
        suspect=frame.suspect,
        moving=bool(guards.is_left_out(frame.state, frame.now).any()),
        state=frame.state,
        pool=replace(frame.pool, equal=True, anchor=0.0),
        frame=frame,
    )
