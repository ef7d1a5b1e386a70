"""Stages that take off what a replica must not be given: errors, failing, GPU memory, silence."""

from collections.abc import Mapping
from dataclasses import replace
from math import floor
from typing import Final

import numpy as np

from controlplane.balancing.capacity import FORGOTTEN, FROZEN, TRUSTED
from controlplane.balancing.columns import Bools, Floats
from controlplane.balancing.frame import TRAIL, Frame, State
from controlplane.balancing.table import Table

BUSY_LEAST: Final = 0.5
"""Utilisation that an idle replica is taken to have when its errors are weighed."""
ERRORS_LEAST: Final = 0.01
LARGEST_CUT: Final = 0.3
"""Part of a pool's ready replicas that may be cut; more would move the load onto the rest until
they fail too. From two replicas on one may always be cut, and never the last one."""
LEAST_MEMORY: Final = 0.05
"""What is left of a replica at its hard limit that may not be cut."""
FAILING: Final = 0.2
"""How much greater the part of its requests that fail is than that of all others, of a replica that
is left out. Where all fail alike, none is: the rest would only get more."""
FAILING_REQUESTS: Final = 10.0
"""Requests that show it."""
LEFT_OUT: Final = 10.0
"""Seconds for which such a replica gets nothing, the first time; then it has to show itself."""
LEFT_OUT_MOST: Final = 120.0
"""Seconds at most: each time is twice as long as the one before, unless it did well for as long."""
AHEAD: Final = 2.0
"""Intervals until less traffic shows in memory: one for the next reading, one for what is there."""


def errors(frame: Frame) -> None:
    """Take off what fails: errors are fast, and must not make a replica look so.

    ``(1 − e) · u / (u + e)`` for the error fraction e and the utilisation u. The second factor is
    ORCA's relative to no errors (gRFC A58); the first undoes that failures among the measured
    durations shorten their mean.
    """
    table = frame.table
    fraction = np.nan_to_num(table.column("errors"))
    known = np.clip(np.nan_to_num(table.column("samples")) / TRUSTED, 0.0, 1.0)
    failed = fraction * np.where(fraction >= 1, 1.0, known)
    in_flight = np.nan_to_num(table.column("rate") * table.column("latency"))
    used = np.clip(in_flight / frame.slots, BUSY_LEAST, 1.0)
    left = np.maximum((1 - failed) * used / (used + failed), ERRORS_LEAST)
    frame.after_errors = np.where(failed > 0, frame.mixed * left, frame.mixed)


def failing(frame: Frame) -> None:
    """Leave out for some time a replica whose requests fail far more often than those of others.

    An Envoy that sends it a request a second would take half a minute to notice that every second
    one fails; all Envoys together notice within two seconds.
    """
    state, table, now = frame.state, frame.table, frame.now
    of = np.where(frame.ready, table.column("failing_of"), 0.0)
    part = np.where(of > 0, table.column("failing"), np.nan)
    usual = _of_others(part, of, frame.alive)
    if (part >= FAILING).any():
        # Requests of one class may fail everywhere, so its replicas are compared with each other.
        for rows in frame.sets_before().values():
            own = _of_others(part, of, rows)
            usual = np.where(np.isnan(own), usual, own)
    frame.failing_usual = usual
    begins = (of >= FAILING_REQUESTS) & (part - usual >= FAILING) & ~is_left_out(state, now)
    again = now - state.failing_until < state.failing_for
    seconds = np.where(again, np.minimum(2 * state.failing_for, LEFT_OUT_MOST), LEFT_OUT)
    frame.state = replace(
        state,
        failing_for=np.where(begins, seconds, state.failing_for),
        failing_until=np.where(begins, now + seconds, state.failing_until),
    )


def _of_others(part: Floats, of: Floats, rows: Bools) -> Floats:
    """The part of requests that failed at all other replicas of a set; NaN where they had none."""
    of = np.where(rows, of, 0.0)
    failed = np.where(of > 0, part * of, 0.0)
    others = np.where(rows, of.sum() - of, 0.0)
    return np.asarray((failed.sum() - failed) / np.where(others > 0, others, np.nan))


def is_left_out(state: State, now: float) -> Bools:
    """Rows whose replica failed, and is to get nothing yet."""
    return np.asarray(now < state.failing_until)


