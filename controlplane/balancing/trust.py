"""The stage that asks Envoys whether a replica carries as much as it says.

A replica that reports durations of a microsecond would get all the traffic. Envoys measure, too:
how many requests end at each replica and how many are in flight there. What follows from that is
coarser than a replica's own metrics, but no replica can forge it. So beyond twice the pool's median
a replica is taken to carry at most twice what Envoys see.
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing import evidence
from controlplane.balancing.capacity import TRUSTED, sharing_of
from controlplane.balancing.columns import Bools, Floats
from controlplane.balancing.evidence import BUDGET, OVERHEAD, Counted
from controlplane.balancing.frame import Frame

MEMORY: Final = 10.0
"""Seconds over which the counts of Envoys fade."""
FADES_TO: Final = 3 * TRUSTED
"""Requests that do not fade: replicas with little traffic are what the others are held against."""
MOST: Final = 2.0
"""Times what Envoys see, or the pool's median, that a replica's own word counts for."""
JUST_CHANGED: Final = 1.0
"""Seconds after a change in which their counts begin anew."""
FEWEST: Final = 3
"""Replicas of one class that tell how far the counts of Envoys are off."""
LONGER: Final = 4.0
"""Times as long as in the middle of the pool that requests take where a replica has too many."""
ALONE: Final = 0.5
"""Part of the truth that their counts are taken to show where a class has fewer replicas."""


def seen(frame: Frame) -> None:
    """Take in what Envoys count, and limit capacities to what that backs."""
    table, state = frame.table, frame.state
    at, ended, in_flight = (table.column(each) for each in ("reported_at", "ended", "reported"))
    before_at, before_ended, before_in_flight = state.counted.T
    elapsed, grown = at - before_at, ended - before_ended
    goes_on = (elapsed > 0) & (grown >= 0)
    passed = np.where(goes_on, elapsed, 0.0)
    ends = np.where(goes_on, grown, 0.0)
    added = np.column_stack([ends, before_in_flight * passed, passed, ends * frame.length])
    requests = np.maximum(state.seen[:, 0], 1e-9)
    left = np.minimum(np.maximum(np.exp(-passed / MEMORY), FADES_TO / requests), 1.0)
    faded = state.seen * left[:, None]
    sums = np.where(goes_on[:, None], faded + added, faded)
    # What they counted before a replica changed says nothing about it now.
    sums[frame.now - frame.state.records.changed_at <= JUST_CHANGED] = 0.0
    counted = np.column_stack([at, ended, in_flight])
    frame.state = replace(state, seen=sums, counted=counted)
    frame.claimed = frame.mixed
    if frame.median is not None and not np.isnan(ended[frame.alive]).all():
        # Of two halves the slower one: the other may be of liars.
        claimed = np.sort(frame.claimed[frame.alive])
        median = min(frame.median, float(claimed[(len(claimed) - 1) // 2]))
        frame.mixed = np.minimum(frame.claimed, _backed(frame, sums, median))


def _backed(frame: Frame, sums: Floats, median: float) -> Floats:
    """Tokens per second that Envoys back."""
    known = frame.alive & (sums[:, 0] >= TRUSTED)
    with np.errstate(divide="ignore", invalid="ignore"):
        capacity = _capacity(frame, sums)
        ratio = capacity / frame.claimed
    # An error that all counts share is the same for all replicas of one class. Fewer than half of
    # the replicas may be the liars themselves, and of two halves one is.
    usual = np.full(frame.size, math.nan)
    few, sets = np.zeros(frame.size, np.bool_), [*frame.sets_before().values()]
    for rows in sets:
        some = np.sort(ratio[rows & known & ~np.isnan(ratio)])
        if len(sets) > 1 and rows.sum() < FEWEST:
            usual[rows], few[rows] = ALONE, True
        elif len(some) * 2 > rows.sum():
            usual[rows] = some[len(some) // 2]
    # A replica with few counted requests, as after a restart, keeps what it has.
    is_backed = known & ~np.isnan(usual)
    present = np.nan_to_num(frame.state.relative) * median
    backed = np.where(is_backed, MOST * capacity / usual, present)
    backed = np.where(few, np.fmax(backed, present), backed).clip(min=MOST * median)
    # A full server computes the largest batches, and so looks the fastest by what ends there. One
    # whose requests wait far longer than elsewhere is given no more on its own word.
    return np.where(_is_waited_for(known, sums), np.minimum(backed, median), backed)


def _is_waited_for(known: Bools, sums: Floats) -> Bools:
    """Where requests take far longer by the counts of Envoys than in the middle of the pool."""
    requests, seconds, _, tokens = np.maximum(sums, 1e-9).T
    if known.sum() < FEWEST:
        return np.zeros(len(known), np.bool_)
    length = tokens / requests
    longer = np.maximum(length / np.median(length[known]), 1.0)
    took = seconds / requests / longer
    return np.asarray(known & (took > LONGER * np.median(took[known])))


def _capacity(frame: Frame, sums: Floats) -> Floats:
    """Tokens per second that each carries, by the counts of Envoys alone."""
    requests, seconds, elapsed, tokens = sums.T
    unknown = np.full(frame.size, math.nan)
    counted = Counted(requests, seconds, elapsed, tokens, *[unknown] * 9).completed()
    sharing, size = sharing_of(frame), frame.size
    by_batches = evidence.by_batches(
        counted, np.full(size, OVERHEAD), BUDGET, np.ones(size), np.ones(size)
    )
    declared = np.isfinite(frame.table.column("slots"))
    by_slots = evidence.by_slots(counted, frame.slots, sharing, frame.length)
    _, busy, work = np.where(declared[:, None], by_slots, by_batches).T
    queue = np.where(declared, math.nan, evidence.by_queue(counted, frame.burst, sharing))
    found: Floats = np.fmax(work / busy, queue)
    return found
