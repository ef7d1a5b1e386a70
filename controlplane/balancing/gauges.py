"""Whether a replica's own count of what it has is believed: gauges stick, and some leak.

A gauge that is incremented when a request comes and decremented when it ends keeps what ends in
another way: a client that hangs up, a task that is cancelled. From then on it says too much for
ever. Envoys know what they have in flight, and durations say how much there was at a time.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing.capacity import FROZEN
from controlplane.balancing.columns import Bools, Floats
from controlplane.balancing.frame import Frame
from controlplane.balancing.lengths import USUAL_LENGTH

STUCK, STUCK_AFTER = 2.0, 6.0
"""Requests and scrape intervals that end while a gauge stays exactly as it is."""
LEAKS_AFTER: Final = 30.0
"""Seconds for which a gauge says far too much without a break: every queue is short at times."""
ENDED: Final = 20.0
"""Requests that end meanwhile: the replica works."""
TIMES: Final = 3.0
"""Times what Envoys have in flight, and what durations say was there, that are far too much:
requests in flight are longer than others, and Envoys are asked at another moment."""
FEW: Final = 8.0
"""Requests, beyond that, which chance explains."""


def believed(frame: Frame) -> None:
    """Find what each replica has by its own count; NaN where nobody counts, or wrongly."""
    table = frame.table
    reported = table.column("reported")
    known = table.column("reported_at") >= frame.now - FROZEN * frame.interval
    wrong = _sticks(frame) | _leaks(frame)
    frame.disbelieved = wrong & known & ~np.isnan(reported)
    # Only requests can tell a gauge that sticks from a replica that hangs.
    unmoved = table.column("queue_at") - frame.state.gauge_at >= STUCK_AFTER * frame.interval
    frame.untried = unmoved & known & (reported == 0)
    frame.own = np.where(frame.disbelieved, np.nan, table.column("queue"))


def lengths(frame: Frame) -> Floats:
    """Tokens of a request, at each replica lately."""
    length = frame.table.column("length")
    return np.where(np.isnan(length), frame.length, length)


def tokens_each(frame: Frame) -> Floats:
    """Tokens of what a replica counts: of texts, or of requests."""
    table = frame.table
    tokens, texts = table.column("batch_tokens"), table.column("texts")
    with np.errstate(divide="ignore", invalid="ignore"):
        of_text = np.where(texts > 0, tokens / texts, lengths(frame))
    each = np.where(table.column("queue_texts") == 1, of_text, lengths(frame))
    return np.where(np.isnan(each), USUAL_LENGTH, each)


def _sticks(frame: Frame) -> Bools:
    """Rows whose count does not move though requests end."""
    state, table = frame.state, frame.table
    gauge, read_at, ended = (table.column(name) for name in ("queue", "queue_at", "requests"))
    # Counters that begin anew count from there.
    same = (gauge == state.gauge) & (ended >= state.gauge_ended)
    at = np.where(same, state.gauge_at, read_at)
    before = np.where(same, state.gauge_ended, ended)
    frame.state = replace(state, gauge=gauge.copy(), gauge_at=at, gauge_ended=before)
    lasts = read_at - at >= STUCK_AFTER * frame.interval
    # One that is always there may be another one each time.
    more = gauge * tokens_each(frame) > (table.column("reported") + 1.0) * lengths(frame)
    return np.asarray(more & lasts & (ended - before >= STUCK))


def _leaks(frame: Frame) -> Bools:
    """Rows whose count has long been far above what there can be."""
    state, table = frame.state, frame.table
    read_at, ended = table.column("queue_at"), table.column("requests")
    # By durations: L = X·R, of all clients and not only of Envoys (Little's law).
    at_a_time = np.nan_to_num(table.column("rate") * table.column("latency"))
    there = np.fmax(table.column("reported"), at_a_time) * lengths(frame)
    most = TIMES * there + FEW * lengths(frame)
    is_over = table.column("queue") * tokens_each(frame) > most
    goes_on = is_over & ~np.isnan(state.over_at) & (ended >= state.over_ended)
    at = np.where(goes_on, state.over_at, np.where(is_over, read_at, np.nan))
    before = np.where(goes_on, state.over_ended, np.where(is_over, ended, np.nan))
    frame.state = replace(state, over_at=at, over_ended=before)
    return np.asarray(goes_on & (read_at - at >= LEAKS_AFTER) & (ended - before >= ENDED))
