"""Stages that find what each replica carries: freshness, measurement, and what few requests say."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing.columns import Bools, Floats
from controlplane.balancing.frame import Frame
from controlplane.balancing.records import Given, recorded
from controlplane.balancing.table import BULK, DEFAULT
from controlplane.config import Policy
from controlplane.telemetry.sizes import Side

TRUSTED: Final = 20.0
"""Requests from which on a replica speaks for itself; the mean of fewer is mostly chance when
request sizes are heavy-tailed."""
SILENT: Final = 10.0
"""Seconds for which a replica may get no request, while others do, until what it showed fades."""
PLAIN: Final = 0.5
"""Part of what idle requests plainly show that a replica carries at least."""
PLAIN_SAMPLES: Final = 5.0
"""Requests that show it."""
LONGEST: Final = 0.999
"""Part of the requests that are no longer than what counts as the longest."""
UNKNOWN_LONGEST: Final = 20.0
"""Usual requests that the longest is taken for where no sizes are known."""
LENGTH_AFTER: Final = 100.0
"""Requests from which on their mean length is taken for the usual one."""
OTHER_LENGTH: Final = 1.1
"""Factor from which on requests have become longer or shorter, where only their bytes are known."""
USUAL_LENGTH: Final = 100.0
"""Tokens that a request is taken for where nobody knows; it cancels out."""
BYTES_PER_TOKEN: Final = 4.0
"""Of English text."""
AROUND: Final = 40.0
"""Bytes of a request that are no text: JSON with the name of a model."""
LEAST_TEXT: Final = 0.25
"""Part of a request that is text, at least."""
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


def lengths(frame: Frame) -> None:
    """Find how long the requests of each replica are.

    For ended requests, set their mean tokens and E[x²]/E[x]; for requests in flight, their mean and
    longest.
    """
    known = _usual_length(frame)
    usual = known if known is not None else USUAL_LENGTH
    threshold, of_all = frame.pool.division.threshold, frame.sizes
    sides: dict[str, tuple[Side, float]] = {}
    if of_all is not None and threshold is not None:
        split = of_all.split(threshold)
        below = 1 - split.requests_above
        sides[DEFAULT] = split.below, of_all.quantile(LONGEST * below)
        sides[BULK] = split.above, of_all.quantile(below + LONGEST * (1 - below))
    elif of_all is not None:
        for name, each in frame.class_sizes.items():
            sides[name] = each.whole, each.quantile(LONGEST)
    seen = {name: each for name, each in sides.items() if each[0].requests}
    means = {name: tokens_of(side.mean) for name, (side, _) in seen.items()}
    squares = {name: squares_of(side) for name, (side, _) in seen.items()}
    by_class = frame.table.mean_by_class(means)
    mean, square, longest = math.nan, math.nan, np.full(frame.size, UNKNOWN_LONGEST * usual)
    if of_all is not None and of_all.samples:
        mean, square = tokens_of(of_all.mean), squares_of(of_all.whole)
        longest = np.full(frame.size, tokens_of(of_all.quantile(LONGEST)))
    are_known = ~np.isnan(by_class)
    frame.length = np.where(are_known, by_class, usual)
    of_class = np.where(are_known, frame.table.mean_by_class(squares) / by_class, square / mean)
    frame.burst = of_class
    # What is computed now may be of another class than what has ended.
    tokens, count, most = (np.zeros(frame.size) for _ in range(3))
    for name, (_, large) in seen.items():
        in_flight = frame.table.in_flight(name)
        count += in_flight
        tokens += in_flight * means[name]
        most = np.where(in_flight > 0, np.maximum(most, tokens_of(large)), most)
    frame.in_flight_length = np.where(count > 0, tokens / np.maximum(count, 1.0), frame.length)
    frame.longest = np.where(count > 0, most, longest)


def _usual_length(frame: Frame) -> float | None:
    """Tokens of a request of the usual length.

    Where tokens are counted that is only a unit, so it stays what it was at first.
    """
    if frame.pool.counts_tokens:
        return frame.pool.length
    requests, tokens = frame.table.column("requests"), frame.table.column("tokens")
    known = frame.fresh & (tokens > 0) & (requests > 0)
    total = math.fsum(requests[known])
    if total >= LENGTH_AFTER:
        length = math.fsum(tokens[known]) / total
        frame.pool = replace(frame.pool, length=length, counts_tokens=True)
        return length
    nobody_counts = np.isnan(tokens[frame.alive]).all()
    if nobody_counts and frame.sizes is not None and frame.sizes.samples >= LENGTH_AFTER:
        length, before = tokens_of(frame.sizes.mean), frame.pool.length
        if before is None or not 1 / OTHER_LENGTH < length / before < OTHER_LENGTH:
            frame.pool = replace(frame.pool, length=length)
    return frame.pool.length


def tokens_of(size: float) -> float:
    """Tokens of a request, by the bytes of its body."""
    return max(size - AROUND, LEAST_TEXT * size) / BYTES_PER_TOKEN


def squares_of(side: Side) -> float:
    """Mean squared tokens of requests, by the bytes of their bodies."""
    square = side.squares / side.requests - 2 * AROUND * side.mean + AROUND**2
    return max(square / BYTES_PER_TOKEN**2, tokens_of(side.mean) ** 2)


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
