"""The last hour of every replica: decisions in, the explanations worth telling out.

Sentences say what differs between two of them.

Most decisions are like the one before. Kept is what differs in something an operator would ask
about, and one entry every `REGULAR` seconds. Where a replica is so restless that this is too much,
entries are left out, first those between others that are close in time and much alike.

An hour of entries has to be small, so each is packed into some 300 bytes as soon as it is made.
"""

import json
import math
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Final

import numpy as np

from controlplane.balancing import ENVOYS, Decision
from controlplane.balancing.columns import Bools, Floats, Ints
from controlplane.balancing.explain import is_telling
from controlplane.balancing.sentences import Step, counted, number, percent
from controlplane.balancing.sets import DEAD_BAND
from controlplane.fleet import Pool
from controlplane.plane.inputs import Seen, input_of
from controlplane.plane.observed import State
from controlplane.telemetry import GpuMemory, Window
from controlplane.telemetry.load import drained


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What was known and decided of a replica at one time.

    Attributes:
        lifetime: Differs between any two processes seen at one address.
        age: Seconds since the last of what is in the window.
        window: Its readings or, `by_envoys`, what Envoys counted.
        in_flight: Requests that all Envoys together had at it.
        capacity: Requests per second that it was taken to carry.
        share: Of the pool's traffic, expected, 0 to 1; None where only Envoys knew.
        classes: Names of the classes of requests that it served first, where requests were parted.
        serving: Replicas of the pool that had a share.
        drained: It was cut, for its memory or because its requests failed.
    """

    at: float
    lifetime: int
    state: State
    draining: str | None
    failure: str | None
    age: float | None
    window: Window | None
    by_envoys: bool
    in_flight: float | None
    capacity: float | None
    weight: int
    tier: str
    share: float | None
    classes: tuple[str, ...]
    serving: int
    drained: bool
    stale: bool
    steps: tuple[Step, ...]


_JSON: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_PLAIN: Final = tuple(
    column.name for column in fields(HistoryEntry) if column.name not in ("window", "steps")
)
_OF_DECISION: Final = (
    "capacity",
    "weight",
    "tier",
    "share",
    "classes",
    "drained",
    "stale",
    "steps",
)
"""What an entry has of a `ReplicaDecision`, by the same names."""
_WINDOW: Final = tuple(
    column.name
    for column in fields(Window)
    if column.name not in ("memory", "batches", "batches_total", "bounds", "counts")
)
"""What is kept of a window beside its GPUs; its batches and its distribution are not kept."""

_PHRASES: Final = (
    '","The last scrape failed: no answer within connection refused starting gone operator lease'
    '"Slow start: ready for s of 10 s""Overloaded: s of work is waiting; minimum weight until'
    ' that is done""stale","No successful scrape for s: moves to the pool\'s median""memory","Cut:'
    " GPU memory reached the hard limit % and is %; it returns once memory stays below the soft"
    " limit %"
    ' GPU memory % is over the soft limit %""errors"," % of its requests failed""change","Became'
    ' × slower s ago""few requests","Only requests measured: mixed with the pool\'s median'
    ' to requests/s""class bulk","Serves bulk (requests from bytes on, % of the work) with weight'
    ' ""class search","Serves search only while the replicas for that class cannot'
    '""backlog","Its tier has ms of work waiting, the average is ms""tier","In tier-7 tier-9'
    " tier-8 with others; the pool is % busy, slow replicas keep more headroom; moves to a slower"
    ' tier if that lasts"],["damping","Moves to × the median step by step"],["median"," × the'
    " pool's median;"
    ' all replicas are about equal and get equal shares"],["estimate",null,"Capacity tokens/s'
    ' requests/s ± %, from requests (1 slot, mean latency ms)"]["ready",null,null,"tier-8",false,'
    'false,"ok",0.0,null,1000,1.0,[],'
).encode()
"""What entries are full of, the most frequent last. A phrase that is missing costs some bytes."""


def packed(entry: HistoryEntry) -> bytes:
    """An entry as few bytes; numbers keep five significant digits."""
    window = entry.window
    document = [
        [[step.name, _short(step.before), _short(step.after), step.words] for step in entry.steps],
        [_short(getattr(entry, name)) for name in _PLAIN],
        window and [[gpu.uuid, _short(gpu.used), _short(gpu.total)] for gpu in window.memory],
        window and [_short(getattr(window, name)) for name in _WINDOW],
    ]
    squeezer = zlib.compressobj(level=4, wbits=-15, memLevel=5, zdict=_PHRASES)
    text = _JSON.encode(document).encode("utf-8", "replace")
    return squeezer.compress(text) + squeezer.flush()


def unpacked(data: bytes, at: float) -> HistoryEntry:
    """Unpack an entry. `at` is its full time, as packed numbers have five digits only."""
    text = zlib.decompressobj(wbits=-15, zdict=_PHRASES).decompress(data)
    steps, plain, memory, numbers = json.loads(text)
    window = None
    if numbers is not None:
        read = dict(zip(_WINDOW, numbers, strict=True))
        window = Window(**read, memory=tuple(GpuMemory(*gpu) for gpu in memory))
    known: dict[str, Any] = dict(zip(_PLAIN, plain, strict=True))
    known |= {"at": at, "state": State(known["state"]), "classes": tuple(known["classes"])}
    return HistoryEntry(**known, window=window, steps=tuple(Step(*step) for step in steps))


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if type(value) is float else value


RETENTION: Final = 3600.0
"""Seconds that an entry is kept."""
REGULAR: Final = 300.0
"""Seconds after which an entry is made even if nothing has changed."""
_AT_A_TIME: Final = 0.02
"""Part of a pool that gets such entries in one decision, so that no decision waits for all."""
MOST_BYTES: Final = 24_000
"""Bytes of one replica's entries at most; with everything else, its history stays below 30 kB."""
_OVERHEAD: Final = 180
"""Bytes that Python needs for an entry beside its packed content."""
_SOFT: Final = 60.0
"""Seconds; of entries younger than that none is left out before others just for its age."""

