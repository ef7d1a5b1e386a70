"""Stages from capacities to shares: relative to the median, slow start, damping, headroom."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing.columns import Bools, Floats
from controlplane.balancing.frame import Frame
from controlplane.balancing.headroom import CEILING, FLOOR, LEAST_BUSY, QUANTUM

EQUAL_WITHIN, EQUAL_UNTIL = 0.15, 0.22
"""Replicas of one kind differ by so much by chance. They become equal within the first limit and
stop being so beyond the second, so that a pool at the limit does not flap."""
STEP_DOWN, STEP_UP = 0.5, 1.5
"""What one scrape interval may change a share by."""
START_STEPS: Final = 5
"""Steps of a slow start; each one makes every Envoy rebuild its load balancer."""
BUSY_MOST: Final = 0.8
"""Utilisation that a slow start may bring the other replicas to. A replica that starts gets more
where they would be busier."""
JUST_FELL: Final = 5.0
"""Seconds for which a capacity that was seen to fall is followed at once."""


def relative(frame: Frame) -> None:
    """Relate capacities to the median, within limits; all are 1 where the pool is about equal."""
    frame.to_median = frame.aged / frame.usual
    some = frame.to_median[frame.serving]
    limit = 1 + (EQUAL_UNTIL if frame.pool.equal else EQUAL_WITHIN)
    equal = bool(((some >= 1 / limit) & (some <= limit)).all())
    target = np.clip(frame.to_median, FLOOR, CEILING)
    frame.target = np.where(frame.serving & equal, 1.0, target)
    frame.pool = replace(frame.pool, equal=equal)


def slow_start(frame: Frame) -> None:
    """Give a replica that has just become ready a part of its share, and more step by step.

    The others carry what it is spared. Where they cannot, it starts faster.
    """
    seconds, state = frame.settings.balancing.slow_start, frame.state
    began = frame.table.column("ready_since")
    frame.warmth = np.ones(frame.size)
    if seconds is not None:
        passed = (frame.now - began) / seconds
        # One that is drained meanwhile stays in its tier: in another, Envoy would make it anew.
        cold = frame.alive & (passed < 1)
        all_start = bool(frame.serving.any() and cold[frame.serving].all())
        needed = 0.0 if all_start else indispensable(frame, cold & frame.serving, BUSY_MOST)
        step = np.floor(np.maximum(passed, 0.0) * START_STEPS) + 1
        step = np.maximum(step, math.ceil(needed * (START_STEPS + 1)))
        # A replica that has got more is not held back again when the load falls for a moment.
        reached = np.where(state.began == began, state.warmth, 0.0)
        part = np.maximum(step / (START_STEPS + 1), reached)
        if all_start:
            # Shares are relative: the one that has come furthest is as good as warm.
            part = part / part[frame.serving].max()
        frame.warmth = np.where(cold, np.minimum(part, 1.0), 1.0)
    frame.starting = frame.warmth < 1
    warmed = np.maximum(frame.target * frame.warmth, FLOOR)
    frame.after_start = np.where(frame.starting, warmed, frame.target)
    frame.state = replace(state, warmth=frame.warmth, began=began.copy())


def indispensable(frame: Frame, rows: Bools, most: float) -> float:
    """The part of what some replicas carry that the others cannot carry for them, 0 to 1.

    Args:
        frame: Of the decision.
        rows: These replicas.
        most: Utilisation that the others may be brought to.
    """
    spared = math.fsum(frame.target[rows])
    if not spared:
        return 0.0
    # A replica that does not answer carries nothing, whether or not Envoys know it yet.
    others = frame.counting() & ~rows
    carried = math.fsum(frame.target[others])
    if not carried:
        return 1.0
    wanted = _busy(frame, rows | others) / most * (carried + spared)
    return min(max((wanted - carried) / spared, 0.0), 1.0)


def _busy(frame: Frame, rows: Bools) -> float:
    """The part of what these replicas carry that is asked of the pool, as far as it is known."""
    rates = frame.table.column("rate")[rows]
    rate = max(frame.rate_of(None) or 0.0, math.fsum(rates[~np.isnan(rates)]))
    if frame.median is None:
        return LEAST_BUSY
    length = float(np.median(frame.length[rows]))
    return rate * length / math.fsum(frame.aged[rows])


def damping(frame: Frame) -> None:
    """Let shares move step by step: down to a half and up by a half in a scrape interval.

    Steps compose: a pool that is decided ten times in an interval moves as far as one that is
    decided once. What is sure is not slowed down.
    """
    before, target = frame.state.relative, frame.after_overload
    part = 1.0 if frame.since is None else min(max(frame.since / frame.interval, 0.0), 1.0)
    moved = np.clip(target, before * STEP_DOWN**part, np.maximum(before, FLOOR) * STEP_UP**part)
    records = frame.state.records
    fell = (records.factor < 1) & (frame.now - records.changed_at <= JUST_FELL)
    at_once = (target < before) & ((target < frame.target) | fell)
    found = np.where(np.isnan(before) | at_once, target, moved)
    frame.relative = np.where(frame.state.cut & ~np.isnan(before), before, found)
    frame.state = replace(frame.state, relative=frame.relative)


def work_rate(frame: Frame) -> Floats:
    """Tokens per second that each replica serves."""
    if frame.pool.counts_tokens:
        return frame.table.column("token_rate")
    return frame.table.column("rate") * frame.length


def utilisation(frame: Frame) -> None:
    """How busy the pool is; unchanged until most of it has been measured."""
    rate = work_rate(frame)
    known = frame.serving & frame.fresh & (frame.worth >= 1) & ~np.isnan(rate)
    if known.sum() * 2 <= frame.serving.sum():
        return
    total, capacity = math.fsum(rate[known]), math.fsum(frame.mixed[known])
    if total <= 0 or capacity <= 0:
        return
    now = min(max(total / capacity, LEAST_BUSY), 1.0)
    if frame.pool.used is None or abs(now - frame.pool.used) >= QUANTUM:
        frame.pool = replace(frame.pool, used=round(now / QUANTUM) * QUANTUM)
