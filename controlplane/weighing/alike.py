"""What the replicas of a pool get that are all alike: worked out when it is asked for.

The share of each one changes with every replica that comes, goes or drains. Where all get alike it
follows from how many serve, so that a change of one replica is an entry in a map of thousands and
not another result for each of them. Those that start slowly are few; these have their own results.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Set
from typing import Final, NamedTuple

from controlplane.fleet.persistent import PersistentMap
from controlplane.settings import Policy
from controlplane.weighing import slots
from controlplane.weighing.conclusion import MEDIAN_WEIGHT, last_step
from controlplane.weighing.damping import median_step
from controlplane.weighing.explanation import Step
from controlplane.weighing.replica import ReplicaWeighing, State, Weighing
from controlplane.weighing.tiers import Placement, named

ALL: Final = 1.0
"""A share relative to the median, where all are alike."""
ORDINARY: Final = Placement()
"""Of every replica in a pool in which all are alike."""


class Standing(NamedTuple):
    """One replica among others that are like it.

    Attributes:
        serves: Whether it gets traffic.
        declared: Whether its slots are.
        ready_since: See `ReplicaInput`.
        state: For the next weighing.
    """

    serves: bool
    declared: bool
    ready_since: float | None
    state: State


class Moving(NamedTuple):
    """What one has for itself whose share is not yet that of the others.

    Attributes:
        cohort: See `warming.cohort`; None: it no longer starts slowly, and moves to its share.
        steps: That are told of it alone.
    """

    cohort: int | None
    steps: tuple[Step, ...]


class _Given(NamedTuple):
    """What all get that are together."""

    tier: str
    weight: int
    mean: float
    others: int


class Alike(Mapping[str, ReplicaWeighing]):
    """What each replica of a pool gets, by id; it never changes.

    Attributes:
        standings: All that differs between one and another.
        moving: Those whose shares are not yet those of the others, by id.
        serving: How many get traffic.
        share: Of the pool's traffic, what each gets that is not on its way.
        looked: The same when all replicas were looked at last.
        latest: When the last of those became ready that should start slowly but are too many for
            that, seconds of a monotonic clock; None where there were none.
    """

    __slots__ = (
        "_given",
        "_own",
        "_policy",
        "_steps",
        "_total",
        "latest",
        "looked",
        "moving",
        "serving",
        "share",
        "standings",
    )

    def __init__(
        self,
        policy: Policy,
        standings: PersistentMap[Standing],
        moving: Mapping[str, Moving],
        serving: int,
        latest: float | None,
        looked: float | None = None,
    ) -> None:
        """See the attributes; the policy is one with weights.

        Args:
            policy: By which they are weighed.
            standings: Of every replica.
            moving: Those of them that have something for themselves.
            serving: How many of them serve.
            latest: See above.
            looked: See above; None: all are looked at now.
        """
        self._policy, self.standings, self.moving = policy, standings, moving
        self.serving, self.latest = serving, latest
        self._given, self._own = self._together()
        serving_own = [it.weight for id_, it in self._own.items() if standings[id_].serves]
        ordinary = self._given.weight
        self._total = ordinary * (serving - len(serving_own)) + sum(serving_own)
        self.share = ordinary / self._total if self._total else 0.0
        self.looked = self.share if looked is None else looked
        last = self._last(self._given, ALL)
        # The same words for all that are in the same case.
        self._steps = {
            (declared, serves): (*_first(declared=declared, serves=serves), last)
            for declared in (False, True)
            for serves in (False, True)
        }

    @property
    def weight(self) -> int:
        """Of each that is not on its way."""
        return self._given.weight

    def _together(self) -> tuple[_Given, dict[str, _Given]]:
        """What the ordinary ones get, and what those that are on their way get, by id."""
        standings, moving = self.standings, self.moving
        shares = {id_: standings[id_].state.relative for id_ in moving}
        if self._policy != "capacity-tiers":
            own = {id_: _given("", 0, (share,), 1) for id_, share in shares.items()}
            return _Given("", MEDIAN_WEIGHT, ALL, len(standings) - 1), own
        cohorts = {id_: it.cohort for id_, it in moving.items() if it.cohort is not None}
        tiers = named(dict.fromkeys(cohorts, ORDINARY), cohorts, ())
        together: dict[str, list[str]] = {}
        for id_, tier in tiers.items():
            together.setdefault(tier, []).append(id_)
        own = {}
        for tier, ids in together.items():
            given = _given(tier, 0, [shares[id_] for id_ in ids], len(ids))
            own |= dict.fromkeys(ids, given)
        # Who starts slowly serves. Where none of the others does, the mean is of all of them.
        members, serving = len(standings) - len(cohorts), self.serving - len(cohorts)
        among = [id_ for id_ in moving if id_ not in cohorts]
        counted = [shares[id_] for id_ in among if not serving or standings[id_].serves]
        ordinary = _given(ORDINARY.tier, (serving or members) - len(counted), counted, members)
        return ordinary, own | dict.fromkeys(among, ordinary)

    def _last(self, given: _Given, relative: float) -> Step:
        return last_step(
            self._policy, given.tier, given.others, given.mean, relative, 0, given.weight
        )

    def __getitem__(self, id_: str) -> ReplicaWeighing:
        serves, declared, _, state = self.standings[id_]
        given, steps = self._given, self._steps[declared, serves]
        if (own := self.moving.get(id_)) is not None:
            given, last = self._own[id_], self._last(self._own[id_], state.relative)
            steps = (*_first(declared=declared, serves=serves), *own.steps, last)
        return ReplicaWeighing(
            capacity=None,
            weight=given.weight,
            tier=given.tier,
            drained=False,
            stale=False,
            share=given.weight / self._total if serves else 0.0,
            steps=steps,
            state=state,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.standings)

    def __len__(self) -> int:
        return len(self.standings)

    def __contains__(self, id_: object) -> bool:
        return id_ in self.standings


def serving(weighing: Weighing) -> int:
    """How many replicas of a pool get traffic, or may."""
    replicas = weighing.replicas
    if isinstance(replicas, Alike):
        return replicas.serving
    return sum(it.share != 0 for it in replicas.values())


def moving(weighing: Weighing | None) -> Set[str]:
    """Ids of the replicas that a weighing with nothing new is about: their shares follow the clock.

    Only of pools in which all others are alike; of others it is not known.
    """
    replicas = weighing.replicas if weighing is not None else None
    return replicas.moving.keys() if isinstance(replicas, Alike) else frozenset()


def differing(before: Weighing | None, after: Weighing) -> Set[str] | None:
    """Ids of the replicas of which one weighing may say more than another share than the other.

    Args:
        before: An earlier weighing of the same pool; None: there was none.
        after: The later one.

    Returns:
        Those that were looked at in between, that came and that went, always in the same order.
        None where it may be all.
    """
    old, new = before.replicas if before is not None else None, after.replicas
    if not isinstance(old, Alike) or not isinstance(new, Alike) or old.weight != new.weight:
        return None
    changed = new.standings.differing(old.standings)
    return dict.fromkeys((*changed, *old.moving, *new.moving)).keys()


def _given(tier: str, ordinary: int, others: Collection[float], members: int) -> _Given:
    """The mean of so many that have the ordinary share and of some that have others."""
    count = ordinary + len(others)
    # fsum: the same to the last bit as if each were counted for itself.
    mean = math.fsum((float(ordinary), *others)) / count if count else ALL
    return _Given(tier, max(round(MEDIAN_WEIGHT * mean), 1), mean, members - 1)


def _first(*, declared: bool, serves: bool) -> tuple[Step, ...]:
    of_slots = () if declared else (slots.slots_step(None, ALL),)
    return (*of_slots, median_step(ALL, serves))
