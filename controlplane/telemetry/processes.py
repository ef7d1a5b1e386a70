"""What the processes behind one address have counted altogether, from one reading after the other.

A counter that goes down, or a label set that is gone, need not mean that a process has restarted:
a server drops the series of a model that was unloaded, and an address may be that of several
processes, each of which counts for itself. In comes a reading; out comes what was counted since the
first one, which never goes down, and whether the process was replaced.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import lt
from typing import Final, NamedTuple

from controlplane.telemetry.counters import (
    NOTHING,
    Counters,
    Group,
    Mark,
    Series,
    counters_of,
    family_of,
    went_down,
)
from controlplane.telemetry.profile import Profile
from controlplane.telemetry.reading import Reading

SAME_START: Final = 1.0
"""Seconds by which a start time may waver, for servers that derive it from their uptime."""
EXACT: Final = 0.05
"""Seconds by which the start of one process differs where it is exact."""
REMEMBERED: Final = 300.0
"""Seconds for which a process that does not answer any more is known."""
MOST: Final = 16
"""Processes that are known."""
GONE: Final = 1_000
"""Label sets of which the last value is known after they went."""
CLOSER: Final = 4.0
"""Times as few requests since its last reading that say that another process has answered."""


class Taken(NamedTuple):
    """What all processes have counted since the first reading, after the newest.

    `restarted`: another process has replaced the one before, and nothing counts before it.
    """

    counters: Counters
    restarted: bool


@dataclass(slots=True)
class _Process:
    """One process.

    Attributes:
        series: What it counted by then; `counters` where series are not known.
        more: What was counted that its readings do not say (any more).
        gone: Its label sets that are no longer exposed, with their last values.
        started_at: Unix seconds; None where it was never exposed.
    """

    at: float
    series: Series | None
    counters: Counters = NOTHING
    bounds: tuple[float, ...] = ()
    more: Counters = NOTHING
    gone: OrderedDict[Group, tuple[Mark, ...]] | None = None
    started_at: float | None = None

    @property
    def counted(self) -> Counters:
        """The counts of its last reading."""
        if self.series is None:
            return self.counters
        return counters_of(self.series.groups(), self.series.profile)

    def differs_in_start(self, reading: Reading, by: float = SAME_START) -> bool:
        """Whether a reading is of a process that started at another time."""
        now, before = reading.started_at, self.started_at
        return now is not None and before is not None and abs(now - before) > by


class Processes:
    """The processes that have answered at one address."""

    def __init__(self) -> None:
        self._now: _Process | None = None
        self._others: list[_Process] = []
        self._are_several = False

    @property
    def seen(self) -> int:
        """How many answer at the address, as far as is known."""
        return 1 + len(self._others) if self._are_several else 1

    def take(self, reading: Reading) -> Taken:
        """Take in a newer reading."""
        now = self._now
        if now is None:
            return self._begin(reading, restarted=False)
        if self._others:
            self._others = [other for other in self._others if reading.at - other.at <= REMEMBERED]
        elif _counts_on(now, reading):
            return Taken(_counted(now, reading), restarted=False)
        continues = _continues(now, reading)
        if continues and not self._others:
            _carry_over(now, reading)
            return Taken(_counted(now, reading), restarted=False)
        return self._one_of(now, reading, continues=continues)

    def _one_of(self, now: _Process, reading: Reading, *, continues: bool) -> Taken:
        """Find out which of the processes has answered, when it may be another one."""
        closest, least = None, _growth(now, reading) / CLOSER if continues else float("inf")
        for other in self._others:
            if other.differs_in_start(reading, EXACT) or not _continues(other, reading):
                continue
            if (growth := _growth(other, reading)) < least:
                closest, least = other, growth
        if closest is None and not continues:
            return self._another(now, reading)
        if closest is None:
            _carry_over(now, reading)
            return Taken(_counted(now, reading), restarted=False)
        # One that counts on where it stopped, after it had been taken to be replaced.
        self._are_several = self._are_several or not continues
        self._others.remove(closest)
        self._others.append(now)
        counted = now.counted.plus(now.more)
        closest.more = counted.plus(closest.counted, -1.0)
        self._now = closest
        _carry_over(closest, reading)
        return Taken(_counted(closest, reading), restarted=False)

    def _another(self, now: _Process, reading: Reading) -> Taken:
        """A process that was not seen before."""
        self._others = [*self._others, now][-MOST:]
        if not self._are_several:
            return self._begin(reading, restarted=True)
        more = now.counted.plus(now.more).plus(reading.counters, -1.0)
        self._now = _Process(reading.at, reading.series, more=more)
        return Taken(_counted(self._now, reading), restarted=False)

    def _begin(self, reading: Reading, *, restarted: bool) -> Taken:
        self._now = _Process(reading.at, reading.series)
        return Taken(_counted(self._now, reading), restarted)


def _counted(process: _Process, reading: Reading) -> Counters:
    """Take in a reading of a process; what is counted altogether by now."""
    counters, latency = reading.counters, reading.latency
    if reading.series is None:
        # Whatever it leaves out stays as it was.
        known, counted = process.counters, counters
        if counters.counts is None:
            counted = counted._replace(counts=known.counts, total=known.total)
        if counters.errors is None:
            counted = counted._replace(errors=known.errors)
        process.counters = counted
    process.at, process.series = reading.at, reading.series
    if latency is not None:
        process.bounds = latency.bounds
    if reading.started_at is not None:
        process.started_at = reading.started_at
    if process.more is NOTHING:
        return counters
    counted = counters.plus(process.more)
    # What one reading leaves out is not known.
    tokens = None if counters.tokens is None else counted.tokens
    return counted._replace(tokens=tokens, batches=counted.batches if counters.batches else None)


def _counts_on(process: _Process, reading: Reading) -> bool:
    """Whether a reading is the next of a process, with the same series: most are."""
    before, after = process.series, reading.series
    return (
        before is not None
        and after is not None
        and not process.differs_in_start(reading)
        and _is_next(before, after)
    )


def _carry_over(process: _Process, reading: Reading) -> None:
    before, after = process.series, reading.series
    if before is not None and after is not None and not _is_next(before, after):
        _carry(process, before, after)


def _is_next(before: Series, after: Series) -> bool:
    """Whether nothing but some values has gone up."""
    return (
        before.layout is after.layout
        and before.profile is after.profile
        and not after.has_less_than(before)
    )


def _growth(process: _Process, reading: Reading) -> float:
    counters, before = reading.counters, process.counted
    return abs(counters.requests - before.requests) + abs(
        (counters.tokens or 0.0) - (before.tokens or 0.0)
    )


def _continues(process: _Process, reading: Reading) -> bool:
    """Whether a reading can be of a process."""
    if process.differs_in_start(reading):
        return False
    before, after, latency = process.series, reading.series, reading.latency
    if latency is not None and process.bounds not in ((), latency.bounds):
        return False
    if before is None or after is None:
        return not _is_less(reading.counters, process.counted)
    if _is_next(before, after):
        return True
    known = {**(process.gone or {}), **before.groups()}
    return not _all_went_down(after.groups(), known, _of_requests(after.profile))


def _is_less(now: Counters, then: Counters) -> bool:
    """Whether something went down, where series are not known."""
    pairs = ((now.errors, then.errors), (now.tokens, then.tokens))
    if any(a is not None and b is not None and a < b for a, b in pairs):
        return True
    if now.batches is not None and then.batches is not None and now.batches.is_less(then.batches):
        return True
    if now.counts is None or then.counts is None:
        return False
    return now.total < then.total or any(map(lt, now.counts, then.counts))


@lru_cache(maxsize=1024)
def _of_requests(profile: Profile) -> frozenset[str]:
    """The families that count requests."""
    return frozenset(family_of(name) for each in profile.latency for name in each.samples)


def _all_went_down(
    after: Mapping[Group, tuple[Mark, ...]],
    before: Mapping[Group, tuple[Mark, ...]],
    of_requests: frozenset[str],
) -> bool:
    """Whether all that had counted anything, and is there, has counted less: another process.

    Requests are what tells: of what else is counted some may be less for other reasons.
    """
    both = [
        group
        for group in after
        if group in before and any(each.value > 0 for each in before[group])
    ]
    telling = [group for group in both if group[0] in of_requests] or both
    return bool(telling) and all(went_down(after[group], before[group]) for group in telling)


def _carry(process: _Process, before: Series, after: Series) -> None:
    """Keep what was counted by label sets that went, or that began anew."""
    profile, gone = after.profile, process.gone or OrderedDict()
    old, new = before.groups(), after.groups()
    if before.profile is not profile:
        # The set of counted models has changed: count them from the last reading on.
        was, would = counters_of(old, before.profile), counters_of(old, profile)
        process.more = process.more.plus(was).plus(would, -1.0)
    lost = {
        group: marks
        for group, marks in old.items()
        if group not in new or went_down(new[group], marks)
    }
    back = {
        group: marks
        for group, marks in gone.items()
        if group in new and not went_down(new[group], marks)
    }
    if lost:
        process.more = process.more.plus(counters_of(lost, profile))
    if back:
        process.more = process.more.plus(counters_of(back, profile), -1.0)
    for group in new:
        gone.pop(group, None)
    gone.update((group, marks) for group, marks in lost.items() if group not in new)
    while len(gone) > GONE:
        gone.popitem(last=False)
    process.gone = gone or None