_NOTICED: Final = math.log1p(DEAD_BAND)


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """An entry, the one before it, and how many between the two had no room."""

    entry: HistoryEntry
    before: HistoryEntry | None
    left_out: int


@dataclass(slots=True)
class _Packed:
    at: float
    jump: float
    data: bytes
    left_out: int = 0

    @property
    def size(self) -> int:
        return len(self.data) + _OVERHEAD


@dataclass(slots=True)
class _History:
    """The history of one generation of a replica."""

    entries: list[_Packed] = field(default_factory=list)
    size: int = 0

    def add(self, stored: _Packed) -> None:
        self.entries.append(stored)
        self.size += stored.size
        while self.entries[0].at < stored.at - RETENTION:
            self._drop(0)
        while self.size > MOST_BYTES and len(self.entries) > 2:
            inner = range(1, len(self.entries) - 1)
            least = min(inner, key=lambda index: self._worth(index, stored.at))
            self.entries[least + 1].left_out += self.entries[least].left_out + 1
            self._drop(least)

    def _worth(self, index: int, now: float) -> float:
        """How much would be lost with an entry: time that it stands for, by what it tells."""
        entry, before, after = (self.entries[index + by] for by in (0, -1, 1))
        return (after.at - before.at) / (now - entry.at + _SOFT) * (entry.jump + DEAD_BAND)

    def _drop(self, index: int) -> None:
        self.size -= self.entries.pop(index).size


class _Pool:
    """The histories of a pool's replicas, and what their newest entries tell, by row."""

    def __init__(self) -> None:
        self.histories: dict[str, _History] = {}
        self._rows: Mapping[str, int] = {}
        self._share: Floats = np.zeros(0)
        self._marks: Ints = np.zeros(0, np.int64)
        self._at: Floats = np.zeros(0)

    def forget(self, id_: str) -> None:
        self.histories.pop(id_, None)
        if (row := self._rows.get(id_)) is not None:
            self._share[row], self._marks[row], self._at[row] = 0.0, 0, -math.inf

    def due(self, decision: Decision, changed: Bools) -> tuple[Bools, Floats]:
        """Choose the rows that get an entry now, and work out by how much each has changed."""
        self._rows = decision.rows
        if (grown := len(decision.share) - len(self._share)) > 0:
            self._share = np.concatenate([self._share, np.zeros(grown)])
            self._marks = np.concatenate([self._marks, np.zeros(grown, np.int64)])
            self._at = np.concatenate([self._at, np.full(grown, -math.inf)])
        frame = decision.frame
        assert frame is not None  # noqa: S101 - only that of one before a restart is not there
        differs = decision.marks != self._marks
        jump = _jump(self._share, decision.share) + differs
        read = ~np.isnan(frame.age)
        rows = frame.alive & (read | changed) & (jump > _NOTICED)
        regular = frame.alive & read & ~rows & (decision.at - self._at >= REGULAR)
        rows[np.flatnonzero(regular)[: math.ceil(_AT_A_TIME * read.sum())]] = True
        self._share[rows], self._marks[rows] = decision.share[rows], decision.marks[rows]
        self._at[rows] = decision.at
        return rows, jump


