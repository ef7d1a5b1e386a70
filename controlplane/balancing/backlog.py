"""Stages that look at the work that waits: one replica that has far too much, tiers that differ.

Shares follow from what replicas carry, which is right over many requests. What has come too much so
far waits in line, and that is known at once, while a latency tells of it only when it is over.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing.capacity import FROZEN
from controlplane.balancing.columns import Bools, Floats
from controlplane.balancing.frame import Backlog, Frame
from controlplane.balancing.gauges import lengths, tokens_each
from controlplane.balancing.headroom import CEILING, FLOOR
from controlplane.balancing.shares import indispensable
from controlplane.balancing.table import DEFAULT
from controlplane.telemetry.load import report_interval

SLACK: Final = 6.0
"""Mean remaining requests (E[x²]/E[x]) of work in line that chance explains at a usual replica."""
LEAST_BATCHES: Final = 2.0
"""Full batches of work in line that are nothing unusual."""
UNEVEN: Final = math.e
"""E[x²]/E[x]² of lognormal sizes with sigma 1, which are assumed until sizes are known."""
TIMES: Final = 3.0
"""How many times as long as usual a line may take to be served."""
LONGEST: Final = 30.0
"""Seconds for which a line keeps a replica back at most that nobody has seen again."""
NEXT_TO_NOTHING: Final = 0.001
"""Of the median: what such a replica gets. Its line tells when it is gone, so no requests have to;
the hundredth part of the requests that wait in it would be the p99 of all."""
OVER: Final = 0.25
"""Part of that slack to which a line must come down until it keeps nothing back any more."""

MOST: Final = 0.75
"""Part of its traffic that a tier may get more or less: the counts may be wrong."""
LEAST: Final = 0.05
"""Smallest change of that part that is worth telling Envoys."""
HORIZON: Final = 2.0
"""Times after which a line that was read has changed traffic, in which a difference between lines
is to be gone: proportional control of an integrator is stable from about there on."""
SOONEST: Final = 0.2
"""That time at least, seconds."""


def waiting(frame: Frame) -> None:
    """Find how many seconds of work each replica has; NaN where nobody counts."""
    table, now = frame.table, frame.now
    oldest = now - FROZEN * frame.interval
    own_at, seen_at = table.column("queue_at"), table.column("reported_at")
    own = np.where(own_at >= oldest, frame.own * tokens_each(frame), np.nan)
    seen = np.where(seen_at >= oldest, _reported_tokens(frame), np.nan)
    # Its own count is complete, but as old as its last scrape. That of Envoys is newer, but they
    # forget what they sent to a replica that changed its tier, and one may be stuck: it counts as
    # far as the other can have become it since, at the pace of the replica.
    since = frame.mixed * np.maximum(now - own_at, 0.0)
    both = np.minimum(np.maximum(seen, own - since), own + since)
    tokens = np.where(np.isnan(own), seen, np.where(np.isnan(seen), own, both))
    computed = np.where(_are_batches(frame), 0.0, frame.slots * lengths(frame))
    frame.waits = np.maximum(tokens - computed, 0.0) / frame.mixed


def _batched(frame: Frame) -> bool:
    return bool(_are_batches(frame)[frame.alive].any())


def _are_batches(frame: Frame) -> Bools:
    return frame.state.records.shapes.batched


def _reported_tokens(frame: Frame) -> Floats:
    """Tokens that Envoys have in flight at each replica."""
    reported = frame.table.column("reported")
    demand = frame.demand
    names = [name for name in frame.table.class_names() if name != DEFAULT]
    if demand is None or not names or not demand.flows.keys() >= {DEFAULT, *names}:
        return reported * lengths(frame)
    by_class = {name: frame.table.in_flight(name) for name in names}
    rest = np.maximum(reported - sum(by_class.values(), np.zeros(frame.size)), 0.0)
    tokens = rest * demand.flows[DEFAULT].mean
    for name, count in by_class.items():
        tokens += count * demand.flows[name].mean
    return tokens


def overload(frame: Frame) -> None:
    """Keep a replica at its minimum while it has far more work than its capacity explains."""
    state, waits, now = frame.state, frame.waits, frame.now
    known = frame.serving & ~np.isnan(waits)
    frame.after_overload = frame.after_start
    frame.overloaded = np.zeros(frame.size, np.bool_)
    line, line_at = np.full(frame.size, np.nan), np.full(frame.size, np.nan)
    is_complete = now - frame.table.column("queue_at") <= FROZEN * frame.interval
    for name, rows in frame.sets_before().items():
        some = rows & known
        if not some.any():
            continue
        # A replica that starts slowly gets little: its short line is no measure for the others.
        warm = some & ~frame.starting
        ordered = np.sort(waits[warm if warm.any() else some])
        usual = float(ordered[(len(ordered) - 1) // 2])
        least = LEAST_BATCHES * frame.state.records.shapes.usual() if _batched(frame) else 0.0
        slack = max(SLACK * _remaining(frame, name, rows), least) / float(
            np.median(frame.mixed[some])
        )
        before = ~np.isnan(state.line)
        limit = np.where(before, OVER * slack + usual, slack + TIMES * usual)
        over = some & (waits > limit)
        # The line of before is given the time that it takes, unless the replica itself says that it
        # is gone: Envoys forget it when the replica gets a tier of its own.
        held = some & before & ~over & (now < state.line_at + np.minimum(state.line, LONGEST))
        held &= ~(is_complete & (waits <= OVER * slack))
        line = np.where(over, waits, np.where(held, state.line, line))
        line_at = np.where(over, now, np.where(held, state.line_at, line_at))
        frame.overloaded |= over | held
    lowest = np.where(frame.untried, FLOOR, NEXT_TO_NOTHING)
    # What the others cannot carry would only wait there, and make them overloaded in turn.
    part = indispensable(frame, frame.overloaded, 1.0)
    lowest = np.maximum(lowest, part * frame.after_start)
    frame.after_overload = np.where(
        frame.overloaded, np.minimum(frame.after_start, lowest), frame.after_start
    )
    frame.state = replace(state, line=line, line_at=line_at)


def _remaining(frame: Frame, name: str | None, rows: Bools) -> float:
    """Tokens that a request of a class has left on average when another one meets it: E[x²]/E[x].

    Args:
        frame: Of the decision.
        name: Of the class; None: of all requests.
        rows: Whose requests count where the sizes of requests are unknown.
    """
    demand = frame.demand
    if demand is None:
        return UNEVEN * float(np.median(lengths(frame)[rows]))
    flow = demand.flows.get(name, demand.all) if name is not None else demand.all
    return flow.square / flow.mean


def reaction_time(frame: Frame) -> float:
    """Return the seconds until a change of traffic shows in what waits, and is acted upon."""
    table = frame.table
    reported = report_interval(frame.envoys or 1, len(table))
    times = []
    for seconds, name in ((frame.interval, "queue"), (reported, "reported")):
        if not np.isnan(table.column(name)[frame.serving]).any():
            times.append(seconds)
    seen = min(times, default=max(frame.interval, reported))
    return HORIZON * max(seen, SOONEST)


def horizon(frame: Frame, class_name: str, rows: Bools) -> float:
    """Seconds in which a difference between the lines of the replicas of a class is to be gone."""
    # A line that is one request longer is no backlog.
    of_class = class_name if class_name in frame.sets_before() else None
    one = _remaining(frame, of_class, rows) / float(np.median(frame.mixed[rows]))
    return max(reaction_time(frame), one)


def leans(
    frame: Frame,
    class_name: str,
    rows: Bools,
    shares: Floats,
    before: Mapping[tuple[str, str], Backlog],
) -> dict[tuple[str, str], Backlog]:
    """How tiers of one set lean for now: ``1 + (usual − own) / horizon``, within limits.

    Args:
        frame: Of the decision, with tiers and waits.
        class_name: Of the set.
        rows: That belong to it and may get requests.
        shares: Of each, relative to the others.
        before: What was decided last.
    """
    counting = rows & ~np.isnan(frame.waits) & ~frame.starting & ~frame.overloaded
    tier, names = frame.tiers[class_name]
    tiers = np.unique(tier[counting])
    if len(tiers) < 2:
        return {}
    seconds = horizon(frame, class_name, counting)
    usual = float(np.average(frame.waits[counting], weights=shares[counting]))
    found = {}
    for each in tiers.tolist():
        own = counting & (tier == each)
        line = float(np.average(frame.waits[own], weights=shares[own]))
        wanted = min(max(1 + (usual - line) / seconds, 1 - MOST), 1 + MOST)
        key = (class_name, names[each])
        old = before.get(key)
        # Two limits, so that one that hovers about the first does not come and go.
        if abs(wanted - 1) < (LEAST if old is None else LEAST / 2):
            continue
        is_noise = old is not None and abs(wanted - old.factor) < LEAST
        found[key] = old if old is not None and is_noise else Backlog(wanted, line, usual)
    return found


def leaned(share: float, backlog: Backlog | None) -> float:
    """What is left of a share, within the limits of all shares."""
    return share if backlog is None else min(max(share * backlog.factor, FLOOR), CEILING)
