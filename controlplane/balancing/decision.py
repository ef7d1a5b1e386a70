"""What was decided for a pool: weights for each class and replica, and all that explains them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from controlplane.balancing.columns import Bools, Floats, Ints
from controlplane.balancing.division import Division
from controlplane.balancing.frame import Frame, PoolState, State
from controlplane.balancing.sentences import Effect, Step
from controlplane.config import Policy


@dataclass(frozen=True, slots=True)
class ClassDecision:
    """One class of requests.

    Attributes:
        name: Empty for everything that no other class takes.
        title: As people read it.
        weights: Envoy's, by row; 0: this replica serves the class only in place of others.
        shares: Part of the class that each replica gets, by row.
        part: Of the pool's work that the class is, 0 to 1.
        tier: Index into `tier_names` of each row that serves the class.
        tier_names: Of the tiers that its replicas have in its cluster.
    """

    name: str
    title: str
    weights: Ints
    shares: Floats
    part: float
    tier: Ints
    tier_names: tuple[str, ...]

    def tier_of(self, row: int) -> str:
        """The name of a replica's tier in the cluster of the class."""
        return self.tier_names[int(self.tier[row])]


class ReplicaDecision(NamedTuple):
    """What one replica gets, and why.

    Attributes:
        capacity: Requests of the usual length per second that it is estimated to carry; None when
            nothing of the pool was measured.
        tokens: The same in tokens per second; None where tokens are not counted.
        weight: Envoy's, 1 or more, the same for all in a tier; the pool's median is about 1000.
        tier: The ``sub_zone`` of its locality; empty where the policy has no tiers.
        drained: Cut: it must get no new request (health status DRAINING).
        stale: Its last good scrape is too long ago.
        share: Of the pool's traffic, expected, 0 to 1; None where Envoy goes by what only it sees.
        classes: Names of the classes that it serves first; empty where requests are not parted.
        steps: How it came to that.
    """

    capacity: float | None
    tokens: float | None
    weight: int
    tier: str
    drained: bool
    stale: bool
    share: float | None
    classes: tuple[str, ...]
    steps: tuple[Step, ...]


class MemoryGuard(NamedTuple):
    """What GPU memory makes of a replica's share.

    Attributes:
        soft: Part in use from which the replica gets less.
        hard: Part in use from which it gets nothing.
        left: Part of the share that is left to it; 0: it is cut.
    """

    soft: float
    hard: float
    left: float


class Replicas(Mapping[str, ReplicaDecision]):
    """Decisions by replica id, each made when somebody asks."""

    def __init__(self, decision: "Decision") -> None:
        self._decision = decision

    def __getitem__(self, id_: str) -> ReplicaDecision:
        return self._decision.of(id_)

    def __iter__(self) -> Iterator[str]:
        return iter(self._decision.rows)

    def __len__(self) -> int:
        return len(self._decision.rows)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._decision.rows


