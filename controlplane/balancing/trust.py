"""The stage that asks Envoys whether a replica is as fast as it says.

A replica that reports durations of a microsecond would get all the traffic. Envoys measure, too:
how many requests end at each replica and how many are in flight there. What follows from that is
coarser than a replica's own metrics, but no replica can forge it. So beyond twice the pool's median
a replica gets at most twice what Envoys see.
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing import evidence
from controlplane.balancing.capacity import TRUSTED
from controlplane.balancing.evidence import BUDGET, OVERHEAD, Counted
from controlplane.balancing.frame import Frame
from controlplane.balancing.table import Floats

MEMORY: Final = 20.0
"""Seconds over which the counts of Envoys fade."""
MOST: Final = 2.0
"""Times what Envoys see, or the pool's median, that a replica's own word may bring it."""


def seen(frame: Frame) -> None:
    """Take in what Envoys count, and find how large a share that backs."""
    table, state = frame.table, frame.state
    at, ended, in_flight = (table.column(each) for each in ("reported_at", "ended", "reported"))
    before_at, before_ended, before_in_flight = state.counted.T
    elapsed, grown = at - before_at, ended - before_ended
    goes_on = (elapsed > 0) & (grown >= 0)
    passed = np.where(goes_on, elapsed, 0.0)
    added = np.column_stack([np.where(goes_on, grown, 0.0), before_in_flight * passed, passed])
    faded = state.seen * np.exp(-passed / MEMORY)[:, None]
    sums = np.where(goes_on[:, None], faded + added, faded)
    counted = np.column_stack([at, ended, in_flight])
    frame.state = replace(state, seen=sums, counted=counted)
    frame.backed = _backed(frame, sums)


def _backed(frame: Frame, sums: Floats) -> Floats:
    """The share relative to the median that Envoys back; infinite where no Envoy reports."""
    if np.isnan(frame.table.column("reported")[frame.alive]).all():
        return np.full(frame.size, math.inf)
    known = sums[:, 0] >= TRUSTED
    with np.errstate(divide="ignore", invalid="ignore"):
        capacity = _capacity(frame, sums)
    found = capacity[known & frame.serving & ~np.isnan(capacity)]
    usual = float(np.median(found)) if len(found) else math.nan
    # A replica of which they have seen little, as after a restart, keeps what it has.
    little = np.fmax(frame.state.relative, MOST)
    return np.where(known, MOST * np.fmax(capacity / usual, 1.0), little)


def _capacity(frame: Frame, sums: Floats) -> Floats:
    """Tokens per second that each carries, by the counts of Envoys alone."""
    requests, seconds, elapsed = sums.T
    unknown = np.full(frame.size, math.nan)
    counted = Counted(
        requests, seconds, elapsed, requests * frame.length, *[unknown] * 9
    ).completed()
    sharing, size = np.ones(frame.size), frame.size
    by_batches = evidence.by_batches(
        counted, np.full(size, OVERHEAD), BUDGET, np.ones(size), np.ones(size, np.bool_)
    )
    declared = np.isfinite(frame.table.column("slots"))
    by_slots = evidence.by_slots(counted, frame.slots, sharing, frame.length)
    _, busy, work = np.where(declared[:, None], by_slots, by_batches).T
    queue = np.where(declared, math.nan, evidence.by_queue(counted, frame.burst, sharing))
    found: Floats = np.fmax(work / busy, queue)
    return found
