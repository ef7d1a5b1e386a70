"""What is remembered of a replica's requests, and how it is seen that the replica has changed.

Readings are cut into batches of `BATCH` requests. The newest are kept apart, so that they can be
held against all that was before them; the rest is one sum, which fades.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.signals import Window
from controlplane.weighing.evidence import NOTHING, SPREAD, UNLIKE, Evidence, evidence_of
from controlplane.weighing.owed import Owed

BATCH: Final = 20
"""Requests, and as many as needed to say anything at all. The formula is concave, so batches that
are short beside the time in which a queue comes and goes make a replica look faster."""
RECENT: Final = 10
"""Batches that are kept apart, to see whether they are like those before."""
MEMORY: Final = 1000
"""Requests that count at least, so that chance is some 4 %."""
MEMORY_SECONDS: Final = 60.0
"""Time after which evidence fades where there is more of it than `MEMORY`."""
FALL, SLOWER, RISE = 4.5, 5.5, 5.0
"""Standard errors by which the newest requests must differ from those before, to show that a
replica has changed: to a fifth or less, to more than that, and up. A collapse is believed sooner:
it costs latency at once, and chance, a few very long requests, seldom looks like it."""
COLLAPSE: Final = math.log(5)
"""Logarithm of the factor from which on a fall is a collapse."""
AS_BEFORE: Final = 4.0
"""Logarithm of how much better the newest requests must fit what a replica was before a change."""
FITS: Final = 2.0
"""Standard errors within which they must agree with it."""
FEWEST: Final = 4.0
"""Requests that can show a change."""
HEALTHY: Final = 0.5
"""Part of the capacity before at which a replica that delivers it has not become slower."""
REMEMBERED: Final = 200.0
"""Requests that the past is worth when it counts again."""
SHORTEST: Final = 0.01
"""Least length that a text counts for, in the usual ones: a request costs something without any."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one replica's requests.

    Attributes:
        at: Time of the newest reading that is in it, seconds of a monotonic clock.
        since: Time of the reading that the newest, unfinished batch begins with.
        count: Requests since the start of the process at that reading.
        total: Seconds that they took.
        old: What the batches before the recent ones say.
        recent: Batches that are complete, oldest first.
        open: The newest batch as far as it has come.
        pace: Usual requests per second that ended between the last two readings. No replica
            delivers more than it can carry.
        tokens: Computed since the start of the process at the reading that the newest batch begins
            with; None where that is not known.
        looks: See `Window`, at the reading that the newest batch begins with.
        newest: Requests since the start of the process at the newest reading.
        all: Everything together.
        capacity: That all shows, in requests per second; 0 of no requests.
    """

    at: float
    since: float
    count: float
    total: float
    old: Evidence = NOTHING
    recent: tuple[Evidence, ...] = ()
    open: Evidence = NOTHING
    pace: float = 0.0
    tokens: float | None = None
    looks: float | None = None
    newest: float = 0.0
    all: Evidence = field(init=False, compare=False)
    capacity: float = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        parts = (self.old, *self.recent, self.open)
        requests = math.fsum([part.requests for part in parts])
        busy = math.fsum([part.busy for part in parts])
        work = math.fsum([part.work for part in parts])
        # Worked out once: thousands of records are looked at several times a second.
        length = work / requests if requests else 1.0
        object.__setattr__(self, "all", found := Evidence(requests, busy, length))
        object.__setattr__(self, "capacity", math.exp(found.log) if requests else 0.0)

    def splits(self) -> Iterator[tuple[int, float, float, float, float]]:
        """Every way to part the newest batches from those before, the last one alone first.

        Yields:
            How many recent batches are before the part, then requests and capacity of the part and
            requests and capacity of all before it.
        """
        parts = (self.old, *self.recent, self.open)
        before, before_busy, before_work = self.all.requests, self.all.busy, self.all.work
        newest = newest_busy = newest_work = 0.0
        for index in range(len(parts) - 1, 0, -1):
            part = parts[index]
            work = part.work
            newest, newest_busy = newest + part.requests, newest_busy + part.busy
            before, before_busy = before - part.requests, before_busy - part.busy
            newest_work, before_work = newest_work + work, before_work - work
            # Less than one request is what rounding leaves of nothing.
            if newest >= FEWEST and before >= 1 and before_busy > 0 and before_work > 0:
                yield (
                    index - 1,
                    newest,
                    newest_work / newest_busy,
                    before,
                    before_work / before_busy,
                )


def begun(window: Window) -> Record:
    """A record that starts with a reading; what was counted before says nothing about now."""
    return Record(
        window.at,
        window.at,
        window.count,
        window.total,
        tokens=window.tokens,
        looks=window.looks,
        newest=window.count,
    )


def recorded(
    record: Record,
    window: Window,
    slots: int,
    sharing: float,
    usual: float | None = None,
    *,
    idle: bool = False,
) -> Record:
    """Take in a newer reading.

    Args:
        record: So far.
        window: That the reading led to.
        slots: See `evidence_of`.
        sharing: Likewise.
        usual: Tokens of a request of the usual length; None where that is not known, and all
            requests are taken for usual.
        idle: It has nothing in flight, by all who count.
    """
    requests, duration = window.count - record.count, window.total - record.total
    looks = None
    if window.looks is not None and record.looks is not None:
        looks = window.looks - record.looks
    if requests < 0 or duration < 0 or (looks is not None and looks <= 0 < requests):
        # Counts that went down are of another process. Those of Envoys begin anew with their
        # streams, and the replica is the one that it was.
        return begun(window) if window.looks is None else _counted_anew(record, window)
    if record.since == -math.inf:
        # What was counted meanwhile took nobody knows how long.
        return _counted_anew(record, window)
    ended = window.count - record.newest
    if requests == 0 and idle:
        # A batch begins with its first request: a rest before that says nothing about the work.
        return replace(record, at=window.at, since=window.at, pace=0.0)
    if ended == 0:
        return replace(record, at=window.at, pace=0.0)
    length = 1.0
    if usual is not None and record.tokens is not None and window.tokens is not None:
        length = max((window.tokens - record.tokens) / requests / usual, SHORTEST)
    pace = ended * length / (window.at - record.at)
    seconds = window.at - record.since
    batch = evidence_of(requests, duration, seconds, slots, sharing, length, looks)
    if batch.requests < BATCH:
        return replace(record, at=window.at, open=batch, pace=pace, newest=window.count)
    old, recent = record.old, (*record.recent, batch)
    if len(recent) > RECENT:
        old, recent = old + recent[0], recent[1:]
    if old.requests > MEMORY:
        fading = math.exp((record.since - window.at) / MEMORY_SECONDS)
        old = old.faded(max(fading, MEMORY / old.requests))
    return Record(
        window.at,
        window.at,
        window.count,
        window.total,
        old,
        recent,
        pace=pace,
        tokens=window.tokens,
        looks=window.looks,
        newest=window.count,
    )


def uncounted(record: Record) -> Record:
    """The record of a replica whose next reading cannot be held against the one before."""
    return replace(
        record,
        at=-math.inf,
        since=-math.inf,
        # No count is less than these, so that the first one begins and is no restart.
        count=0.0,
        total=0.0,
        newest=0.0,
        # The open batch ends here: nobody knows what would have come to it.
        old=record.old + record.open,
        open=NOTHING,
        tokens=None,
        looks=None,
    )


def _counted_anew(record: Record, window: Window) -> Record:
    """What is known of a replica, and counts that begin with this reading."""
    old = record.old + record.open
    return replace(begun(window), old=old, recent=record.recent, pace=record.pace)


def collapsed(record: Record, window: Window, owed: Owed) -> Record:
    """The record of a replica that does far less than it should: all it knows is how little.

    Args:
        record: So far, with the window in it.
        window: The newest.
        owed: What it did while it was behind.
    """
    # As if what it computes had ended by now: no less was done.
    requests = owed.ended + 1
    little = Evidence(requests, owed.seconds, (owed.work + 1) / requests)
    return replace(begun(window), old=little, pace=record.pace)


def changed(record: Record) -> tuple[Record, float | None]:
    """Forget what was before a replica changed.

    The newest requests, of the last batch and more and more of those before, are held against all
    that came before them, and where they differ most beyond `FALL` or `RISE` the past is dropped
    (a generalised likelihood ratio test for a change point).

    Returns:
        The record, and the logarithm of the factor by which the capacity has changed; None when
        it has not.
    """
    most, found = 1.0, None
    for index, newest, carries, before, carried in record.splits():
        difference = math.log(carries / carried)
        # Long durations behind a single long request end together, at the pace of a healthy one.
        if difference < 0 and record.pace > HEALTHY * carried:
            continue
        limit = RISE if difference > 0 else FALL if difference < -COLLAPSE else SLOWER
        variance = SPREAD**2 * (1 / newest + 1 / before) + UNLIKE**2
        excess = abs(difference) / limit / math.sqrt(variance)
        if excess > most:
            most, found = excess, (index, difference)
    if found is None:
        return record, None
    index, difference = found
    return replace(record, old=NOTHING, recent=record.recent[index:]), difference


def recovered(record: Record, usual: float) -> Record | None:
    """The record of a replica that has come back to what it used to be; None where it has not.

    The newest requests, of the last batch and of those before, are held against what came before
    them and against what is usual. Where they fit the latter `AS_BEFORE` times better (the
    logarithm of the ratio of their likelihoods), all before them is dropped. That needs fewer
    requests than to show just any change, and a slow replica gets few.

    Args:
        record: Of its requests.
        usual: Logarithm of the capacity that it used to have.
    """
    for index, newest, carries, _, carried in record.splits():
        log = math.log(carries)
        now, then = log - math.log(carried), log - usual
        variance = SPREAD**2 / newest + UNLIKE**2
        if abs(then) > FITS * math.sqrt(variance):
            continue
        if (now**2 - then**2) / 2 > AS_BEFORE * variance:
            return replace(record, old=NOTHING, recent=record.recent[index:])
    return None
