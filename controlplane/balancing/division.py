"""Which replicas serve which class of requests, chosen by prediction.

A short request that waits behind a long one takes as long as that does. So each class gets replicas
of its own: the slowest serve the class with the shortest requests, and so on, because a short
request costs the start of a batch and hardly any speed. For each way to divide the replicas the p99
of every class is predicted, relative to its objective, or to what it would be without classes. No
class may be much worse than that, as far as that can be had; then all of them are to be as fast as
possible, on average of their logarithms.

Where sizes have no classes but replicas differ in speed, long requests go to the fast replicas
alone and these get fewer of the short ones (size-interval task assignment: Harchol-Balter, Crovella
and Murta, 1999).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from controlplane.balancing.candidates import FULL, HOPELESS, Candidates, score_of
from controlplane.balancing.columns import Bools
from controlplane.balancing.demand import Demand
from controlplane.balancing.fleet import Fleet, fast_set
from controlplane.balancing.prediction import NEVER
from controlplane.balancing.table import BULK

GAIN: Final = 0.1
"""Mean logarithm of p99s that classes by size must gain beside none."""
COSTS: Final = 0.05
"""The same that classes may cost where a user names them."""
BETTER: Final = 0.2
"""The same by which another division must be better than the present one."""
EVERY: Final = 1.0
"""Seconds between two looks."""
PART_AFTER: Final = 2.0
"""Seconds for which a division must be wanted where there was none."""
LASTING: Final = 20.0
"""Seconds for which another division must be better."""
TOGETHER_AFTER: Final = 600.0
"""Seconds without one of the classes after which all replicas serve all requests again."""
SUFFERS: Final = 1.0
"""Times its p99 predicted without classes that work waits at the replicas of a class, from where on
requests are better together."""
SUFFERS_ALWAYS: Final = 0.2
"""The same where no division carries all classes: mean waits are a fifth of their p99."""
TOO_MUCH: Final = 3.0
"""Seconds for which that must be so."""
WAITED: Final = 2.0
"""Times what waited without classes that work waits at the replicas of the class with the longest
requests, from where on the same holds."""
CROWDED: Final = 2.0
"""Times the predicted p99 of a class that work waits at its replicas, from where on it gets more at
once."""
LEAST_FORECAST: Final = 0.05
"""Part of its p99 without classes that the forecast for a class counts as then, at least."""
RELIEF: Final = 1.0
"""Seconds until it gets more again."""
MOVE: Final = 1.35
"""Factor by which the threshold for the fast replicas must be off to be moved."""


@dataclass(frozen=True, slots=True)
class Division:
    """Who serves which class.

    Attributes:
        threshold: Bytes from which on a request is long; None where a user names classes.
        sets: Ids of the replicas that a class has for itself.
        rest: The class that has all other replicas. Classes that have neither are served by all.
        begun: From when on requests go by class: Envoys first check the health of new clusters.
        at: When it was last looked at.
        parts: Part of all work by class.
        together: Predicted p99 in seconds by class, without classes.
        forecasts: The same with these sets; empty where there are none.
        since: Since when another division has been wanted; NaN: none is.
        seen: When all classes that have replicas were last there.
        crowded: Since when the rest has had too much waiting; NaN: it has not.
        joined: When a replica joined a set, by id, while it still has what came before.
        grown: When a set was made or became larger last.
        waited: Mean seconds of work that waited at all replicas before there were sets.
    """

    threshold: int | None = None
    sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    rest: str | None = None
    begun: float = math.inf
    at: float = -math.inf
    parts: Mapping[str, float] = field(default_factory=dict)
    together: Mapping[str, float] = field(default_factory=dict)
    forecasts: Mapping[str, float] = field(default_factory=dict)
    since: float = math.nan
    seen: float = -math.inf
    crowded: float = math.nan
    joined: Mapping[str, float] = field(default_factory=dict)
    grown: float = -math.inf
    waited: float = 0.0

    def is_in_force(self, now: float) -> bool:
        """Whether requests go by class already."""
        return now >= self.begun

    @property
    def is_planned(self) -> bool:
        """Whether requests go by class, or are about to."""
        return self.begun < math.inf

    def members(self, name: str, ids: Sequence[str]) -> Bools:
        """Which of some replicas serve a class."""
        if name in self.sets:
            own = self.sets[name]
            return np.asarray([id_ in own for id_ in ids], np.bool_)
        if name == self.rest:
            taken = frozenset[str]().union(*self.sets.values())
            return np.asarray([id_ not in taken for id_ in ids], np.bool_)
        return np.ones(len(ids), np.bool_)


class Given(NamedTuple):
    """What is known at the time of a look.

    Attributes:
        fleet: Replicas that may serve.
        demand: By the threshold in force, or the one that suits best; None: unknown.
        fast: By a threshold that suits the fast replicas; None: there are none, or it is unknown.
        waits: Mean seconds of work at the replicas of each class, as far as known.
        dispatchers: Envoys that share out requests.
        gateways: Those that share out the requests of a class with replicas of its own, by its
            name, where it is not all Envoys.
        notice: Seconds that Envoys need until requests can go by class.
        now: Seconds of a monotonic clock.
        waited: Mean seconds of work at all replicas, weighted by what they carry.
    """

    fleet: Fleet
    demand: Demand | None
    fast: Demand | None
    waits: Mapping[str, float]
    dispatchers: int
    notice: float
    now: float
    gateways: Mapping[str, int] = MappingProxyType({})
    waited: float = 0.0


def divided(before: Division, given: Given) -> Division:
    """Decide anew who serves which class."""
    fleet, demand, now = given.fleet, given.demand, given.now
    found = _relieved(_with_members(before, fleet, now), given)
    if demand is None or len(fleet.ids) < 2 or now - before.at < EVERY:
        return found
    found = replace(found, at=now)
    if found.rest is not None:
        with_replicas = {*found.sets, found.rest}
        if all(name in demand.flows and demand.flows[name].rate > 0 for name in with_replicas):
            found = replace(found, seen=now)
        elif now - found.seen >= TOGETHER_AFTER:
            return _undivided(found)
        if not with_replicas <= demand.flows.keys():
            return found
    if found.threshold is None or found.rest is not None:
        found = replace(found, parts=demand.parts)
    found = _by_prediction(found, given, demand)
    return found if found.rest is not None else _to_fast(found, given, demand)


def _undivided(division: Division) -> Division:
    """Let all replicas serve all requests."""
    if division.threshold is None:
        return replace(division, sets={}, rest=None, forecasts={}, joined={}, since=math.nan)
    return Division(at=division.at)


def _by_prediction(found: Division, given: Given, demand: Demand) -> Division:
    """Choose sets, other sets, or none."""
    fleet, now, is_divided = given.fleet, given.now, found.rest is not None
    if len(demand.flows) < 2:
        return found
    candidates = Candidates(fleet, demand, given.dispatchers, given.gateways)
    together = candidates.together
    goals = {name: demand.objectives.get(name, max(p99, 1e-6)) for name, p99 in together.items()}
    usual = present = score_of([together[name] / goals[name] for name in demand.flows])
    if is_divided:
        sets = {name: fleet.of(found.members(name, fleet.ids)) for name in demand.flows}
        present, forecasts = candidates.score(sets, goals, found.rest or "")
        found = replace(found, together=together, forecasts=forecasts)
    # While a class has no requests, the others get its replicas only where they need them.
    are_there = all(flow.rate > 0 for flow in demand.flows.values())
    may_change = demand.is_clear and demand.enough and (are_there or present == HOPELESS)
    best = candidates.best(goals, _in_order(found, fleet)) if may_change else None
    # Whoever names classes wants them apart, as long as that costs next to nothing.
    most = usual[1] + (COSTS if demand.threshold is None else -GAIN)
    # Where a class has more work than its replicas can do, any division that carries all is better.
    is_urgent = present == HOPELESS
    if best is not None and not is_urgent and (best.score[0] > usual[0] or best.score[1] > most):
        best = None
    # Named classes would be divided again at once: only classes by size are put together.
    is_fit = is_urgent and best is not None
    may_join = is_divided and demand.threshold is not None and not is_fit
    # Those with replicas of their own get more of them as long as there are any to spare.
    rest = found.rest or ""
    limits = {name: SUFFERS_ALWAYS * p99 for name, p99 in together.items() if is_urgent}
    # What waits of a job's workers waits without classes, too.
    limits[rest] = SUFFERS * max(together.get(rest, 0.0), WAITED * found.waited)
    suffers = may_join and any(
        given.waits.get(name, math.nan) > limit for name, limit in limits.items()
    )
    if suffers and demand.all.tokens < float(fleet.capacity.sum()):
        since = now if math.isnan(found.crowded) else found.crowded
        return _undivided(found) if now - since >= TOO_MUCH else replace(found, crowded=since)
    found = replace(found, crowded=math.nan)
    if best is None:
        return replace(found, since=math.nan)
    over, mean = best.score
    if is_divided and not (over < present[0] - COSTS or mean < present[1] - BETTER):
        return replace(found, since=math.nan)
    since = now if math.isnan(found.since) else found.since
    is_urgent |= demand.threshold is None and not is_divided
    if not is_urgent and now - since < (LASTING if is_divided else PART_AFTER):
        return replace(found, since=since)
    if not found.is_planned or (not is_divided and found.threshold is not None):
        found = Division(demand.threshold, begun=now + given.notice, at=now, parts=demand.parts)
    found = _with_sets(found, best.sets, max(now, found.begun))
    if not is_divided:
        found = replace(found, waited=given.waited)
    seen = found.seen if is_divided else now
    found = replace(found, rest=best.rest, seen=seen, since=math.nan, crowded=math.nan)
    return replace(found, together=together, forecasts=best.forecasts)


def _in_order(division: Division, fleet: Fleet) -> list[str]:
    """Return ids, slowest first; of about equally fast replicas, those in a set come first."""
    found = list[str]()
    for some in fleet.likes():
        ids = fleet.ids[some]
        found += [id_ for own in division.sets.values() for id_ in ids if id_ in own]
        found += [id_ for id_ in ids if not any(id_ in own for own in division.sets.values())]
    return found


def _with_sets(division: Division, sets: Mapping[str, frozenset[str]], now: float) -> Division:
    """Give classes other replicas; a replica that joins a set finishes its own work first."""
    before = division.sets
    new = {id_ for name, own in sets.items() for id_ in own - before.get(name, frozenset())}
    everybody = frozenset[str]().union(*sets.values())
    joined = {id_: at for id_, at in division.joined.items() if id_ in everybody}
    grown = now if new else division.grown
    return replace(division, sets=sets, joined=joined | dict.fromkeys(new, now), grown=grown)


def _with_members(division: Division, fleet: Fleet, now: float) -> Division:
    """Follow who may serve: a replica that has gone is replaced at once."""
    if not division.sets:
        return division
    if division.rest is None:
        fast = fast_set(fleet)
        if not fast:
            return _undivided(division)
        return division if fast == division.sets[BULK] else replace(division, sets={BULK: fast})
    if len(fleet.ids) <= len(division.sets):
        return _undivided(division)
    present = frozenset(fleet.ids)
    if all(own <= present for own in division.sets.values()):
        return division
    free = [*fleet.of(division.members(division.rest, fleet.ids)).ids]
    sets = {}
    for name, own in division.sets.items():
        left = own & present
        come = free[: max(min(len(own) - len(left), len(free) - 1), 0)]
        free = free[len(come) :]
        sets[name] = left.union(come)
    return _with_sets(division, sets, now) if all(sets.values()) else _undivided(division)


def _relieved(division: Division, given: Given) -> Division:
    """Double a set at once whose requests wait, as far as the rest can spare replicas."""
    fleet, demand, now = given.fleet, given.demand, given.now
    if division.rest is None or demand is None or not division.is_in_force(now):
        return division
    if now - division.grown < RELIEF or division.rest not in demand.flows:
        return division
    for name, own in division.sets.items():
        together = division.together.get(name, 0.0)
        least = LEAST_FORECAST * together if together < NEVER else 0.0
        forecast = max(division.forecasts.get(name, math.inf), least)
        if not given.waits.get(name, math.nan) > CROWDED * forecast:
            continue
        others = fleet.of(division.members(division.rest, fleet.ids))
        needs = demand.flows[division.rest].tokens
        spare = np.cumsum(others.capacity) <= float(others.capacity.sum()) - needs / FULL
        more = min(len(own), int(spare.sum()), len(others.ids) - 1)
        if more >= 1:
            sets = {**division.sets, name: own.union(others.ids[:more])}
            return _with_sets(division, sets, now)
    return division


def _to_fast(division: Division, given: Given, demand: Demand) -> Division:
    """Send long requests to the fast replicas, where sizes have no classes."""
    fast, now = given.fast, given.now
    if demand.threshold is None:
        return division
    if division.threshold is not None:
        if fast is None or not fast.enough:
            return division if now - division.seen < TOGETHER_AFTER else _undivided(division)
        if not 1 / MOVE < (fast.threshold or 1) / division.threshold < MOVE:
            division = replace(division, threshold=fast.threshold)
        return replace(division, parts=fast.parts, seen=now)
    if fast is None or not fast.enough or demand.is_clear or not (own := fast_set(given.fleet)):
        return division
    begun = now + given.notice
    return Division(fast.threshold, {BULK: own}, None, begun, now, fast.parts, seen=now)