def gpu_memory(frame: Frame) -> None:
    """Take less of a replica between soft and hard, and cut it at hard.

    Used GPU memory is high by design (caching allocators), so it says nothing in proportion; it
    only says when a replica is about to fail.
    """
    state, table, fraction = frame.state, frame.table, frame.memory_in_use
    limits = frame.settings.memory
    soft, hard = table.column("soft"), table.column("hard")
    frame.soft = soft = np.where(np.isnan(soft), limits.soft, soft)
    frame.hard = hard = np.where(np.isnan(hard), limits.hard, hard)
    known = ~np.isnan(fraction)
    wanted = state.wanted | (known & (fraction >= hard))
    below = known & wanted & (fraction < soft)
    since = np.where(below, np.fmin(state.below_since, frame.now), np.nan)
    over = below & (frame.now - since >= frame.patience)
    wanted &= ~over
    since = np.where(over, np.nan, since)
    cut = _within_limits(wanted, state.cut, fraction, frame)
    trail = _followed(state.trail, fraction, frame)
    ahead = AHEAD * frame.interval * _growth(trail)
    frame.state = replace(
        state, wanted=wanted, cut=cut, below_since=since, trail=trail, memory=fraction.copy()
    )
    frame.serving = frame.ready & ~cut
    full = np.nan_to_num(fraction, nan=0.0) + np.where(known, ahead, 0.0)
    left = np.maximum((hard - full) / (hard - soft), LEAST_MEMORY)
    takes = known & ~cut & (full >= soft)
    frame.after_memory = np.where(takes, frame.after_errors * left, frame.after_errors)


def _within_limits(wanted: Bools, was_cut: Bools, fraction: Floats, frame: Frame) -> Bools:
    """Cut replicas that should be cut, as many as a pool can spare.

    Failing replicas come first, then replicas that are cut already, then the fullest.
    """
    fails = is_left_out(frame.state, frame.now)
    wanted = wanted | fails
    if not (wanted | was_cut).any():
        return np.zeros(frame.size, np.bool_)
    ready = int(frame.ready.sum())
    most = max(floor(LARGEST_CUT * ready), 1) if ready > 1 else 0
    rows = [int(row) for row in np.flatnonzero(wanted & frame.ready)]
    fullness = np.nan_to_num(fraction)
    rows.sort(key=lambda row: (not fails[row], not was_cut[row], -fullness[row], frame.ids[row]))
    cut = wanted & ~frame.ready
    cut[rows[:most]] = True
    return np.asarray(cut)


def within_limits_again(frame: Frame) -> None:
    """Keep no more replicas cut than a pool can spare, where nothing is measured anew."""
    state = frame.state
    cut = _within_limits(state.wanted, state.cut, state.memory, frame)
    frame.state = replace(state, cut=cut)


def _followed(trail: Floats, fraction: Floats, frame: Frame) -> Floats:
    """With what is in use now, an interval after the last; nothing where that is not known."""
    known = ~np.isnan(fraction)
    if not known.any():
        return np.full_like(trail, np.nan)
    last = trail[:, -1, 0]
    due = known & ~(frame.now - last < 0.9 * frame.interval)
    found = np.where(known[:, None, None], trail, np.nan)
    found[due, :-1] = found[due, 1:]
    found[due, -1, 0], found[due, -1, 1] = frame.now, fraction[due]
    return found


def _growth(trail: Floats) -> Floats:
    """What is filled per second; of the two halves the slower one, so that a jump is no growth."""
    middle = TRAIL // 2
    (t0, first), (t1, half), (t2, last) = trail[:, 0].T, trail[:, middle].T, trail[:, -1].T
    with np.errstate(divide="ignore", invalid="ignore"):
        slower = np.minimum((half - first) / (t1 - t0), (last - half) / (t2 - t1))
    return np.asarray(np.maximum(np.nan_to_num(slower, nan=0.0), 0.0))


def silence(frame: Frame) -> None:
    """Move what is known of a silent replica towards the median, on a line of its logarithm."""
    counting = frame.counting()
    value = frame.after_memory
    frame.usual = float(np.median(value[counting])) if counting.any() else 1.0
    faded = np.clip((frame.age / frame.interval - FROZEN) / (FORGOTTEN - FROZEN), 0.0, 1.0)
    faded = np.where(frame.stale, faded, 0.0)
    aged = np.exp(np.log(value) * (1 - faded) + np.log(frame.usual) * faded)
    frame.aged = np.where(faded > 0, aged, value)


def memory_by_row(table: Table, gpus: Mapping[str, float], interval: float, now: float) -> Floats:
    """Part of GPU memory in use, of the fullest GPU that each replica is on; NaN: unknown.

    Args:
        table: Of the pool.
        gpus: In use by uuid and, of what registrars say, by `ReplicaInput.gpu_key`.
        interval: Seconds between two scrapes; a reading older than `FORGOTTEN` says nothing.
        now: Seconds of a monotonic clock.
    """
    found = np.full(table.size, np.nan)
    for id_, given in table.with_memory():
        keys = {key for uuid in given.gpus for key in (uuid, given.gpu_key(uuid))}
        known = [gpus[key] for key in keys if key in gpus]
        window, at = given.window, given.scraped_at
        if window is not None and at is not None and now - at <= FORGOTTEN * interval:
            known += [gpu.fraction for gpu in window.memory]
        if known:
            found[table.rows[id_]] = max(known)
    return found
