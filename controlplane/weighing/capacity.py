"""How many requests per second a replica can carry, from what it did at the load that it had.

In come windows and the previous estimate; out comes the next one. Latency alone would not do: it
is service time times load, so an idle replica would look fast, be flooded and look slow.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from controlplane.signals import WINDOW, Window
from controlplane.weighing.evidence import Evidence
from controlplane.weighing.explanation import Step, counted, duration, number
from controlplane.weighing.owed import Owed, owed
from controlplane.weighing.record import (
    REMEMBERED,
    Record,
    begun,
    changed,
    collapsed,
    recorded,
    recovered,
)

TRUSTED: Final = 20
"""Requests from which on a replica speaks for itself; the mean of fewer is mostly chance when
request sizes are heavy-tailed."""
SLOWER: Final = 0.7
"""Part of the pool's median below which a replica may be one that is not warm yet."""
KNOWN: Final = 50
"""Requests from which on it is remembered what a replica was before it changed."""
TOLD: Final = 60.0
"""Seconds for which a change is told of."""


NOTHING_OWED: Final = Owed()


@dataclass(frozen=True, slots=True)
class Change:
    """A moment from which on a replica was not what it had been.

    Attributes:
        at: When that was seen, seconds of a monotonic clock.
        factor: Of the capacity.
        as_before: It is again what it used to be, or what the others are.
    """

    at: float
    factor: float
    as_before: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of a replica's capacity.

    Attributes:
        slots: That the record was made with.
        record: Of its requests; a reading counts once, however often a pool is weighed.
        base: Requests per second that few requests are mixed with: what it carried before it
            became faster, or when it was seen to be slower. None: the pool's median.
        change: The last one.
        past: What its requests said before that.
        owed: How far it is behind what it should do.
    """

    slots: int
    record: Record
    base: float | None = None
    change: Change | None = None
    past: Evidence | None = None
    owed: Owed = NOTHING_OWED

    @property
    def requests(self) -> float:
        """How many requests count."""
        return self.record.all.requests

    @property
    def needs_median(self) -> bool:
        """Whether it says nothing without the rest of the pool."""
        return self.base is None and self.requests < TRUSTED

    def knows(self, window: Window, slots: int) -> bool:
        """Whether that window would change nothing."""
        return self.slots == slots and window.at <= self.record.at

    def fell(self, now: float) -> bool:
        """Whether it was seen just now to have become slower."""
        change = self.change
        return change is not None and change.factor < 1 and now - change.at <= WINDOW

    @property
    def is_settled(self) -> bool:
        """Whether it says enough to be compared with others.

        A replica that was just seen to be slower is not to be lifted by others that are like it as
        far as a few requests can tell.
        """
        slower = self.change is not None and self.change.factor < 1
        return self.requests >= (KNOWN if slower else 1)

    def capacity(self, median: float | None) -> float | None:
        """Requests per second, above 0; None where there is nothing to go by."""
        base = median if self.base is None else self.base
        found = self.record.all
        if not found.requests:
            return base
        own = self.record.capacity
        if base is None or found.requests >= TRUSTED:
            return own
        return between(base, own, found.requests / TRUSTED)


def estimated(
    previous: Estimate | None,
    window: Window,
    slots: int,
    sharing: float,
    usual: float | None,
    tokens: float | None = None,
    in_flight: float | None = None,
    *,
    idle: bool = False,
) -> Estimate:
    """Take a window into an estimate.

    Args:
        previous: Of the same generation of the replica.
        window: The newest; taken in only if `previous` does not know it yet.
        slots: Requests that the replica computes at the same time.
        sharing: How many replicas are as good as one queue; see `evidence.evidence_of`.
        usual: Capacity in the median over the pool: a replica of which nothing better is known may
            turn out to be like the others, once it is warm.
        tokens: Of a request of the usual length; see `record.recorded`.
        in_flight: Requests that it has, waiting ones included; None where nobody counts.
        idle: It has none, by all who count.
    """
    if previous is None:
        return Estimate(slots, begun(window), owed=Owed(in_flight=in_flight))
    if previous.knows(window, slots):
        return previous
    if previous.slots != slots:
        # With other slots the same requests mean something else.
        base = previous.capacity(None)
        return Estimate(slots, begun(window), base, owed=Owed(in_flight=in_flight))
    before = previous.record.all
    record = recorded(previous.record, window, slots, sharing, tokens, idle=idle)
    past = previous.past
    behind = _behind(previous, record, slots, in_flight)
    if behind.is_collapse:
        record = collapsed(record, window, behind)
        factor = record.capacity * before.busy / before.work
        past = before if before.requests >= KNOWN else past
        change = Change(window.at, factor)
        return Estimate(slots, record, record.capacity, change, past, Owed(in_flight=in_flight))
    expected = past.log if past is not None else None
    if past is None and usual is not None and before.work / SLOWER < usual * before.busy:
        expected = math.log(usual)
    if expected is not None and (well := recovered(record, expected)):
        factor = math.exp(well.all.log - before.log) if before.requests else 1.0
        if past is not None:
            well = replace(well, old=past.faded(min(1.0, REMEMBERED / past.requests)))
        change = Change(window.at, factor, as_before=True)
        return Estimate(slots, well, math.exp(well.all.log), change, owed=behind)
    record, change_log = changed(record)
    if change_log is None:
        return replace(previous, record=record, owed=behind)
    base = math.exp(record.all.log) if change_log < 0 else previous.capacity(None)
    past = before if before.requests >= KNOWN else past
    return Estimate(slots, record, base, Change(window.at, math.exp(change_log)), past, behind)


def _behind(previous: Estimate, record: Record, slots: int, in_flight: float | None) -> Owed:
    """What a replica owes with a reading that has just been recorded."""
    before = previous.record
    seconds, ended = record.at - before.at, record.newest - before.newest
    if before.all.requests < TRUSTED or ended < 0 or not 0 < seconds < math.inf:
        return Owed(in_flight=in_flight)
    return owed(
        previous.owed,
        in_flight=in_flight,
        ended=ended,
        work=record.pace * seconds,
        seconds=seconds,
        capacity=before.capacity,
        slots=slots,
        are_measured=record.tokens is not None,
    )


def estimate_steps(
    estimate: Estimate | None, window: Window | None, median: float | None, now: float
) -> tuple[Step, ...]:
    """What to tell about a capacity."""
    if estimate is None or window is None or not estimate.requests:
        base = median if estimate is None or estimate.base is None else estimate.base
        if base is None:
            return ()
        whose = "it gets the pool's median"
        if estimate is not None and estimate.base is not None:
            whose = "its last estimate stays"
        return (Step("estimate", None, base, f"no requests were measured: {whose}"),)
    own = estimate.record.capacity
    steps = [Step("estimate", None, own, _estimated, (estimate, window, own))]
    change = estimate.change
    if change is not None and now - change.at <= TOLD:
        steps.append(Step("change", own, own, _changed, (change, now - change.at)))
    after = estimate.capacity(median)
    if after is not None and after != own:
        steps.append(Step("few requests", own, after, _mixed, (estimate, median)))
    return tuple(steps)


def between(start: float, end: float, share: float) -> float:
    """The geometric mean of two rates with the weights 1 − share and share."""
    return (
        start if start == end else math.exp(math.log(start) * (1 - share) + math.log(end) * share)
    )


def _changed(change: Change, ago: float) -> str:
    times = number(change.factor if change.factor > 1 else 1 / change.factor)
    pace = "faster" if change.factor > 1 else "slower"
    words = f"{duration(ago)} ago it was seen to be {times} × {pace} than before:"
    return f"{words} " + ("it is as it used to be" if change.as_before else _FORGOTTEN)


_FORGOTTEN: Final = "what was before is forgotten"


def _mixed(estimate: Estimate, median: float | None) -> str:
    base = median if estimate.base is None else estimate.base
    other = "pool's median" if estimate.base is None else "estimate before"
    words = f"{counted(estimate.requests, 'request')} are fewer than {TRUSTED}: mixed with the"
    return f"{words} {other}, {number(base or 0.0)}/s"


def _estimated(estimate: Estimate, window: Window, value: float) -> str:
    words = f"estimated {number(value)} requests/s from {counted(estimate.requests, 'request')}"
    if window.latency is None:
        return words
    return (
        f"{words}; in the last {window.seconds:.1f} s mean latency {duration(window.latency)} at"
        f" {number(window.in_flight)} in flight of {counted(estimate.slots, 'slot')}"
    )
