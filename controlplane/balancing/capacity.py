"""Stages that find what each replica carries: freshness, measurement, and what few requests say."""

from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing.columns import Bools, Floats
from controlplane.balancing.frame import Frame
from controlplane.balancing.records import Given, recorded
from controlplane.config import Policy

TRUSTED: Final = 20.0
"""Requests from which on a replica speaks for itself; the mean of fewer is mostly chance when
request sizes are heavy-tailed."""
SILENT: Final = 10.0
"""Seconds for which a replica may get no request, while others do, until what it showed fades."""
PLAIN: Final = 0.5
"""Part of what idle requests plainly show that a replica carries at least."""
PLAIN_SAMPLES: Final = 5.0
"""Requests that show it."""
FROZEN: Final = 3.0
"""Scrape intervals without a good scrape for which nothing changes."""
FORGOTTEN: Final = 10.0
"""Scrape intervals after which nothing that a replica once said counts."""
SHARING: Final[frozenset[Policy]] = frozenset({"capacity-tiers", "least-request"})
"""Policies with which Envoy gives each request to the shortest queue: of its tier, or of all."""


def freshness(frame: Frame) -> None:
    """Find out whose readings are too old."""
    scraped = frame.table.column("scraped_at")
    frame.age = frame.now - scraped
    frame.stale = frame.alive & (frame.age > FROZEN * frame.interval)
    frame.fresh = frame.ready & ~frame.stale


def is_suspect(age: Floats, interval: float) -> bool:
    """Whether more than half of the replicas that were ever scraped are stale.

    Then the control plane is more likely at fault than all of them ("if everyone else looks ill,
    suspect yourself": Lifeguard, Dadgar, Phillips and Currey, 2018).
    """
    known = age[~np.isnan(age)]
    return bool((known > FROZEN * interval).sum() * 2 > len(known))


def measured(frame: Frame) -> None:
    """Take in new readings; find what each replica's own requests say."""
    table, before = frame.table, frame.state.records
    declared = table.column("slots")
    frame.slots = np.fmax(declared, 1.0)
    median = _median(frame, before.capacity, before.worth)
    known = Given(
        declared,
        sharing_of(frame),
        frame.length,
        frame.in_flight_length,
        frame.longest,
        frame.burst,
        _idle(frame),
        frame.own,
    )
    records = recorded(before, table, known, median)
    frame.state = replace(frame.state, records=records)
    frame.measured, frame.worth = records.capacity, records.worth


def mixed(frame: Frame) -> None:
    """Mix what few requests say with what was known before, or with the pool's median."""
    records, own = frame.state.records, frame.measured
    spoke = records.spoke_at
    latest = float(np.nanmax(spoke)) if not np.isnan(spoke).all() else frame.now
    lag = np.nan_to_num(latest - spoke, nan=0.0)
    worth = frame.worth * np.exp(-np.maximum(lag - SILENT, 0.0) / SILENT)
    plain = _plainly_shown(frame)
    own = np.fmax(own, PLAIN * plain)
    median = _median(frame, own, np.where(np.isnan(records.before), worth, TRUSTED))
    frame.median = median
    base = np.where(np.isnan(records.before), np.nan if median is None else median, records.before)
    share = np.clip(worth / TRUSTED, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.exp(np.log(base) * (1 - share) + np.log(own) * share)
    found = np.where(np.isnan(own) | (worth == 0), base, np.where(np.isnan(base), own, between))
    found = np.where((share >= 1) & ~np.isnan(own), own, found)
    frame.worth = worth
    frame.mixed = np.where(np.isnan(found), 1.0, found)


def _median(frame: Frame, capacity: Floats, worth: Floats) -> float | None:
    """Median of the replicas with enough evidence; of all with any where none has enough."""
    known = frame.alive & ~np.isnan(capacity)
    trusted = known & (worth >= TRUSTED)
    for rows in (trusted & frame.fresh, trusted, known & (worth > 0)):
        if rows.any():
            return float(np.median(capacity[rows]))
    return None


def _plainly_shown(frame: Frame) -> Floats:
    """What mean durations show at least: a request takes no less than its own work."""
    table = frame.table
    samples, rate, tokens = (table.column(name) for name in ("samples", "rate", "length"))
    latency = _latency(frame)
    length = np.where(np.isnan(tokens), frame.length, tokens)
    shows = (samples >= PLAIN_SAMPLES) & (rate * latency < 1) & (latency > 0)
    return np.where(shows, length / np.where(shows, latency, 1.0), np.nan)


def _latency(frame: Frame) -> Floats:
    return frame.table.column("latency")


def sharing_of(frame: Frame) -> Floats:
    """How many replicas are as good as one queue, by row."""
    if frame.settings.balancing.policy not in SHARING:
        return np.ones(frame.size)
    band = frame.state.band if frame.settings.balancing.policy == "capacity-tiers" else None
    if band is None:
        others = np.full(frame.size, max(int(frame.ready.sum()) - 1, 0))
    else:
        _, group = np.unique(band, return_inverse=True)
        counts = np.bincount(group, weights=frame.ready.astype(float))
        others = np.maximum(counts[group] - 1, 0)
    if frame.since is None:
        return np.ones(frame.size)
    dispatchers = np.full(frame.size, max(frame.envoys or 1, 1))
    if frame.settings.gateways:
        for name, rows in frame.sets_before().items():
            if name is not None:
                dispatchers[rows] = frame.dispatchers(name)
    sharing: Floats = 1 + others / dispatchers
    return sharing


def is_timed(frame: Frame) -> Bools:
    """Rows whose slots are declared, or whose server times its batches.

    The capacity of the others is worked out from latency, as if they computed batches.
    """
    slots, timed = frame.table.column("slots"), frame.table.column("batch_seconds")
    return ~np.isnan(slots) | ~np.isnan(timed)


def _idle(frame: Frame) -> Bools:
    """Rows with nothing in flight, by all who count; each of them overlooks something."""
    queue, reported = frame.own, frame.table.column("reported")
    counted = ~np.isnan(queue) | ~np.isnan(reported)
    return np.asarray(counted & ~(queue > 0) & ~(reported > 0))
