"""One decision while it is made: what is given, what was known, and a column for each result.

Each stage of the pipeline reads columns of a frame and writes its own. Columns are indexed by row
of the pool's table; rows that no replica uses hold whatever comes out and are never looked at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from controlplane.balancing.columns import Bools, Columns, Floats, Ints, column, columns, flag
from controlplane.balancing.demand import Demand
from controlplane.balancing.division import Division
from controlplane.balancing.records import Records
from controlplane.balancing.table import Table
from controlplane.balancing.zones import ZonePlan
from controlplane.config import PoolSettings
from controlplane.telemetry import WINDOW
from controlplane.telemetry.sizes import Sizes

MEDIAN_WEIGHT: Final = 1000
"""Envoy's weight of a replica at the pool's median: fine enough for the floor, 50, and so small
that four hundred thousand replicas at the ceiling stay within the 2³² − 1 of a locality."""
PATIENCE: Final = 3
"""Windows that must agree before a tier move or the end of a cut."""
COUNTING: Final = 20.0
"""Seconds over which requests are counted."""
LATELY: Final = 3.0
"""Seconds after which another rate is seen."""
OTHER: Final = 3.0
"""Standard deviations of a Poisson count by which the newest requests must be more or fewer."""
SHORTEST: Final = 2.0
"""Seconds that tell a rate."""
COUNTED: Final = 1.0
"""Seconds between two counts."""
TRAIL: Final = 5
"""Readings of GPU memory that are kept, an interval apart."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a tier gets of its share for now.

    Attributes:
        factor: Near 1.
        seconds: Of work that waits at its replicas.
        usual: In the set of replicas that it belongs to.
    """

    factor: float
    seconds: float
    usual: float


@dataclass(frozen=True, slots=True)
class State(Columns):
    """What the next decision has to know of this one, by row.

    Attributes:
        who: That all of this was learned of, by `Table.who`; 0: nobody.
        records: Of requests.
        relative: Share relative to the pool's median, after damping; NaN before any.
        warmth: Part of its share that a slow start left it.
        began: When that start began; NaN: it has not been seen to start.
        wanted: GPU memory says that it should be cut.
        cut: It is; fewer are than should be when too many would be.
        below_since: Since when memory has been below soft, of one that should be cut.
        failing_until: When a replica that failed is used again; NaN: it never failed.
        failing_for: Seconds that it was left out for, the last time.
        trail: Times and fractions of memory in use, oldest first.
        memory: Part of GPU memory in use; NaN: unknown.
        band: Of its tier; higher is faster.
        leaving: Direction of a tier move that waits for more windows.
        leaving_since: When it began to wait.
        earned: Its tier rests on its own measurements.
        line: Seconds of work that keep it at its minimum; NaN: none.
        line_at: When that was counted.
        gauge: What it said to have in flight; NaN: nothing.
        gauge_at: When it first said so.
        gauge_ended: Requests that had ended by then.
        counted: When Envoys counted last, requests that had ended by then, and those in flight.
        tokens: That it had counted by the last decision.
        text: Requests by Envoys' count, bytes of their texts, and their tokens; all fade.
        serves: A number for the class that these were of.
        seen: Requests that ended by Envoys' count, seconds that they took, seconds passed, and
            tokens of these requests; all fade.
        over_at: Since when that has been far too much; NaN: it is not.
        over_ended: Requests that had ended by then.
    """

    who: Ints = column(0)
    records: Records = columns(Records)
    relative: Floats = column()
    warmth: Floats = column(0.0)
    began: Floats = column()
    wanted: Bools = flag()
    cut: Bools = flag()
    below_since: Floats = column()
    failing_until: Floats = column()
    failing_for: Floats = column()
    trail: Floats = column(np.nan, TRAIL, 2)
    memory: Floats = column()
    band: Ints = column(0)
    leaving: Ints = column(0)
    leaving_since: Floats = column()
    earned: Bools = flag()
    line: Floats = column()
    line_at: Floats = column()
    gauge: Floats = column()
    gauge_at: Floats = column()
    gauge_ended: Floats = column()
    counted: Floats = column(np.nan, 3)
    tokens: Floats = column()
    text: Floats = column(0.0, 3)
    serves: Ints = column(0)
    seen: Floats = column(0.0, 4)
    over_at: Floats = column()
    over_ended: Floats = column()

    def for_rows(self, who: Ints) -> "State":
        """Keep the rows of replicas that are still the same; empty the others."""
        size, known = len(who), len(self.who)
        keep = self.who == who[:known]
        if size == known and keep.all():
            return self
        return replace(self.carried_over(size, keep), who=who.copy())


@dataclass(frozen=True, slots=True)
class PoolState:
    """What the next decision has to know of the pool as a whole.

    Attributes:
        equal: All replicas are as good as equal.
        anchor: Logarithm of the capacity in the middle of tier band 0; None before any.
        used: How busy the pool is, 0 to 1; None: unknown.
        length: Tokens of a request of the usual length; None: unknown.
        counts_tokens: Replicas count tokens, so `length` was measured.
        bytes_per_token: Bytes of text that are one token, by class, and of any under None; empty
            where nobody counts tokens.
        backlogs: By class and tier.
        told: Weights that Envoys have, by class and tier (by id where there are no tiers).
        division: Who serves which class.
        come: Requests that had come by some times, by class, oldest first.
        zones: Where each zone sends its requests; None where that does not matter.
    """

    equal: bool = False
    anchor: float | None = None
    used: float | None = None
    length: float | None = None
    counts_tokens: bool = False
    bytes_per_token: Mapping[str | None, float] = field(default_factory=dict)
    backlogs: Mapping[tuple[str, str], Backlog] = field(default_factory=dict)
    told: Mapping[tuple[str, str], int] = field(default_factory=dict)
    division: Division = field(default_factory=Division)
    come: tuple[tuple[float, Mapping[str, float]], ...] = ()
    zones: ZonePlan | None = None


def recent_rate(counts: Sequence[tuple[float, float]]) -> float | None:
    """Requests per second lately.

    Args:
        counts: Seconds of a monotonic clock and requests until then, oldest first.

    Returns:
        The newest ones' where they are other than usual; None: it is too early to say.
    """
    if len(counts) < 2 or counts[-1][0] - counts[0][0] < SHORTEST:
        return None
    (first, begun), (last, total) = counts[0], counts[-1]
    usual = (total - begun) / (last - first)
    lately, before = next(each for each in counts if each[0] >= last - LATELY)
    expected, came = usual * (last - lately), total - before
    is_other = abs(came - expected) > OTHER * math.sqrt(max(expected, 1.0))
    return came / (last - lately) if is_other else usual


class Frame:
    """A decision while it is made.

    Attributes:
        settings: Of the pool.
        table: What is known of its replicas.
        now: Seconds of a monotonic clock.
        envoys: How many Envoys the pool's requests come through; None: unknown.
        sizes: Of its requests, as Envoys sample them; None: unknown.
        class_sizes: The same by class, where a user names classes.
        memory_in_use: Part of GPU memory in use, by row; NaN: unknown.
        held: Why nothing changes for replicas that were known before; None: it may.
        keeps_told: Weights that Envoys have stay, whatever they would be now.
        since: Seconds since the last decision; None: this is the first.
        state: Of each row.
        pool: Of the pool.
        alive: Rows with a replica.
        ready: Rows whose replica may get traffic.
        marks: See `Table.marks`.
    """

    def __init__(
        self,
        settings: PoolSettings,
        table: Table,
        state: State,
        pool: PoolState,
        now: float,
        *,
        since: float | None,
        envoys: int | None,
        sizes: Sizes | None,
        class_sizes: Mapping[str, Sizes],
        memory_in_use: Floats,
        suspect: bool,
        held: str | None = None,
    ) -> None:
        self.settings, self.table, self.now = settings, table, now
        self.state, self.pool = state, pool
        self.since, self.envoys = since, envoys
        self.sizes, self.class_sizes = sizes, class_sizes
        self.memory_in_use, self.suspect = memory_in_use, suspect
        self.held, self.keeps_told = held, False
        self.size = table.size
        self.alive = table.alive.copy()
        self.ready = self.alive & (table.column("ready") == 1)
        self.interval = settings.metrics.interval
        self.patience = PATIENCE * max(WINDOW, self.interval)
        self.ids: list[str] = list(table.ids)
        self.marks = table.marks.copy()
        # Written by the stages, in their order.
        self.age: Floats
        self.stale: Bools
        self.fresh: Bools
        self.own: Floats
        self.disbelieved: Bools
        self.untried: Bools
        self.slots: Floats
        self.length: Floats
        self.in_flight_length: Floats
        self.longest: Floats
        self.burst: Floats
        self.measured: Floats
        self.worth: Floats
        self.claimed: Floats
        self.mixed: Floats
        self.median: float | None
        self.after_errors: Floats
        self.soft: Floats
        self.hard: Floats
        self.failing_usual: Floats
        self.after_memory: Floats
        self.serving: Bools
        self.aged: Floats
        self.usual: float
        self.to_median: Floats
        self.target: Floats
        self.warmth: Floats = np.ones(self.size)
        self.after_start: Floats
        self.waits: Floats
        self.after_overload: Floats
        self.overloaded: Bools
        self.relative: Floats
        self.starting: Bools
        self.tier: Ints
        self.tier_names: list[str]
        self.tiers: dict[str, tuple[Ints, list[str]]]
        self._members: Ints | None = None
        self.spared: Floats
        self.leans: dict[tuple[str, str], Backlog]
        self.demand: Demand | None = None
        self.base: Ints
        self.shares: dict[str, Floats]
        self.weights: dict[str, Ints]

    def rate_of(self, class_name: str | None, since: float = -math.inf) -> float | None:
        """Requests of a class that came per second lately; None: not counted.

        Args:
            class_name: Of the class; None: of all.
            since: When counting begins, seconds of a monotonic clock.
        """
        points = [point for point in self.pool.come if point[0] >= since]
        if not points:
            return None
        after = points[-1][1]
        names = after.keys() if class_name is None else (class_name,)
        if any(name not in before for _, before in (points[0], points[-1]) for name in names):
            return None
        return recent_rate(
            [(at, sum(counts.get(name, 0.0) for name in names)) for at, counts in points]
        )

    def dispatchers(self, class_name: str) -> int:
        """How many Envoys choose a replica for the requests of a class: its gateways, or all."""
        return len(self.settings.gateways_of(class_name)) or self.envoys or 1

    def sets_before(self) -> dict[str | None, Bools]:
        """Rows of each set of replicas that serve a class of their own, as decided last.

        Under None all rows, where there are no such sets.
        """
        division = self.pool.division
        if division.rest is None or not division.is_in_force(self.now):
            return {None: self.alive}
        names = (*division.sets, division.rest)
        return {name: self.alive & division.members(name, self.ids) for name in names}

    def members_of(self, tier: int) -> int:
        """How many replicas are in a tier, by its index."""
        if self._members is None:
            self._members = np.bincount(self.tier[self.alive], minlength=len(self.tier_names))
        return int(self._members[tier])

    def counting(self) -> Bools:
        """Rows that say what is usual in the pool."""
        for rows in (self.serving & self.fresh, self.serving, self.alive):
            if rows.any():
                return rows
        return self.alive
