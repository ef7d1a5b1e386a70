"""What is remembered of each replica's requests, and how a change of the replica is seen.

Readings are cut into chunks of `CHUNK` requests. The newest are kept apart, so that they can be
held against all before them (a generalised likelihood ratio test for a change point); the rest is
one sum, which fades. Each chunk is three numbers: what it is worth in requests, busy seconds, and
work in tokens. Work over busy seconds is the capacity.
"""

from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Final, NamedTuple

import numpy as np

from controlplane.balancing import batches, collapse, evidence
from controlplane.balancing.batches import Shapes
from controlplane.balancing.columns import Bools, Columns, Floats, Ints, column, columns
from controlplane.balancing.evidence import Counted
from controlplane.balancing.table import Table

CHUNK: Final = 20.0
"""Requests in a chunk: chunks that are short beside the time in which a queue comes and goes make a
replica look faster than it is."""
RECENT: Final = 10
"""Chunks that are kept apart."""
MEMORY: Final = 1000.0
"""Requests that count at least, so that chance is some 4 %."""
MEMORY_SECONDS: Final = 60.0
"""Seconds after which evidence fades where there is more of it than `MEMORY`."""
SPREAD: Final = 1.2
"""Relative error of a capacity by one request; by n requests it is √n times smaller. No estimate
that knows only when requests end could do better than 1.31 for lognormal sizes with sigma 1."""
UNLIKE: Final = 0.05
"""What is left of that error by any number of requests."""
FALL, SLOWER, RISE = 4.5, 5.5, 5.0
"""Standard errors that show a change: to a fifth or less, to more than that, and up. A collapse is
believed sooner: it costs latency at once, and chance seldom looks like it."""
COLLAPSE: Final = float(np.log(5))
AS_BEFORE: Final = 4.0
"""Logarithm of how much better the newest requests must fit what a replica was before a change."""
FITS: Final = 2.0
"""Standard errors within which they must agree with it."""
FEWEST: Final = 4.0
"""Requests that can show a change."""
FEWEST_OF_BATCHES: Final = 20.0
"""The same of batches: one batch more or less is in doubt."""
KNOWN: Final = 50.0
"""Requests from which on it is remembered what a replica was before it changed."""
REMEMBERED: Final = 200.0
"""Requests that the past is worth when it counts again."""
BELOW_USUAL: Final = 0.7
"""Part of the pool's median below which a replica may be one that is not warm yet."""

WORTH, BUSY, WORK = 0, 1, 2
_COUNTERS: Final = ("requests", "seconds", "tokens", "looks")
TOKENS: Final = _COUNTERS.index("tokens")
_BATCHES: Final = (
    "batches",
    "batch_tokens",
    "middles",
    "squares",
    "billed",
    "batch_seconds",
    "text_middles",
    "text_squares",
)
_SECONDS: Final = len(_COUNTERS) + _BATCHES.index("batch_seconds")


