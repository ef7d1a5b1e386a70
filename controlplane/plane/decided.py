"""What was decided last of each pool, as far as the next decision and Envoys need it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controlplane.fleet import Pool
from controlplane.plane.partings import Told, next_step, notice
from controlplane.plane.remembered import Hold, words_of
from controlplane.resources.classes import BULK, OTHERS, Parting, TrafficClass
from controlplane.resources.portion import Portion, portion_of
from controlplane.settings import ClassMatch, PoolSettings
from controlplane.weighing import Weighing, uncounted


@dataclass(slots=True)
class Decided:
    """By pool.

    Attributes:
        weighings: The last of each.
        portions: What Envoys are to be told of each replica that they may know, by its id.
        parting: How requests are parted into classes; a pool whose requests are not is not in it.
        holds: Of pools in which nothing is to change for a while.
    """

    weighings: dict[str, Weighing] = field(default_factory=dict)
    portions: dict[str, dict[str, Portion]] = field(default_factory=dict)
    parting: dict[str, Parting] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    _told: dict[str, Told] = field(default_factory=dict)
    _moving: dict[str, float] = field(default_factory=dict)

    def copy(self) -> "Decided":
        """The same, to be changed apart; what both refer to is never changed in place.

        What is decided there comes in one step, and not in several on the way to it.
        """
        portions, parting = dict(self.portions), dict(self.parting)
        return Decided(dict(self.weighings), portions, parting, dict(self.holds))

    def held(self, pool: str, now: float) -> str | None:
        """Why nothing is to change in a pool; None: it may."""
        return words_of(self.holds.get(pool), now)

    def take(self, pool: Pool, weighing: Weighing, shown: Mapping[str, bool], now: float) -> None:
        """Take in a weighing.

        Args:
            pool: That was weighed.
            weighing: The newest.
            shown: Whether Envoys may know of a replica, by id.
            now: Seconds of a monotonic clock.
        """
        self.portions[pool.name] = {
            id_: portion_of(it.tier, it.weight, it.drained)
            for id_, it in weighing.replicas.items()
            if shown[id_]
        }
        self._follow(pool, weighing, now)

    def amend(self, pool: Pool, weighing: Weighing, shown: Mapping[str, bool], now: float) -> None:
        """Take in a weighing that says the same as the last one, but of some replicas.

        Args:
            pool: That was weighed.
            weighing: The newest.
            shown: Whether Envoys may know of each of these, by id; of one that has gone they may
                not.
            now: Seconds of a monotonic clock.
        """
        portions = dict(self.portions[pool.name])
        for id_, is_shown in shown.items():
            if is_shown:
                it = weighing.replicas[id_]
                portions[id_] = portion_of(it.tier, it.weight, it.drained)
            else:
                portions.pop(id_, None)
        self.portions[pool.name] = portions
        self._follow(pool, weighing, now)

    def _follow(self, pool: Pool, weighing: Weighing, now: float) -> None:
        name, settings = pool.name, pool.settings
        self.weighings[name] = weighing
        wanted = _wanted(settings, weighing, self.portions[name], now)
        told = next_step(self._told.get(name), wanted, notice(settings), now)
        self._told[name] = told
        if told.parting is None:
            self.parting.pop(name, None)
        else:
            self.parting[name] = told.parting
        is_moving = weighing.is_moving or told.is_moving
        self._moving[name] = now + settings.metrics.interval if is_moving else math.inf

    def due(self, now: float) -> Iterator[str]:
        """The pools whose shares are on their way, so that the next step is due."""
        return (name for name, at in self._moving.items() if now >= at)

    def read_anew(self, pool: str) -> None:
        """From now on a pool's replicas are read otherwise, or not at all."""
        if (weighing := self.weighings.get(pool)) is not None:
            self.weighings[pool] = uncounted(weighing)

    def forget(self, pool: str) -> None:
        """A pool has gone."""
        for kept in (self.weighings, self.portions, self.parting, self.holds):
            kept.pop(pool, None)
        self._told.pop(pool, None)
        self._moving.pop(pool, None)


def _wanted(
    settings: PoolSettings, weighing: Weighing, portions: Mapping[str, Portion], now: float
) -> Parting | None:
    """How requests are to be parted: as the user says, else by length where that was decided."""
    others = TrafficClass(OTHERS, None, portions, routed=True)
    if settings.classes is not None:
        of_user = (
            TrafficClass(it.name, it.match, portions, routed=True) for it in settings.classes
        )
        return Parting((*of_user, others))
    if (sizes := weighing.sizes) is None:
        return None
    fast = {id_: portion for id_, portion in portions.items() if id_ in sizes.fast}
    match = ClassMatch(min_bytes=sizes.threshold)
    return Parting((TrafficClass(BULK, match, fast, sizes.is_in_force(now)), others))
