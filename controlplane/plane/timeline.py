"""The last hour of every replica: decisions in, the explanations worth telling out.

Most decisions are like the one before. Kept is what differs in something an operator would ask
about, and one entry every `REGULAR` seconds. Where a replica is so restless that this is too much,
entries are left out, first those between others that are close in time and much alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.balancing import ENVOYS, Decision, ReplicaDecision, ReplicaInput
from controlplane.balancing.sentences import Step
from controlplane.balancing.sets import DEAD_BAND
from controlplane.fleet import Pool, Replica
from controlplane.plane.entry import Entry, packed, unpacked
from controlplane.plane.observed import Observed

KEPT: Final = 3600.0
"""Seconds that an entry is kept."""
REGULAR: Final = 300.0
"""Seconds after which an entry is made even if nothing has changed."""
_AT_A_TIME: Final = 0.02
"""Part of a pool of which such entries are made in one decision: no decision is to wait for all."""
MOST_BYTES: Final = 24_000
"""Of the entries of one replica; with what else is known of it, it stays below 30 kB."""
_OVERHEAD: Final = 180
"""Bytes that Python needs for an entry beside its packed content."""
_SOFT: Final = 60.0
"""Seconds; of entries younger than that none is left out before others just for its age."""

_ALWAYS: Final = frozenset(("estimate", "median", "damping", "backlog", "tier", "weight"))
"""Steps that come and go with chance; what they do shows in the share."""

_NOTICED: Final = math.log1p(DEAD_BAND)

_Marks = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """An entry in its place.

    Attributes:
        entry: What was known and decided.
        before: The entry before it; None for the first that there is.
        left_out: Entries between the two that were not kept for want of room.
    """

    entry: Entry
    before: Entry | None
    left_out: int


@dataclass(slots=True)
class _Kept:
    at: float
    jump: float
    data: bytes
    left_out: int = 0

    @property
    def size(self) -> int:
        return len(self.data) + _OVERHEAD


@dataclass(slots=True)
class _Timeline:
    """Of one generation of a replica."""

    entries: list[_Kept] = field(default_factory=list)
    size: int = 0
    share: float | None = 0.0
    marks: _Marks = ()

    def add(self, kept: _Kept) -> None:
        self.entries.append(kept)
        self.size += kept.size
        while self.entries[0].at < kept.at - KEPT:
            self._drop(0)
        while self.size > MOST_BYTES and len(self.entries) > 2:
            inner = range(1, len(self.entries) - 1)
            least = min(inner, key=lambda index: self._worth(index, kept.at))
            self.entries[least + 1].left_out += self.entries[least].left_out + 1
            self._drop(least)

    def _worth(self, index: int, now: float) -> float:
        """How much would be lost with an entry: time that it stands for, by what it tells."""
        entry, before, after = (self.entries[index + by] for by in (0, -1, 1))
        return (after.at - before.at) / (now - entry.at + _SOFT) * (entry.jump + DEAD_BAND)

    def _drop(self, index: int) -> None:
        self.size -= self.entries.pop(index).size


class Timelines:
    """The last hour of all replicas, in memory: a restart of this process begins anew."""

    def __init__(self) -> None:
        self._timelines: dict[tuple[str, str], _Timeline] = {}

    def forget(self, pool: str, replica: str) -> None:
        """Forget a replica that is no longer there, or that another one has replaced."""
        self._timelines.pop((pool, replica), None)

    def record(
        self,
        pool: Pool,
        observed: Mapping[tuple[str, str], Observed],
        inputs: Sequence[ReplicaInput],
        decision: Decision,
    ) -> None:
        """Take in a decision; what it says of a replica is kept if it is worth telling.

        Args:
            pool: That it is about.
            observed: By pool and replica.
            inputs: Of the replicas of which something is new, or was decided otherwise than before.
            decision: The decision.
        """
        regular = math.ceil(_AT_A_TIME * len(inputs))
        many = decision.serving
        for given in inputs:
            replica, decided = pool.replicas[given.id], decision.of(given.id)
            key = (pool.name, given.id)
            timeline = self._timelines.get(key)
            if timeline is None:
                timeline = self._timelines[key] = _Timeline()
            seen = observed[key]
            names = tuple([step.name for step in decided.steps if is_telling(step)])
            marks = _marks(replica, seen, given, decided, names)
            jump = _jump(timeline.share, decided.share)
            if marks != timeline.marks:
                jump += 1.0
            elif jump <= _NOTICED:
                if regular <= 0 or decision.at - timeline.entries[-1].at < REGULAR:
                    continue
                regular -= 1
            timeline.share, timeline.marks = decided.share, marks
            entry = _entry(pool, seen, given, decided, many, decision.at)
            timeline.add(_Kept(decision.at, jump, packed(entry)))

    def of(self, pool: str, replica: str, now: float, since: float = KEPT) -> tuple[Told, ...]:
        """What is kept of a replica, the oldest first.

        Args:
            pool: Its pool.
            replica: Its id; of one that is not known there is nothing.
            now: Seconds of a monotonic clock.
            since: Seconds that it goes back; nothing is older than `KEPT`.
        """
        timeline = self._timelines.get((pool, replica))
        told: list[Told] = []
        before = None
        for kept in timeline.entries if timeline else ():
            entry = unpacked(kept.data, kept.at)
            if kept.at >= now - min(since, KEPT):
                told.append(Told(entry, before, kept.left_out))
            before = entry
        return tuple(told)


def _jump(before: float | None, after: float | None) -> float:
    """By how much a share has changed: the logarithm of the factor; a lot from and to nothing."""
    if before == after:
        return 0.0
    if before and after:
        return abs(math.log(after / before))
    return 2.0


def _marks(
    replica: Replica,
    seen: Observed,
    given: ReplicaInput,
    decided: ReplicaDecision,
    telling: tuple[str, ...],
) -> _Marks:
    """What is worth an entry whenever it is another than before."""
    return (
        given.generation,
        seen.readiness.state,
        replica.draining,
        seen.failure is None,
        decided.drained,
        decided.stale,
        decided.tier,
        decided.classes,
        telling,
    )


def is_telling(step: Step) -> bool:
    """Whether it is worth an entry that a step is there, or is no longer."""
    if step.name in _ALWAYS:
        return False
    # One that hovers about its limit comes and goes with hardly any effect.
    factor = step.factor
    return factor is None or factor == 1.0 or abs(factor - 1) > DEAD_BAND


def _entry(
    pool: Pool,
    seen: Observed,
    given: ReplicaInput,
    decided: ReplicaDecision,
    many: int,
    now: float,
) -> Entry:
    replica = pool.replicas[given.id]
    reported = [it.requests for it in given.in_flight if it.source == ENVOYS]
    return Entry(
        at=now,
        lifetime=given.generation,
        state=seen.readiness.state,
        draining=replica.draining.value if replica.draining else None,
        failure=seen.failure,
        age=None if given.scraped_at is None else now - given.scraped_at,
        window=given.window,
        by_envoys=not pool.settings.metrics.is_scraped,
        in_flight=reported[0] if reported else None,
        capacity=decided.capacity,
        weight=decided.weight,
        tier=decided.tier,
        share=decided.share,
        classes=decided.classes,
        serving=many,
        drained=decided.drained,
        stale=decided.stale,
        steps=decided.steps,
    )