class Histories:
    """The last hour of all replicas, in memory: a restart of this process begins anew."""

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}
        # What makes the entries of replicas, which takes long for all of a large pool.
        self._unwritten: dict[tuple[str, str], Callable[[], None]] = {}

    def forget(self, pool: str, replica: str) -> None:
        """Forget a replica that is no longer there, or that another one has replaced."""
        self._unwritten.pop((pool, replica), None)
        if (known := self._pools.get(pool)) is not None:
            known.forget(replica)
            if not known.histories:
                del self._pools[pool]

    def record(self, pool: Pool, decision: Decision, changed: Bools, seen: Seen) -> None:
        """Take in a decision, and the rows that it changes; see `writing`."""
        known = self._pools.setdefault(pool.name, _Pool())
        rows, jumps = known.due(decision, changed)
        many = decision.serving

        def write(id_: str, jump: float) -> None:
            entry = packed(_entry(pool, id_, seen, decision, many))
            known.histories.setdefault(id_, _History()).add(_Packed(decision.at, jump, entry))

        for id_, jump in zip(decision.ids(rows), jumps[rows].tolist(), strict=True):
            if (earlier := self._unwritten.pop((pool.name, id_), None)) is not None:
                earlier()
            self._unwritten[pool.name, id_] = partial(write, id_, jump)

    def writing(self) -> Generator[None, None, None]:
        """Write the entries of past decisions, and yield after each replica."""
        while self._unwritten:
            self._unwritten.pop(next(iter(self._unwritten)))()
            yield

    def of(
        self, pool: str, replica: str, now: float, since: float = RETENTION
    ) -> tuple[HistoryItem, ...]:
        """List what is kept of a replica, the oldest first, of the last `since` seconds."""
        drained(self.writing())
        known = self._pools.get(pool)
        timeline = None if known is None else known.histories.get(replica)
        items: list[HistoryItem] = []
        before = None
        for stored in timeline.entries if timeline else ():
            entry = unpacked(stored.data, stored.at)
            if stored.at >= now - min(since, RETENTION):
                items.append(HistoryItem(entry, before, stored.left_out))
            before = entry
        return tuple(items)


def _jump(before: Floats, after: Floats) -> Floats:
    """By how much shares have changed: the logarithm of the factor; a lot from and to nothing."""
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.abs(np.log(after / before))
    return np.where(same, 0.0, np.where((before > 0) & (after > 0), factor, 2.0))


def _entry(pool: Pool, id_: str, seen: Seen, decision: Decision, many: int) -> HistoryEntry:
    replica, observed, own = pool.replicas[id_], seen.observed[pool.name, id_], decision.of(id_)
    given = input_of(pool, replica, seen, decision.at, is_parted=False)
    reported = [each.requests for each in given.in_flight if each.source == ENVOYS]
    return HistoryEntry(
        at=decision.at,
        lifetime=given.generation,
        state=observed.readiness.state,
        draining=replica.draining.value if replica.draining else None,
        failure=observed.failure,
        # What was read since the decision is no older than now.
        age=None if given.scraped_at is None else max(decision.at - given.scraped_at, 0.0),
        window=given.window,
        by_envoys=not pool.settings.metrics.is_scraped,
        in_flight=reported[0] if reported else None,
        serving=many,
        **{name: getattr(own, name) for name in _OF_DECISION},
    )


_STATES: Final = {
    State.STARTING: "it starts: Envoy is not told of it before its health check answers 200",
    State.READY: "it became ready",
    State.UNHEALTHY: "its health check fails",
    State.GONE: "it went away: nobody listened, or another process took over",
}
_DRAINING: Final = {
    "operator": "an operator drained it",
    "lease": "its lease ran out, so it is drained",
    "discovery": "its source no longer has it, so it is drained",
}
_LEAST: Final = math.log(1.02)
"""Logarithm of the smallest factor that is named as a cause."""