@dataclass(frozen=True, slots=True)
class Records(Columns):
    """By row.

    Attributes:
        at: Time of the newest reading that is in it; NaN before any.
        since: Time of the reading that the open chunk begins with.
        base: Counters at that reading, in the order of `_COUNTERS` and `_BATCHES`.
        last: Counters at the newest reading.
        spoke_at: Time of the newest reading with requests that had ended; NaN before any.
        parts: Old sum, recent chunks (oldest first, zeros where there are none), open chunk.
        all: Everything that is remembered together.
        past: What its requests said before the last change; zeros: nothing.
        before: Capacity that few requests are mixed with; NaN: the pool's median.
        changed_at: Time of the last change; NaN: none.
        factor: By which the capacity changed then.
        shortfall: Work that each should have done and has not; see `collapse`.
        shapes: Of batches.
    """

    at: Floats = column()
    since: Floats = column()
    base: Floats = column(np.nan, len(_COUNTERS) + len(_BATCHES))
    last: Floats = column(np.nan, len(_COUNTERS) + len(_BATCHES))
    spoke_at: Floats = column()
    parts: Floats = column(0.0, RECENT + 2, 3)
    all: Floats = column(0.0, 3)
    past: Floats = column(0.0, 3)
    before: Floats = column()
    changed_at: Floats = column()
    factor: Floats = column(1.0)
    shortfall: Floats = column(0.0, collapse.COLUMNS)
    shapes: Shapes = columns(Shapes)

    def copy(self) -> "Records":
        """The same, to be changed in place; shapes never are."""
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        return Records(**{name: copy(column) for name, column in columns.items()})

    def in_units(self, factor: float) -> "Records":
        """The same with so many times as many tokens: where nobody counts them, they are a unit."""
        work, tokens = np.ones(3), np.ones(len(_COUNTERS) + len(_BATCHES))
        work[WORK] = tokens[TOKENS] = factor
        behind = np.ones(collapse.COLUMNS)
        behind[[collapse.TOKENS, collapse.WORK]] = factor
        return replace(
            self,
            base=self.base * tokens,
            last=self.last * tokens,
            parts=self.parts * work,
            all=self.all * work,
            past=self.past * work,
            before=self.before * factor,
            shortfall=self.shortfall * behind,
            shapes=self.shapes.in_units(factor),
        )

    @property
    def worth(self) -> Floats:
        """Requests that count."""
        return np.asarray(self.all[:, WORTH])

    @property
    def capacity(self) -> Floats:
        """Tokens per second by its own requests; NaN of none."""
        total = self.all
        known = (total[:, WORTH] > 0) & (total[:, BUSY] > 0)
        return np.where(known, total[:, WORK] / np.where(known, total[:, BUSY], 1.0), np.nan)


class Given(NamedTuple):
    """What is known of the replicas of a table beside their readings, by row.

    Attributes:
        slots: Requests that each computes at a time; NaN: nobody declared it.
        sharing: See `evidence.by_slots`.
        usual: Tokens of a usual request.
        in_flight_length: Mean tokens of a request in flight.
        longest: Tokens of the longest of these that is to be expected.
        burst: Tokens that come at once, E[x²]/E[x] of requests of x tokens; NaN: not known.
        idle: Nothing is in flight, by all who count.
        own: In flight by its own count; NaN where nobody counts, or it is not believed.
    """

    slots: Floats
    sharing: Floats
    usual: Floats
    in_flight_length: Floats
    longest: Floats
    burst: Floats
    idle: Bools
    own: Floats


def recorded(records: Records, table: Table, given: Given, median: float | None) -> Records:
    """Take in the readings that are new.

    Args:
        records: So far.
        table: With the newest readings.
        given: Of its replicas.
        median: Capacity of the pool's replicas so far, in tokens per second; None: not known. A
            replica that is not warm yet may turn out to be like the others.
    """
    read_at = table.column("read_at")
    new = ~np.isnan(read_at) & ~(records.at >= read_at)
    if not new.any():
        return records
    before, records = records, records.copy()
    rows = np.flatnonzero(new)
    counters = np.column_stack([table.column(name)[rows] for name in (*_COUNTERS, *_BATCHES)])
    are_counted = ~np.isnan(counters[:, TOKENS])
    ended = np.nan_to_num(counters[:, 0] - records.last[rows, 0])
    added = np.nan_to_num(records.last[rows, TOKENS]) + given.usual[rows] * np.maximum(ended, 0.0)
    counters[~are_counted, TOKENS] = added[~are_counted]
    base = records.base[rows]
    grown = counters - base
    restarted = (grown[:, :2] < 0).any(axis=1) | (grown[:, 2] < 0)
    begins = np.isnan(base[:, 0]) | restarted
    # A server that times its batches says so when it has timed one: before, it looked like slots.
    begins |= np.isnan(base[:, _SECONDS]) & ~np.isnan(counters[:, _SECONDS])
    _begin(records, rows[begins], counters[begins], read_at)
    # A chunk begins with its first request: a rest before that says nothing about the work.
    resting = rows[~begins & (grown[:, 0] == 0) & given.idle[rows]]
    records.since[resting] = read_at[resting]
    waits = ~begins & (counters[:, 0] == records.last[rows, 0])
    goes_on = ~begins & ~waits & (grown[:, 0] > 0)
    active = rows[goes_on]
    if len(active):
        records = _counted(records, active, grown[goes_on], table, given)
        full = records.parts[active, -1, WORTH] >= CHUNK
        complete = active[full]
        elapsed = read_at[complete] - records.since[complete]
        chunks = _differences(grown[goes_on][full], elapsed)
        chunks = _completed_where(chunks.batch_tokens > 0, chunks)
        line = batches.drawn(records.shapes, complete, chunks)
        records = replace(records, shapes=line)
        records = _completed(records, complete, counters, rows, read_at)
    records.at[rows] = read_at[rows]
    records.spoke_at[active] = read_at[active]
    known = ~begins
    fallen = _collapsed(
        before, records, rows[known], counters[known], are_counted[known], table, given
    )
    active = active[~np.isin(active, fallen)]
    if len(active):
        _follow_changes(records, active, median, read_at)
    records.all[rows] = records.parts[rows].sum(axis=1)
    return records


