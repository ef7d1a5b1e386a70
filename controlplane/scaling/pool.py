"""What is known of one pool for scaling it, and how many replicas it should have."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from controlplane.balancing import Decision
from controlplane.balancing.frame import COUNTING, recent_rate
from controlplane.balancing.sentences import counted, duration, number, percent
from controlplane.config import PoolSettings
from controlplane.config.pool import ScalingSettings
from controlplane.scaling.demand import (
    ClassDemand,
    LoadHistory,
    Typical,
    demands_of,
    upper_quartile,
)
from controlplane.scaling.rule import Load, Need, floor_of, need_of

UNKNOWN: Final = 60.0
"""Seconds that a start is taken to last before any was seen."""
LONGEST: Final = 1800.0
"""Seconds; a start that took longer waited for something else, such as a free GPU."""
MOST_SAMPLES: Final = 16
"""Starts that are remembered."""
OVERDUE: Final = 3.0
"""Cold starts after which a replica that is not ready counts no more."""


class ReplicaState(NamedTuple):
    """The state of a replica that scaling looks at.

    Attributes:
        generation: Differs between any two processes under one id.
        is_ready: Whether it serves.
        since: When its state began; −inf: it was there before us.
        ready_since: When it became ready; None where that was not seen.
        is_out: It is there and gets no requests: drained by an operator, or cut.
        is_leaving: It goes by itself: its lease is over, or no source has it any more.
    """

    generation: int
    is_ready: bool
    since: float
    ready_since: float | None
    is_out: bool = False
    is_leaving: bool = False


@dataclass
class ColdStarts:
    """The last starts of a pool's replicas.

    Attributes:
        samples: Seconds that each took, the newest last.
        asked_at: Since when more replicas are wanted than there are; None: there are enough.
        going_on: Seconds that the longest start has lasted so far that has not ended.
    """

    samples: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_SAMPLES))
    asked_at: float | None = None
    going_on: float = 0.0
    _begun: dict[tuple[str, int], float | None] = field(default_factory=dict)
    _has_looked: bool = False

    @property
    def seconds(self) -> float:
        """What a start takes, in all but a quarter of cases, and no less than one that goes on."""
        return max(self.known, self.going_on)

    @property
    def known(self) -> float:
        """The same by those starts alone that have ended."""
        return upper_quartile(self.samples) if self.samples else UNKNOWN

    @property
    def overdue(self) -> float:
        """Seconds after which a replica that is not ready counts no more."""
        return OVERDUE * self.known

    def look(self, replicas: Mapping[str, ReplicaState], now: float) -> None:
        """Take in how ready replicas are.

        A start begins when one more replica was wanted, where that is known, and else when it was
        registered. A replica that was ready when it came has shown no start unless it was wanted.
        """
        begun = dict[tuple[str, int], float | None]()
        for id_, each in replicas.items():
            key = (id_, each.generation)
            start = self._begun.get(key)
            if key not in self._begun and self._has_looked:
                start = self.asked_at
                if not each.is_ready and start is None and each.since > -1e300:
                    start = each.since
            if each.is_ready and start is not None and each.ready_since is not None:
                self.learn((each.ready_since - start,))
                start = None
            begun[key] = None if each.is_ready else start
        self._begun, self._has_looked = begun, True
        ages = (now - start for start in begun.values() if start is not None)
        self.going_on = max((age for age in ages if age <= self.overdue), default=0.0)

    def learn(self, samples: Iterable[float]) -> None:
        """Take in what starts took, in seconds."""
        self.samples.extend(sample for sample in samples if 0 < sample <= LONGEST)

    def wanted(self, missing: int, now: float) -> None:
        """Note how many more replicas are wanted than there are."""
        if missing <= 0:
            self.asked_at = None
        elif self.asked_at is None:
            self.asked_at = now

    def data(self) -> Sequence[float]:
        """What outlives a restart, for `learn`."""
        return [round(sample, 3) for sample in self.samples]


EVERY: Final = 2.0
"""Seconds between two looks at a pool."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """How many replicas a pool should have.

    Attributes:
        replicas: So many, within the bounds of its settings.
        current: That count now: they serve, are about to, or are drained or cut.
        present: That the present load needs.
        removable: Ids of replicas that may go, the first to go first. The others carry the load.
        typical: Tokens per second of the median replica; None: nothing is measured.
        horizon: Seconds that a replica takes from being wanted to serving.
        starts: How many starts that was learned from; 0: it is an assumption.
        active: Whether requests come.
    """

    pool: str
    replicas: int
    current: int
    present: int
    needs: tuple[Need, ...]
    removable: tuple[str, ...]
    typical: float | None
    horizon: float
    starts: int
    active: bool
    reasons: tuple[str, ...]


class PoolScaling:
    """Follows one pool."""

    def __init__(self, now: float) -> None:
        """Begin at a time in seconds of a monotonic clock."""
        self.cold_starts = ColdStarts()
        self._loads: dict[str, LoadHistory] = {}
        self._typical: Typical | None = None
        self._watched_since = self._looked_at = now
        self._request_at = -math.inf
        self._unserved = 0
        self._unserved_by = deque[tuple[float, float]]()
        self._demands: tuple[ClassDemand, ...] = ()
        self._has_looked = False

    def is_due(self, now: float) -> bool:
        """Whether it is time for another look."""
        return not self._has_looked or now - self._looked_at >= EVERY

    def requested(self, now: float, unserved: int = 0) -> None:
        """Note that requests came; `unserved` of them found no replica in the pool."""
        self._request_at = now
        self._unserved += unserved

    def look(
        self,
        settings: PoolSettings,
        decision: Decision | None,
        replicas: Mapping[str, ReplicaState],
        now: float,
    ) -> None:
        """Take in the newest decision and how ready replicas are."""
        serving = {id_ for id_, replica in replicas.items() if _serves(replica)}
        found = demands_of(decision, now, serving) if decision is not None else ()
        is_measured = decision is not None and decision.is_measured
        self.take(settings, found, replicas, now, is_measured=is_measured)

    def take(
        self,
        settings: PoolSettings,
        demands: tuple[ClassDemand, ...],
        replicas: Mapping[str, ReplicaState],
        now: float,
        *,
        is_measured: bool,
    ) -> None:
        """Take in what comes, what carries it, and how ready replicas are."""
        self._has_looked, self._looked_at = True, now
        self._demands = demands = self._with_unserved(demands, now)
        self.cold_starts.look(replicas, now)
        if is_measured:
            fleets = [Typical.of(demand.fleet) for demand in demands if demand.fleet.ids]
            if known := [fleet for fleet in fleets if fleet is not None]:
                self._typical = sorted(known)[len(known) // 2]
        if any(demand.flow.rate > 0 for demand in self._demands):
            self._request_at = now
        horizon = self.cold_starts.seconds
        titles = {demand.title for demand in self._demands}
        self._loads = {title: history for title, history in self._loads.items() if title in titles}
        starting = self._starting(replicas, now)
        for each in self._demands:
            load = self._loads.setdefault(each.title, LoadHistory())
            load.add(each.flow.tokens, now)
            # Who starts will serve some class: it counts for each in proportion to its work.
            part = each.flow.tokens / max(sum(demand.flow.tokens for demand in self._demands), 1e-9)
            ages = {id_: part * (now - since) for id_, since in starting.items()}
            floor = (
                floor_of(load.level, each.backlog, each.fleet, ages, self._typical, horizon)
                if self._typical is not None
                else 0.0
            )
            load.keep(load.forecast(horizon), now, settings.scaling.scale_down_after)
            load.keep_floor(floor, now, horizon)

    def _with_unserved(
        self, demands: tuple[ClassDemand, ...], now: float
    ) -> tuple[ClassDemand, ...]:
        """Add requests that found no replica: the pool needs replicas for them."""
        counts = self._unserved_by
        counts.append((now, self._unserved))
        while counts[0][0] < now - COUNTING:
            counts.popleft()
        rate = recent_rate(counts)
        if not rate or not demands:
            return demands
        first, *others = demands
        flow = replace(first.flow, rate=first.flow.rate + rate)
        return (replace(first, flow=flow), *others)

    def is_active(self, settings: PoolSettings, now: float) -> bool:
        """Tell whether the pool is to have replicas: requests came lately, or it is never empty."""
        since = max(self._request_at, self._watched_since)
        scaling = settings.scaling
        return scaling.min_replicas > 0 or now - since < scaling.scale_down_after

    def recommend(
        self,
        name: str,
        settings: PoolSettings,
        replicas: Mapping[str, ReplicaState],
        dispatchers: int,
        now: float,
        *,
        held: str | None = None,
    ) -> Recommendation:
        """Work out how many replicas the pool should have.

        `dispatchers`: Envoys that share out its requests. `held`: why it is to have no fewer than
        now; None: it may.
        """
        scaling, typical = settings.scaling, self._typical
        starting = self._starting(replicas, now)
        coming = sorted(starting, key=lambda id_: (-starting[id_], id_))
        out = sum(replica.is_out and not replica.is_leaving for replica in replicas.values())
        serving = sum(_serves(replica) for replica in replicas.values())
        current = serving + len(coming) + out
        active = self.is_active(settings, now)
        needs = tuple(self._needs(coming, typical, dispatchers, settings))
        wanted = sum(need.wanted for need in needs) if needs else serving + len(coming)
        present = sum(need.now for need in needs) if needs else wanted
        wanted, present = wanted + out, present + out
        if now - self._watched_since < scaling.scale_down_after and held is None:
            held = f"the load is known for {duration(now - self._watched_since)} only"
        least = max(scaling.min_replicas, 1 if active else 0)
        bounded = max(wanted, least, current if held is not None else 0)
        if scaling.max_replicas is not None:
            bounded = min(bounded, scaling.max_replicas)
        spare = [id_ for need in needs for id_ in need.spare]
        removable = tuple(spare[: max(current - bounded, 0)])
        self.cold_starts.wanted(bounded - current, now)
        found = Recommendation(
            name,
            bounded,
            current,
            present,
            needs,
            removable,
            typical.capacity if typical is not None else None,
            self.cold_starts.seconds,
            len(self.cold_starts.samples),
            active,
            (),
        )
        reasons = self._reasons(found, scaling, wanted, least, out, held)
        return replace(found, reasons=tuple(reasons))

    def _needs(
        self,
        coming: Sequence[str],
        typical: Typical | None,
        dispatchers: int,
        settings: PoolSettings,
    ) -> Iterator[Need]:
        # Replicas that start go where the most work is.
        heaviest = max(self._demands, key=lambda demand: demand.flow.tokens, default=None)
        for each in self._demands:
            tokens, floor = self._loads[each.title].most()
            load = Load(max(tokens, each.flow.tokens), floor)
            joining = coming if each is heaviest else ()
            choosing = len(settings.gateways_of(each.name)) or dispatchers
            most = settings.scaling.max_utilization
            yield need_of(each, load, joining, typical, choosing, most)

    def _starting(self, replicas: Mapping[str, ReplicaState], now: float) -> dict[str, float]:
        """Since when replicas have been about to serve; one that takes too long counts no more."""
        # What was there before us began before we know.
        since = {id_: max(replica.since, self._watched_since) for id_, replica in replicas.items()}
        return {
            id_: since[id_]
            for id_, replica in replicas.items()
            if not replica.is_ready
            and not replica.is_out
            and not replica.is_leaving
            and now - since[id_] <= self.cold_starts.overdue
        }

    def _reasons(
        self,
        found: Recommendation,
        scaling: ScalingSettings,
        wanted: int,
        least: int,
        out: int,
        held: str | None,
    ) -> Iterator[str]:
        change = found.replicas - found.current
        many = counted(found.replicas, "replica")
        differs = f", {abs(change)} {'more' if change > 0 else 'fewer'}" if change else ""
        yield f"{many} wanted, {found.current} there{differs}"
        if not found.active:
            yield f"No request came for {duration(scaling.scale_down_after)}"
        if self._typical is None:
            yield (
                "Nothing is known yet of what a replica carries: the pool keeps what it has until"
                " requests were measured"
            )
        else:
            yield (
                f"A typical replica carries {number(self._typical.capacity)} tokens/s, the median;"
                " a new one counts as that"
            )
            for need in found.needs:
                yield from _of_class(need, scaling.max_utilization)
            known = counted(found.starts, "start")
            how = f"learned from {known}" if found.starts else "assumed until a start is seen"
            yield f"A new replica serves {duration(found.horizon)} after it is wanted, {how}"
        if out:
            yield f"{counted(out, 'replica')} drained or cut: on top, as they serve nothing"
        if found.removable:
            yield (
                f"Enough without {_named(found.removable)} for the last"
                f" {duration(scaling.scale_down_after)}"
            )
        if held is not None and wanted < found.current:
            yield f"No fewer for now: {held}"
        elif wanted < least:
            why = "min_replicas" if scaling.min_replicas >= least else "requests come"
            yield f"At least {least}: {why}"
        if scaling.max_replicas is not None and max(wanted, least) > scaling.max_replicas:
            yield f"At most {scaling.max_replicas}, max_replicas: {wanted} are needed"


def _serves(replica: ReplicaState) -> bool:
    return replica.is_ready and not replica.is_out and not replica.is_leaving


def _of_class(need: Need, max_utilization: float) -> Iterator[str]:
    demand, load, title = need.demand, need.load, need.demand.title
    # Beside the capacity of a typical replica too few would seem to be needed.
    which = ", the fastest first" if need.now < len(demand.fleet.ids) else ""
    present = f"{number(demand.flow.tokens)} tokens/s need {counted(need.now, 'replica')}{which}"
    words = f"For {title}, the present {present}"
    if load.tokens > demand.flow.tokens * 1.005:
        words += f"; the forecast, {number(load.tokens)} tokens/s, needs {need.wanted}"
    yield words
    if load.floor > load.tokens:
        yield (
            f"Requests wait at the replicas for {title}: capacity for {number(load.floor)} tokens/s"
            " works that off"
        )
    part = percent(max_utilization)
    if need.utilization is not None and need.p99 is not None:
        words = (
            f"With {counted(need.wanted, 'replica')} for {title}, {percent(need.utilization)} of"
            f" their capacity is used, with a predicted p99 of {duration(need.p99)}"
        )
        if demand.objective is not None and need.is_reachable:
            words += f"; the objective is {duration(demand.objective)}"
        yield words
    if demand.objective is None:
        yield f"Without an objective for {title}, {part} of the capacity may be used"
    elif not need.is_reachable:
        yield (
            f"No number of replicas gives {title} a p99 of {duration(demand.objective)}: the"
            f" longest take longer alone. {part} of the capacity may be used"
        )


def _named(ids: Sequence[str]) -> str:
    more = len(ids) - 8
    return ", ".join(ids) if more <= 0 else f"{', '.join(ids[:8])} and {more} more"