def changes(before: HistoryEntry | None, after: HistoryEntry) -> Iterator[str]:
    """Yield the sentences, the most important first; none where everything is as it was."""
    if before is None:
        yield f"the record begins{_of_traffic(after.share)}"
        return
    yield from _of_share(before, after)
    if after.state is not before.state:
        yield _STATES[after.state]
    if after.lifetime != before.lifetime:
        yield "a new process answers at its address: what was learned of the old one is forgotten"
    if after.draining != before.draining:
        yield _DRAINING.get(after.draining or "", "it is no longer drained")
    if after.tier != before.tier:
        yield _of_tier(before.tier or "no tier", after.tier or "no tier")
    if after.classes != before.classes:
        served = " and ".join(after.classes)
        yield f"it serves {served} first" if served else "requests are no longer parted"
    if after.drained != before.drained:
        yield "it was cut" if after.drained else "its cut ended"
    if (after.failure is None) != (before.failure is None):
        failed = f"scraping it began to fail: {after.failure}"
        yield "it can be scraped again" if after.failure is None else failed
    yield from _of_steps(before, after)


def _of_traffic(share: float | None) -> str:
    return "" if share is None else f": {percent(share)} of the traffic"


def _of_tier(before: str, after: str) -> str:
    # A slow start has tiers of its own, whose names say nothing to a reader.
    if after.startswith("starting-"):
        return "it is in slow start"
    if before.startswith("starting-"):
        return f"its slow start ended: it moved to {after}"
    return f"it moved from {before} to {after}"


def _of_share(before: HistoryEntry, after: HistoryEntry) -> Iterator[str]:
    if before.share is None or after.share is None:
        if before.share != after.share:
            yield (
                "its share is only known to Envoys"
                if after.share is None
                else (f"its share is known again{_of_traffic(after.share)}")
            )
        return
    if before.share == after.share or min(before.share, after.share) <= 0:
        if before.share != after.share:
            verb = "lost" if after.share <= 0 else "got"
            yield f"it {verb} its share: {percent(before.share)} → {percent(after.share)}"
        return
    effect = math.log(after.share / before.share)
    if abs(effect) <= math.log1p(DEAD_BAND):
        return
    verb = "rose" if effect > 0 else "fell"
    cause = _cause(before, after, effect)
    yield f"its share {verb}: {percent(before.share)} → {percent(after.share)}{cause}"


def _cause(before: HistoryEntry, after: HistoryEntry, effect: float) -> str:
    """Which step had the greatest part in a share's change, with its words."""
    sign = math.copysign(1.0, effect)
    effects, words = _effects(before, after), {step.name: step.words for step in after.steps}
    name = max(effects, key=lambda cause: sign * effects[cause], default="")
    others = effect - math.log(after.weight / before.weight)
    if sign * others > max(sign * effects.get(name, 0.0), _LEAST):
        if before.serving == after.serving:
            return ", because the weights of others changed"
        serve = "serves" if after.serving == 1 else "serve"
        now = f"{counted(after.serving, 'replica')} of the pool {serve}"
        return f", because {now}, where it was {before.serving}"
    if sign * effects.get(name, 0.0) <= _LEAST:
        return ""
    if name in words:
        return f", because: {words[name]} ({name}: ×{number(math.exp(effects[name]))} of before)"
    return f", because {name} ended"


def _effects(before: HistoryEntry, after: HistoryEntry) -> dict[str, float]:
    """By step, the logarithm of the factor by which its change moved the weight."""
    old, new = _factors(before.steps), _factors(after.steps)
    effects = {name: new.get(name, 0.0) - old.get(name, 0.0) for name in {**old, **new}}
    if before.capacity is None or after.capacity is None:
        # Where nothing of the pool is measured, the first step starts from no amount of anything.
        effects["median"] = effects.get("median", 0.0) + effects.pop("estimate", 0.0)
    return effects


def _factors(steps: tuple[Step, ...]) -> dict[str, float]:
    """By step the logarithm of its factor; of the first, of what it starts from.

    The step to the median divides by it: a median that moves takes and gives as well.
    """
    factors, value = {}, None
    for step in steps:
        if step.after <= 0:
            continue
        if value is None or step.name == "median":
            factors[step.name] = math.log(step.after) - (math.log(value) if value else 0.0)
        elif step.before:
            factors[step.name] = math.log(step.after / step.before)
        value = step.after
    return factors


def _of_steps(before: HistoryEntry, after: HistoryEntry) -> Iterator[str]:
    old = {step.name: step for step in before.steps if _is_telling(step)}
    new = {step.name: step for step in after.steps if _is_telling(step)}
    yield from (
        f'step "{name}" began: {step.words}' for name, step in new.items() if name not in old
    )
    yield from (f'step "{name}" ended' for name in old if name not in new)


def _is_telling(step: Step) -> bool:
    return bool(is_telling(step.name, step.before, step.after))
