"""How many replicas a pool should have: classes of requests in, a number and its reasons out.

A class needs so many replicas that its predicted p99 keeps the objective and that it takes no more
than a part of what they carry. The prediction is that by which requests are parted, see
`balancing.prediction`. Replicas differ in speed: those that there are count with their own
capacity, and one that is added with the median's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from controlplane.balancing.fleet import Fleet, fleet_of
from controlplane.balancing.prediction import FULL, NEVER, Flow, percentile
from controlplane.scaling.demand import ClassDemand, Typical, span_of

MOST_ADDED: Final = 4096
"""Replicas that one recommendation adds to a class at most."""
IDLE: Final = 0.02
"""Part of its capacity that a pool takes where nothing waits."""
RESERVED: Final = 1e-9


class Load(NamedTuple):
    """Tokens per second that arrive, and the capacity that working off a backlog needs."""

    tokens: float
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Need:
    """What one class of requests needs.

    Attributes:
        now: Replicas that its present load needs.
        spare: Ids of replicas that it could do without, the first to go first.
        utilization: Of the wanted replicas, by the load; None where nothing is measured.
        p99: Predicted with them, in seconds; None where it is not known or grows for ever.
        is_reachable: Whether any number of replicas keeps the objective.
    """

    demand: ClassDemand
    load: Load
    now: int
    wanted: int
    spare: tuple[str, ...]
    utilization: float | None
    p99: float | None
    is_reachable: bool


def need_of(
    demand: ClassDemand,
    load: Load,
    coming: Sequence[str],
    typical: Typical | None,
    dispatchers: int,
    max_utilization: float,
) -> Need:
    """Work out what a class needs.

    Args:
        coming: Ids of replicas that start and will serve it, the newest first.
        typical: What a replica that is added is taken for; None: nothing is measured, and the class
            keeps what it has.
        dispatchers: Envoys that share out the requests.
        max_utilization: Part of the capacity that the load may take.
    """
    have = len(demand.fleet.ids) + len(coming)
    if typical is None:
        return Need(demand, load, have, have, (), None, None, is_reachable=True)
    fleets = _Candidates(demand.fleet, tuple(coming), typical)
    objective = demand.objective
    is_reachable = objective is not None and _idle_p99(demand, typical, dispatchers) <= objective

    def keeps(change: int, of: Load) -> bool:
        fleet = fleets.with_change(change)
        carries = float(fleet.capacity.sum())
        if of.tokens <= RESERVED and of.floor <= RESERVED:
            return True
        if of.tokens > max_utilization * carries or of.floor > FULL * carries:
            return False
        if not is_reachable or objective is None:
            return True
        return _p99(fleet, demand, of.tokens, dispatchers) <= objective

    change = _least(lambda count: keeps(count, load), -have)
    now = have + _least(lambda count: keeps(count, Load(demand.flow.tokens)), -have)
    fleet = fleets.with_change(change)
    total = float(fleet.capacity.sum())
    p99 = _p99(fleet, demand, load.tokens, dispatchers) if fleet.ids and load.tokens else None
    return Need(
        demand,
        load,
        now,
        have + change,
        fleets.order[: max(-change, 0)],
        load.tokens / total if total else None,
        p99 if p99 is not None and p99 < NEVER else None,
        is_reachable,
    )


class _Candidates:
    """The replicas of a class with some added, or some left out."""

    def __init__(self, fleet: Fleet, coming: tuple[str, ...], typical: Typical) -> None:
        self._typical = typical
        # A replica that starts has the least to lose, then the slowest.
        self.order = (*coming, *fleet.ids)
        self._all = self._joined(fleet, len(coming))
        self._fleet, self._coming = fleet, len(coming)

    def _joined(self, fleet: Fleet, added: int) -> Fleet:
        if not added:
            return fleet
        columns = (fleet.capacity, fleet.start, fleet.budget, fleet.slots, fleet.are_batches)
        return fleet_of(
            [*fleet.ids, *(f"+{index}" for index in range(added))],
            *(
                np.concatenate([column.astype(np.float64), np.full(added, value)])
                for column, value in zip(columns, self._typical, strict=True)
            ),
        )

    def with_change(self, change: int) -> Fleet:
        if change >= 0:
            return self._joined(self._all, change) if change else self._all
        left = self._coming + change
        if left >= 0:
            return self._joined(self._fleet, left)
        chosen = np.arange(len(self._fleet.ids)) >= -left
        return self._fleet.of(chosen)


def _least(keeps: Callable[[int], bool], lowest: int) -> int:
    """The smallest change that keeps what is asked for; what keeps it, keeps it with more too."""
    if keeps(0):
        low, high = lowest - 1, 0
        # Most pools are about right: look nearby first.
        step = 1
        while -step > low and keeps(-step):
            high, step = -step, 2 * step
        low = max(low, -step)
    else:
        low, high = 0, 1
        while high < MOST_ADDED and not keeps(high):
            low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def _p99(fleet: Fleet, demand: ClassDemand, tokens: float, dispatchers: int) -> float:
    flow = demand.flow
    at_load = Flow(tokens / flow.mean, flow.mean, flow.square, flow.long)
    groups, shares = fleet.groups(tokens)
    return percentile(groups, shares, at_load, at_load, dispatchers, short=demand.is_short)


def _idle_p99(demand: ClassDemand, typical: Typical, dispatchers: int) -> float:
    """What a long request of the class takes where next to nothing waits."""
    columns = (np.asarray([each]) for each in typical)
    return _p99(fleet_of(["+"], *columns), demand, IDLE * typical.capacity, dispatchers)


def floor_of(
    level: float,
    backlog: float,
    fleet: Fleet,
    starting: Mapping[str, float],
    typical: Typical | None,
    horizon: float,
) -> float:
    """Work out the tokens per second that there must be capacity for, so that a backlog goes.

    What is still there once a new replica could serve is to be worked off within a third of the
    time that a start takes: until then every request is late, behind the backlog.

    Args:
        level: Tokens per second that come.
        backlog: Tokens that wait now, beyond what the objective allows.
        starting: Seconds ago that replicas began to start, by id.
        typical: What each of these will carry.
        horizon: Seconds that a start takes.
    """
    done = float(fleet.capacity.sum()) * horizon
    if typical is not None:
        done += sum(min(age, horizon) * typical.capacity for age in starting.values())
    left = backlog + level * horizon - done
    return level + left / span_of(horizon) if left > 0 else 0.0