def _begin(records: Records, rows: Ints, counters: Floats, read_at: Floats) -> None:
    """Counters begin with this reading: what was counted before says nothing about now."""
    records.base[rows] = counters
    records.last[rows] = counters
    records.since[rows] = read_at[rows]
    records.parts[rows, 0] += records.parts[rows, -1]
    records.parts[rows, -1] = 0.0


def _counted(
    records: Records,
    rows: Ints,
    grown: Floats,
    table: Table,
    given: Given,
) -> Records:
    """Work out the open chunks anew, from their beginning."""
    read_at = table.column("read_at")[rows]
    counted = _differences(grown, read_at - records.since[rows])
    slots, usual = given.slots[rows], given.usual[rows]
    undeclared = np.isnan(slots)
    measured = counted.are_batches
    counted = _completed_where(undeclared, counted)
    chunk = evidence.by_slots(counted, np.fmax(slots, 1.0), given.sharing[rows], usual)
    counters = records.base[rows] + grown
    lately = _differences(counters - records.last[rows], read_at - records.at[rows])
    if lately.are_batches.any():
        some = lately.are_batches
        of = rows[some]
        waiting = given.own[of] > 0
        those = Counted(*(column[some] for column in lately))
        records = replace(records, shapes=batches.learned(records.shapes, of, those, waiting))
    batched = counted.are_batches
    worked_out = batched & ~measured
    if worked_out.any():
        shapes = batches.worked_out(records.shapes, rows[worked_out], counted.size[worked_out])
        records = replace(records, shapes=shapes)
    if batched.any():
        each = np.where(measured, evidence.PER_BATCH, 1.0)
        (overhead, told), full = records.shapes.overhead(), records.shapes.full()
        first = (records.worth[rows] < CHUNK) & ~records.shapes.are_small(counted.size)
        sure = np.where(first, 1.0, told)
        fewest = np.where(worked_out, counted.requests / evidence.TEXTS, 0.0)
        of_batches = evidence.by_batches(counted, overhead[rows], full, each, sure, fewest)
        if worked_out.any():
            least = evidence.by_queue(counted, given.burst[rows], given.sharing[rows])
            busy = np.fmin(of_batches[:, BUSY], counted.tokens / np.maximum(least, 1e-9))
            of_batches[:, BUSY] = np.where(worked_out, busy, of_batches[:, BUSY])
        chunk = np.where(batched[:, None], of_batches, chunk)
    # Until a batch has ended, a server that computes batches has said nothing.
    unsure = records.shapes.batched[rows] & ~batched
    chunk[unsure] = 0.0
    records.last[rows] = counters
    records.parts[rows, -1] = chunk
    return records


def _differences(grown: Floats, elapsed: Floats) -> Counted:
    requests, seconds, tokens, looks, *of_batches = grown.T
    return Counted(requests, seconds, elapsed, tokens, looks, *of_batches)