_ODD: Final = 0x1E3779B97F4A7C15
"""A number that spreads what is multiplied by it over 64 bits."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What every replica of a pool gets.

    Attributes:
        policy: That it was made for.
        at: When, seconds of a monotonic clock.
        rows: Of each replica, by id.
        tier: Index into `tier_names`, by row.
        tier_names: Of the tiers.
        weight: Envoy's, over all requests, by row.
        share: Of all requests, by row; NaN where only Envoys know.
        drained: By row.
        stale: By row.
        capacity: Tokens per second, by row.
        classes: How requests are parted; empty where they are not.
        suspect: Most replicas cannot be scraped: the control plane may be at fault.
        moving: Some share goes on to where it should be by the clock alone.
        state: For the next decision.
        pool: For the next decision.
        frame: All columns, for explanations; None of a decision from before a restart.
    """

    policy: Policy
    at: float
    rows: Mapping[str, int]
    tier: Ints
    tier_names: tuple[str, ...]
    weight: Ints
    share: Floats
    drained: Bools
    stale: Bools
    capacity: Floats
    classes: tuple[ClassDecision, ...]
    suspect: bool
    moving: bool
    state: State
    pool: PoolState
    frame: Frame | None

    @property
    def replicas(self) -> Replicas:
        """What each replica gets, by id."""
        return Replicas(self)

    @property
    def division(self) -> Division:
        """Who serves which class, also while Envoys are not told yet."""
        return self.pool.division

    @property
    def equal(self) -> bool:
        """All replicas are treated as equal."""
        return self.pool.equal

    @property
    def is_measured(self) -> bool:
        """Whether anything is known of what replicas carry."""
        if self.frame is None:
            return bool((self.state.records.worth > 0).any())
        return self.frame.median is not None

    @property
    def serving(self) -> int:
        """How many replicas get traffic, or may."""
        return int((self.share != 0).sum())

    def tier_of(self, row: int) -> str:
        """The name of a replica's tier; empty where the policy has none."""
        return self.tier_names[self.tier[row]] if self.policy == "capacity-tiers" else ""

    def of(self, id_: str) -> ReplicaDecision:
        """What one replica gets, and why.

        Raises:
            KeyError: There is no such replica.
        """
        row = self.rows[id_]
        length = self.pool.length if self.pool.length is not None else None
        tokens = float(self.capacity[row]) if self.is_measured else None
        share = float(self.share[row])
        return ReplicaDecision(
            capacity=None if tokens is None else tokens / (length or 100.0),
            tokens=tokens if self.pool.counts_tokens else None,
            weight=int(self.weight[row]),
            tier=self.tier_of(row),
            drained=bool(self.drained[row]),
            stale=bool(self.stale[row]),
            share=None if np.isnan(share) else share,
            classes=tuple(each.title for each in self.classes if each.weights[row] > 0),
            steps=tuple(each.at(row) for each in self.effects if each.acts[row]),
        )

    def memory_guard(self, id_: str) -> MemoryGuard | None:
        """What GPU memory makes of a replica's share; None while nothing is decided anew."""
        row, frame = self.rows.get(id_), self.frame
        if row is None or frame is None or frame.held is not None:
            return None
        is_cut = bool(self.state.cut[row] and self.state.wanted[row])
        before, after = float(frame.after_errors[row]), float(frame.after_memory[row])
        left = 0.0 if is_cut else after / before if before > 0 else 1.0
        return MemoryGuard(float(frame.soft[row]), float(frame.hard[row]), left)

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """What each step did, in the order of the pipeline."""
        from controlplane.balancing.explain import effects_of

        return effects_of(self)

    @cached_property
    def told(self) -> Ints:
        """Return a number by row that changes where Envoys get something else."""
        columns: list[Ints | Bools] = [self._tiers, self.weight, self.drained, self.stale]
        for each in self.classes:
            columns += (each.weights ^ hash(each.name), _hashes(each.tier_names)[each.tier])
        return _mixed(self.state.who, *columns)

    @cached_property
    def marks(self) -> Ints:
        """A number by row that is another one where people would be told something else.

        That is when what was put of a replica is marked otherwise, another tier, a class that it
        serves, and steps that begin or end. Numbers that drift leave it as it is.
        """
        from controlplane.balancing.explain import is_telling

        steps = np.zeros(len(self.weight), np.int64)
        for each in self.effects:
            tells = each.acts & is_telling(each.name, each.before, each.after)
            steps ^= np.where(tells, hash(each.name), 0)
        for one in self.classes:
            steps ^= np.where(one.weights > 0, hash(f"serves {one.title}"), 0)
        given = self.frame.marks if self.frame is not None else self.state.who
        return _mixed(given, self._tiers, self.drained, self.stale, steps)

    def changed(self, before: "Decision | None") -> Bools:
        """Return the rows for which Envoys get something else than before."""
        return self._differ(None if before is None else before.told, self.told)

    def marked(self, before: "Decision | None") -> Bools:
        """Return the rows for which people would read something else than before."""
        return self._differ(None if before is None else before.marks, self.marks)

    def ids(self, rows: Bools) -> list[str]:
        """The replicas of some rows."""
        if self.frame is None:
            return [id_ for id_, row in self.rows.items() if rows[row]]
        return [id_ for row in np.flatnonzero(rows) if (id_ := self.frame.ids[row])]

    def _differ(self, before: Ints | None, after: Ints) -> Bools:
        """Rows with a replica in which two columns differ; there may be more than before."""
        found: Bools = self.state.who != 0
        if before is not None:
            size = min(len(before), len(after))
            found[:size] &= before[:size] != after[:size]
        return found

    @property
    def _tiers(self) -> Ints:
        """A number for the name of the tier of each row."""
        if self.policy != "capacity-tiers":
            return np.zeros(len(self.weight), np.int64)
        return _hashes(self.tier_names)[self.tier]


def _hashes(names: Sequence[str]) -> Ints:
    return np.asarray([hash(name) for name in names], np.int64)


def _mixed(start: Ints, *columns: Ints | Bools) -> Ints:
    """A number by row that is another one where any column is."""
    found = start
    for column in columns:
        found = found * _ODD + column
    return found
