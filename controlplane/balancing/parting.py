"""Which replicas serve short requests (searches) and which long ones (bulk), chosen by prediction.

A search that waits behind a bulk request takes as long as that does. So where sizes fall into two
classes, searches get replicas of their own: the slowest that are enough, because a search costs the
start of a batch and hardly any speed. Where sizes have no classes but replicas differ in speed,
long requests go to the fast replicas alone and these get fewer of the short ones (size-interval
task assignment: Harchol-Balter, Crovella and Murta, 1999).
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from controlplane.balancing.candidates import (
    BULK_FULL,
    SEARCH_FULL,
    Demand,
    Fleet,
    Forecast,
    best_for_searches,
    fast_set,
    forecast_apart,
    forecast_together,
)

PART_AFTER, GROW_AFTER, SHRINK_AFTER = 2.0, 60.0, 40.0
"""Seconds for which a prediction must ask for it."""
TOGETHER_AFTER: Final = 600.0
"""Seconds without one of the classes after which requests are together again."""
SUFFERS: Final = 1.0
"""Times the predicted p99 of bulk without parting that work waits at the replicas for bulk, from
where on requests are better together."""
TOO_MUCH: Final = 3.0
"""Seconds for which that must be so."""
CROWDED: Final = 2.0
"""Times the predicted p99 of searches that work waits at their replicas from where on they get more
at once."""
RELIEF: Final = 1.0
"""Seconds until they get more again."""
SWAP: Final = 0.8
"""Part of the capacity of the set for searches with which the slowest replicas would do as well."""
SWAP_AFTER: Final = 10.0
"""Seconds for which that must be so."""
EVERY: Final = 1.0
"""Seconds between two looks."""
MOVE: Final = 1.35
"""Factor by which a threshold must be off to be moved."""

Kind = Literal["apart", "long to fast"]


@dataclass(frozen=True, slots=True)
class Parting:
    """How requests are parted.

    Attributes:
        kind: Sets apart, or long requests to the fast replicas.
        threshold: Bytes from which on a request is long.
        own: Ids of the replicas that one class has: searches theirs, where sets are apart; long
            requests theirs, where those go to the fast replicas.
        begun: From when on requests are parted: Envoys first check the health of a new cluster.
        part: Part of all work that is long, 0 to 1.
        together: Forecast without parting; None where none was made.
        forecast: Forecast with it.
        asked: What has been asked for since when, as (number of replicas, seconds).
        seen: When both classes were last there.
        crowded: Since when bulk has been more than its replicas carry; NaN: it is not.
        joined: When a replica joined the set for searches, by id, while it still has what came
            before.
        grown: When the set was made or became larger last.
        swap: Since when other replicas would do for searches with less capacity; NaN: they do not.
    """

    kind: Kind
    threshold: int
    own: frozenset[str]
    begun: float
    part: float
    together: Forecast | None = None
    forecast: Forecast | None = None
    asked: tuple[int, float] = (0, 0.0)
    seen: float = 0.0
    crowded: float = math.nan
    joined: dict[str, float] = field(default_factory=dict)
    grown: float = -math.inf
    swap: float = math.nan

    def is_in_force(self, now: float) -> bool:
        """Whether requests go by class already."""
        return now >= self.begun


@dataclass(frozen=True, slots=True)
class Looked:
    """The last look at a pool.

    Attributes:
        at: When.
        wanted_since: Since when parting has been wanted; NaN: it is not.
        parting: In force, or about to be; None: requests are together.
    """

    at: float = -math.inf
    wanted_since: float = math.nan
    parting: Parting | None = None


def looked(
    before: Looked,
    fleet: Fleet,
    demand: Demand | None,
    fast: Demand | None,
    dispatchers: int,
    notice: float,
    waits: float,
    bulk_waits: float,
    now: float,
) -> Looked:
    """Decide anew how requests are parted.

    Args:
        before: The last look.
        fleet: Replicas that may serve.
        demand: By the threshold that parts classes best, or the one in force; None: unknown.
        fast: By a threshold that suits the fast replicas; None: there are none, or it is unknown.
        dispatchers: Envoys that share out requests.
        notice: Seconds that Envoys need until they can part requests.
        waits: Seconds of work that the replicas for searches have, on average; NaN: unknown.
        bulk_waits: The same of the replicas for bulk.
        now: Seconds of a monotonic clock.
    """
    parting = before.parting
    if parting is not None:
        parting = _with_members(parting, fleet, now)
    if parting is not None and parting.kind == "apart" and demand is not None:
        parting = _relieved(parting, fleet, demand, waits, now)
    before = replace(before, parting=parting)
    if now - before.at < EVERY or demand is None:
        return before
    if parting is None:
        return _wanted(before, fleet, demand, fast, dispatchers, notice, now)
    if parting.kind == "long to fast":
        clear = (
            demand.is_clear
            and demand.enough
            and best_for_searches(fleet, demand, dispatchers) is not None
        )
        if clear:
            return _wanted(before, fleet, demand, fast, dispatchers, notice, now)
        return Looked(now, math.nan, _long_to_fast(parting, fast, now))
    return Looked(now, math.nan, _moved(parting, fleet, demand, dispatchers, bulk_waits, now))


def _wanted(
    before: Looked,
    fleet: Fleet,
    demand: Demand,
    fast: Demand | None,
    dispatchers: int,
    notice: float,
    now: float,
) -> Looked:
    """Part requests once that has been wanted for long enough."""
    found = (
        best_for_searches(fleet, demand, dispatchers) if demand.is_clear and demand.enough else None
    )
    since = now if math.isnan(before.wanted_since) else before.wanted_since
    if found is not None:
        if now - since < PART_AFTER:
            return Looked(now, since, before.parting)
        count, together, apart = found
        part = demand.long.tokens / max(demand.all.tokens, 1e-9)
        own = frozenset(fleet.ids[:count])
        return Looked(
            now,
            math.nan,
            Parting(
                "apart",
                demand.threshold,
                own,
                now + notice,
                part,
                together,
                apart,
                (count, now),
                now,
                joined=dict.fromkeys(own, now + notice),
                grown=now + notice,
            ),
        )
    if before.parting is None and fast is not None and fast.enough and not demand.is_clear:
        own = fast_set(fleet)
        if own:
            part = fast.long.tokens / max(fast.all.tokens, 1e-9)
            return Looked(
                now,
                math.nan,
                Parting("long to fast", fast.threshold, own, now + notice, part, seen=now),
            )
    return Looked(now, math.nan, before.parting)


def _long_to_fast(parting: Parting, fast: Demand | None, now: float) -> Parting | None:
    """Follow the sizes of requests, where long ones go to the fast replicas."""
    if fast is None or not fast.enough:
        return parting if now - parting.seen < TOGETHER_AFTER else None
    if not 1 / MOVE < fast.threshold / parting.threshold < MOVE:
        parting = replace(parting, threshold=fast.threshold)
    part = fast.long.tokens / max(fast.all.tokens, 1e-9)
    return replace(parting, part=part, seen=now)


def _with_members(parting: Parting, fleet: Fleet, now: float) -> Parting | None:
    """Follow who may serve: a replica that has gone is replaced at once."""
    if parting.kind == "long to fast":
        fast = fast_set(fleet)
        if not fast:
            return None
        return parting if fast == parting.own else replace(parting, own=fast)
    present = [id_ for id_ in fleet.ids if id_ in parting.own]
    missing = len(parting.own) - len(present)
    if len(fleet.ids) < 2:
        return None
    if not missing:
        return parting
    rest = [id_ for id_ in fleet.ids if id_ not in parting.own]
    most = len(fleet.ids) - 1
    come = rest[: max(min(missing, most - len(present)), 0)]
    own = frozenset([*present, *come])
    joined = {id_: at for id_, at in parting.joined.items() if id_ in own}
    joined |= dict.fromkeys(come, now)
    return replace(parting, own=own, joined=joined, grown=now) if own else None


def _moved(
    parting: Parting, fleet: Fleet, demand: Demand, dispatchers: int, bulk_waits: float, now: float
) -> Parting | None:
    """Let the set for searches grow or shrink, or put requests together again."""
    if demand.short.rate > 0 and demand.long.rate > 0:
        parting = replace(parting, seen=now)
    elif now - parting.seen >= TOGETHER_AFTER:
        return None
    mask = np.asarray([id_ in parting.own for id_ in fleet.ids])
    for_search = float(fleet.capacity[mask].sum())
    for_bulk = float(fleet.capacity[~mask].sum())
    total = for_search + for_bulk
    part = demand.long.tokens / max(demand.all.tokens, 1e-9)
    parting = replace(parting, part=part)
    together = forecast_together(fleet, demand, dispatchers)
    apart = forecast_apart(fleet, parting.own, demand, dispatchers)
    parting = replace(parting, together=together, forecast=apart)
    count = len(parting.own)
    carries = np.cumsum([*fleet.capacity[mask], *fleet.capacity[~mask]])
    fits = demand.short.tokens <= SEARCH_FULL * carries
    fits &= demand.long.tokens <= BULK_FULL * (total - carries)
    # One replica at least is for bulk.
    fits[-1] = False
    if not fits[count - 1] and fits.any():
        counts = 1 + np.flatnonzero(fits)
        return _resized(parting, fleet, int(counts[np.abs(counts - count).argmin()]), now)
    if demand.all.tokens < total and bulk_waits > SUFFERS * together.bulk:
        since = now if math.isnan(parting.crowded) else parting.crowded
        return replace(parting, crowded=since) if now - since < TOO_MUCH else None
    parting = replace(parting, crowded=math.nan)
    found = best_for_searches(fleet, demand, dispatchers) if demand.enough else None
    if found is None:
        return parting
    wanted, *_ = found
    if wanted == count:
        return _swapped(replace(parting, asked=(count, now)), fleet, now)
    asked, since = parting.asked
    if (asked > count) != (wanted > count) or asked == count:
        return replace(parting, asked=(wanted, now))
    if now - since < (GROW_AFTER if wanted > count else SHRINK_AFTER):
        return replace(parting, asked=(wanted, since))
    return _resized(parting, fleet, wanted, now)


def _relieved(parting: Parting, fleet: Fleet, demand: Demand, waits: float, now: float) -> Parting:
    """Double the set for searches at once where they wait, as far as bulk leaves it."""
    forecast = parting.forecast
    if forecast is None or not waits > CROWDED * forecast.search or not parting.is_in_force(now):
        return parting
    recent = now - parting.grown < RELIEF
    count = len(parting.own)
    mask = np.asarray([id_ in parting.own for id_ in fleet.ids])
    # The slowest come first; bulk keeps what it needs.
    spare = (
        np.cumsum(fleet.capacity[~mask]) <= float(fleet.capacity[~mask].sum()) - demand.long.tokens
    )
    more = min(count, int(spare.sum()), len(fleet.ids) - count - 1)
    return parting if recent or more < 1 else _resized(parting, fleet, count + more, now)


def _swapped(parting: Parting, fleet: Fleet, now: float) -> Parting:
    """Let a faster replica serve bulk, and a slower one searches in its place."""
    count = len(parting.own)
    mask = np.asarray([id_ in parting.own for id_ in fleet.ids])
    if float(fleet.capacity[:count].sum()) > SWAP * float(fleet.capacity[mask].sum()):
        return replace(parting, swap=math.nan)
    if math.isnan(parting.swap):
        return replace(parting, swap=now)
    if now - parting.swap < SWAP_AFTER:
        return parting
    fastest = max((id_ for id_ in fleet.ids if id_ in parting.own), key=fleet.ids.index)
    slowest = next(id_ for id_ in fleet.ids if id_ not in parting.own)
    own = (parting.own - {fastest}) | {slowest}
    joined = {id_: at for id_, at in parting.joined.items() if id_ in own} | {slowest: now}
    return replace(parting, own=own, joined=joined, swap=math.nan)


def _resized(parting: Parting, fleet: Fleet, count: int, now: float) -> Parting:
    """Take the slowest replicas into the set, or the fastest out of it."""
    inside = [id_ for id_ in fleet.ids if id_ in parting.own]
    outside = [id_ for id_ in fleet.ids if id_ not in parting.own]
    own = [*inside, *outside[: max(count - len(inside), 0)]][:count]
    joined = {id_: at for id_, at in parting.joined.items() if id_ in own}
    new = [id_ for id_ in own if id_ not in parting.own]
    joined |= dict.fromkeys(new, now)
    grown = now if new else parting.grown
    return replace(parting, own=frozenset(own), joined=joined, asked=(count, now), grown=grown)