def _completed_where(rows: Bools, counted: Counted) -> Counted:
    """Work out batches of rows whose server says neither how it computes nor all of its batches.

    One that times its batches has not ended any where none was timed.
    """
    rows = rows & ~counted.are_batches & ~(counted.batch_seconds == 0)
    if not rows.any():
        return counted
    found = counted.completed()
    pairs = zip(found, counted, strict=True)
    return Counted(*(np.where(rows, new, old) for new, old in pairs))


def _completed(
    records: Records, rows: Ints, counters: Floats, of: Ints, read_at: Floats
) -> Records:
    """Put full chunks among the recent ones; the oldest of these becomes part of the old sum."""
    if not len(rows):
        return records
    parts = records.parts
    old = parts[rows, 0] + parts[rows, 1]
    worth = np.maximum(old[:, WORTH], 1e-9)
    fading = np.exp((records.since[rows] - read_at[rows]) / MEMORY_SECONDS)
    left = np.where(worth > MEMORY, np.maximum(fading, MEMORY / worth), 1.0)
    parts[rows, 0] = old * left[:, None]
    parts[rows, 1:-1] = parts[rows, 2:]
    parts[rows, -1] = 0.0
    places = np.searchsorted(of, rows)
    records.base[rows] = counters[places]
    records.since[rows] = read_at[rows]
    return records


def _collapsed(
    before: Records,
    records: Records,
    rows: Ints,
    counters: Floats,
    are_counted: Bools,
    table: Table,
    given: Given,
) -> Ints:
    """Keep nothing but how little it did of a replica that does far less than it should."""
    queue, reported = given.own[rows], table.column("reported")[rows]
    in_flight = np.where(np.isnan(queue), reported, queue)
    lately = counters - before.last[rows]
    ended, work = lately[:, 0], lately[:, TOKENS]
    total = before.all[rows]
    known = (total[:, WORTH] >= CHUNK) & (ended >= 0)
    batched = records.shapes.batched[rows]
    shortfall, fell = collapse.shortfall(
        before.shortfall[rows],
        in_flight=in_flight,
        ended=ended,
        work=work,
        seconds=records.at[rows] - before.at[rows],
        capacity=np.where(known, before.capacity[rows], np.nan),
        slots=np.where(batched, 1.0, np.fmax(given.slots[rows], 1.0)),
        in_flight_length=given.in_flight_length[rows],
        longest=given.longest[rows],
        full=np.where(batched, records.shapes.usual(), 0.0),
        are_measured=are_counted,
    )
    # A page that is served from a cache says nothing.
    same = (ended == 0) & (in_flight == before.shortfall[rows, collapse.IN_FLIGHT])
    records.shortfall[rows] = np.where(same[:, None], before.shortfall[rows], shortfall)
    fell &= ~same
    fallen = rows[fell]
    if len(fallen):
        little = np.column_stack(
            [
                shortfall[fell, collapse.ENDED] + 1,
                shortfall[fell, collapse.SECONDS],
                shortfall[fell, collapse.WORK] + given.usual[fallen],
            ]
        )
        remember = total[fell, WORTH] >= KNOWN
        records.past[fallen[remember]] = total[fell][remember]
        records.parts[fallen] = 0.0
        records.parts[fallen, 0] = little
        records.before[fallen] = little[:, WORK] / little[:, BUSY]
        records.factor[fallen] = records.before[fallen] / before.capacity[fallen]
        records.changed_at[fallen] = records.at[fallen]
        records.shortfall[fallen] = 0.0
        records.shortfall[fallen, collapse.IN_FLIGHT] = in_flight[fell]
        records.base[fallen] = records.last[fallen] = counters[fell]
        records.since[fallen] = records.at[fallen]
    return np.asarray(fallen)


