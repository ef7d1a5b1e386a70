"""What was decided last of each pool, as far as the next decision and Envoys need it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controlplane.plane.remembered import Hold, words_of
from controlplane.resources.long_requests import LongRequests
from controlplane.resources.portion import Portion, portion_of
from controlplane.weighing import Weighing, uncounted


@dataclass(slots=True)
class Decided:
    """By pool.

    Attributes:
        weighings: The last of each.
        portions: What Envoys are to be told of each replica that they may know, by its id.
        long: How requests are parted by length; a pool whose requests are not is not in it.
        holds: Of pools in which nothing is to change for a while.
    """

    weighings: dict[str, Weighing] = field(default_factory=dict)
    portions: dict[str, dict[str, Portion]] = field(default_factory=dict)
    long: dict[str, LongRequests] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    _moving: dict[str, float] = field(default_factory=dict)

    def copy(self) -> "Decided":
        """The same, to be changed apart; what both refer to is never changed in place."""
        portions, long = dict(self.portions), dict(self.long)
        return Decided(dict(self.weighings), portions, long, dict(self.holds))

    def held(self, pool: str, now: float) -> str | None:
        """Why nothing is to change in a pool; None: it may."""
        return words_of(self.holds.get(pool), now)

    def take(
        self, pool: str, weighing: Weighing, shown: Mapping[str, bool], interval: float, now: float
    ) -> None:
        """Take in a weighing.

        Args:
            pool: Its name.
            weighing: The newest.
            shown: Whether Envoys may know of a replica, by id.
            interval: Seconds between two scrapes.
            now: Seconds of a monotonic clock.
        """
        self._follow(pool, weighing, interval, now)
        self.portions[pool] = {
            id_: portion_of(it.tier, it.weight, it.drained)
            for id_, it in weighing.replicas.items()
            if shown[id_]
        }
        sizes = weighing.sizes
        if sizes is None:
            self.long.pop(pool, None)
            return
        routed = sizes.is_in_force(now)
        self.long[pool] = LongRequests(sizes.threshold, sizes.fast, routed, sizes.part)

    def amend(
        self, pool: str, weighing: Weighing, shown: Mapping[str, bool], interval: float, now: float
    ) -> None:
        """Take in a weighing that says the same as the last one, but of some replicas.

        Args:
            pool: Its name.
            weighing: The newest, of a pool whose requests are not parted.
            shown: Whether Envoys may know of each of these, by id; of one that has gone they may
                not.
            interval: Seconds between two scrapes.
            now: Seconds of a monotonic clock.
        """
        self._follow(pool, weighing, interval, now)
        portions = dict(self.portions[pool])
        for id_, is_shown in shown.items():
            if is_shown:
                it = weighing.replicas[id_]
                portions[id_] = portion_of(it.tier, it.weight, it.drained)
            else:
                portions.pop(id_, None)
        self.portions[pool] = portions

    def _follow(self, pool: str, weighing: Weighing, interval: float, now: float) -> None:
        self.weighings[pool] = weighing
        self._moving[pool] = now + interval if weighing.is_moving else math.inf

    def due(self, now: float) -> Iterator[str]:
        """The pools whose shares are on their way, so that the next step is due."""
        return (name for name, at in self._moving.items() if now >= at)

    def read_anew(self, pool: str) -> None:
        """From now on a pool's replicas are read otherwise, or not at all."""
        if (weighing := self.weighings.get(pool)) is not None:
            self.weighings[pool] = uncounted(weighing)

    def forget(self, pool: str) -> None:
        """A pool has gone."""
        for kept in (self.weighings, self.portions, self.long, self.holds, self._moving):
            kept.pop(pool, None)
