"""What was decided last of each pool, as far as the next decision and Envoys need it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controlplane.balancing import Decision
from controlplane.balancing.restart import without_counters
from controlplane.fleet import Pool
from controlplane.plane.partings import Told, next_step, notice
from controlplane.plane.remembered import Hold, words_of
from controlplane.plane.touched import Touched
from controlplane.resources.classes import BULK, OTHERS, Parting, TrafficClass
from controlplane.resources.portion import Portion, portion_of
from controlplane.settings import ClassMatch, PoolSettings


@dataclass(slots=True)
class Decided:
    """By pool.

    Attributes:
        decisions: The last of each.
        portions: What Envoys are to be told of each replica that they may know, by its id.
        parting: How requests are parted into classes; a pool whose requests are not is not in it.
        holds: Of pools in which nothing is to change for a while.
        touched: Whom the last decisions were about.
    """

    decisions: dict[str, Decision] = field(default_factory=dict)
    portions: dict[str, dict[str, Portion]] = field(default_factory=dict)
    parting: dict[str, Parting] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    touched: Touched = field(default_factory=Touched)
    _told: dict[str, Told] = field(default_factory=dict)
    _moving: dict[str, float] = field(default_factory=dict)

    def copy(self) -> "Decided":
        """The same, to be changed apart; what both refer to is never changed in place.

        What is decided there comes in one step, and not in several on the way to it.
        """
        portions, parting = dict(self.portions), dict(self.parting)
        return Decided(dict(self.decisions), portions, parting, dict(self.holds))

    def is_parted(self, pool: str) -> bool:
        """Whether Envoys part a pool's requests into classes."""
        before = self.decisions.get(pool)
        return before is not None and bool(before.classes)

    def held(self, pool: str, now: float) -> str | None:
        """Why nothing is to change in a pool; None: it may."""
        return words_of(self.holds.get(pool), now)

    def take(self, pool: Pool, decision: Decision, shown: Mapping[str, bool], now: float) -> None:
        """Take in a decision.

        Args:
            pool: That it is about.
            decision: The newest.
            shown: Whether Envoys may know of a replica, by id; of those that something is new of,
                or was decided otherwise than before. One that has gone they may not know.
            now: Seconds of a monotonic clock.
        """
        name, settings = pool.name, pool.settings
        self.decisions[name] = decision
        self.touched.add(name, shown.keys())
        portions = dict(self.portions.get(name, {}))
        for id_, is_shown in shown.items():
            if is_shown:
                row = decision.rows[id_]
                weight, drained = int(decision.weight[row]), bool(decision.drained[row])
                portions[id_] = portion_of(decision.tier_of(row), weight, drained)
            else:
                portions.pop(id_, None)
        self.portions[name] = portions
        before = self._told.get(name)
        wanted = _wanted(settings, decision, portions)
        if wanted is None and before is not None and before.parting is not None:
            # All replicas serve all requests again, while the clusters of classes go.
            wanted = Parting((TrafficClass(OTHERS, None, portions, routed=True),))
        told = self._told[name] = next_step(before, wanted, notice(settings), now)
        if told.parting is None:
            self.parting.pop(name, None)
        else:
            self.parting[name] = told.parting
        is_moving = decision.moving or told.is_moving
        self._moving[name] = now + settings.metrics.interval if is_moving else math.inf

    def due(self, now: float) -> Iterator[str]:
        """The pools whose shares are on their way, so that the next step is due."""
        return (name for name, at in self._moving.items() if now >= at)

    def read_anew(self, pool: str) -> None:
        """From now on a pool's replicas are read otherwise, or not at all."""
        if (decision := self.decisions.get(pool)) is not None:
            self.decisions[pool] = without_counters(decision)

    def forget(self, pool: str) -> None:
        """A pool has gone."""
        for kept in (self.decisions, self.portions, self.parting, self.holds):
            kept.pop(pool, None)
        self._told.pop(pool, None)
        self.touched.forget(pool)
        self._moving.pop(pool, None)


def _wanted(
    settings: PoolSettings, decision: Decision, portions: Mapping[str, Portion]
) -> Parting | None:
    """How requests are to be parted: as the user says, else by size where that was decided."""
    if settings.classes is not None:
        matches = {each.name: each.match for each in settings.classes}
        if decision.classes:
            return _of_classes(decision, portions, matches)
        of_user = (
            TrafficClass(name, match, portions, routed=True) for name, match in matches.items()
        )
        return Parting((*of_user, TrafficClass(OTHERS, None, portions, routed=True)))
    if (parting := decision.parting) is None:
        return None
    match = ClassMatch(min_bytes=parting.threshold)
    if not decision.classes:
        # The cluster comes first: Envoys check the health of its replicas before it is used.
        has_bulk = parting.kind == "long to fast"
        of_bulk = {
            id_: portion for id_, portion in portions.items() if (id_ in parting.own) is has_bulk
        }
        return Parting(
            (
                TrafficClass(BULK, match, of_bulk, routed=False),
                TrafficClass(OTHERS, None, portions, routed=True),
            )
        )
    return _of_classes(decision, portions, {BULK: match})


def _of_classes(
    decision: Decision, portions: Mapping[str, Portion], matches: Mapping[str, ClassMatch]
) -> Parting:
    """Classes in the order in which they are matched, each with the replicas of its own."""
    weights = {each.name: each.weights.tolist() for each in decision.classes}
    return Parting(
        tuple(
            TrafficClass(
                name,
                matches.get(name),
                {
                    id_: portion_of(portion.tier, weight, portion.draining)
                    for id_, portion in portions.items()
                    if (weight := weights[name][decision.rows[id_]]) > 0
                },
                routed=True,
            )
            for name in (*matches, OTHERS)
        )
    )