def _follow_changes(records: Records, rows: Ints, median: float | None, read_at: Floats) -> None:
    """Forget what was before a replica changed, or came back to what it was."""
    parts = records.parts[rows]
    # By every way to part the newest from those before: sums of the parts from 1 on, 2 on, ….
    newest = np.cumsum(parts[:, ::-1], axis=1)[:, ::-1][:, 1:]
    before = parts.sum(axis=1)[:, None] - newest
    fewest = np.where(records.shapes.batched[rows], FEWEST_OF_BATCHES, FEWEST)[:, None]
    usable = (
        (newest[:, :, WORTH] >= fewest)
        & (before[:, :, WORTH] >= 1)
        & (before[:, :, BUSY] > 0)
        & (before[:, :, WORK] > 0)
        & (newest[:, :, BUSY] > 0)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        now = np.log(newest[:, :, WORK] / newest[:, :, BUSY])
        then = np.log(before[:, :, WORK] / before[:, :, BUSY])
        noise = SPREAD**2 / newest[:, :, WORTH]
    came_back = _came_back(records, rows, median, (now, then, noise, usable), read_at)
    difference = now - then
    usable &= ~came_back[:, None]
    limit = np.where(difference > 0, RISE, np.where(difference < -COLLAPSE, FALL, SLOWER))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = noise + SPREAD**2 / before[:, :, WORTH] + UNLIKE**2
        excess = np.where(usable, np.abs(difference) / limit / np.sqrt(variance), 0.0)
    best = excess.argmax(axis=1)
    found = np.flatnonzero(excess[np.arange(len(rows)), best] > 1)
    if not len(found):
        return
    at, split = rows[found], best[found]
    factor = np.exp(difference[found, split])
    total = parts[found].sum(axis=1)
    own = total[:, WORK] / total[:, BUSY]
    remember = total[:, WORTH] >= KNOWN
    records.past[at[remember]] = (total - newest[found, split])[remember]
    _forget_before(records, at, split)
    left = records.parts[at].sum(axis=1)
    records.before[at] = np.where(factor < 1, left[:, WORK] / left[:, BUSY], own)
    records.factor[at], records.changed_at[at] = factor, read_at[at]


def _came_back(
    records: Records,
    rows: Ints,
    median: float | None,
    seen: tuple[Floats, Floats, Floats, Bools],
    read_at: Floats,
) -> Bools:
    """Drop what was before a replica came back to what it used to be, or to what others are."""
    now, then, noise, usable = seen
    past = records.past[rows]
    total = records.parts[rows].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.log(past[:, WORK] / past[:, BUSY])
        if median is not None:
            low = total[:, WORK] < BELOW_USUAL * median * total[:, BUSY]
            unknown = past[:, WORTH] == 0
            expected = np.where(unknown, np.where(low, np.log(median), np.nan), expected)
        off, was_off = now - expected[:, None], now - then
        variance = noise + UNLIKE**2
        fits = usable & (np.abs(off) <= FITS * np.sqrt(variance))
        fits &= (was_off**2 - off**2) / 2 > AS_BEFORE * variance
    any_fits = fits.any(axis=1)
    if any_fits.any():
        found = np.flatnonzero(any_fits)
        at = rows[found]
        # The fewest requests that show it.
        split = fits.shape[1] - 1 - fits[found, ::-1].argmax(axis=1)
        records.factor[at] = np.exp(was_off[found, split])
        _forget_before(records, at, split)
        past_worth = np.maximum(records.past[at, WORTH], 1e-9)
        records.parts[at, 0] = records.past[at] * np.minimum(1.0, REMEMBERED / past_worth)[:, None]
        records.past[at] = 0.0
        records.before[at] = np.exp(expected[found])
        records.changed_at[at] = read_at[at]
    return np.asarray(any_fits)


def _forget_before(records: Records, rows: Ints, split: Ints) -> None:
    """Keep the parts from one on; `split` 0 keeps all but the old sum."""
    index = np.arange(RECENT + 2)
    drop = index[None, :] <= split[:, None]
    some = records.parts[rows]
    some[drop] = 0.0
    records.parts[rows] = some
