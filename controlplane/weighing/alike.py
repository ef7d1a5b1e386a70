"""What the replicas of a pool get that are all alike: worked out when it is asked for.

The share of each one changes with every replica that comes, goes or drains. Where all get alike it
follows from how many serve, so that a change of one replica is an entry in a map of thousands and
not another result for each of them.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Final, NamedTuple, Self

from controlplane.fleet.persistent import PersistentMap
from controlplane.settings import Policy
from controlplane.weighing import slots
from controlplane.weighing.conclusion import MEDIAN_WEIGHT, last_step
from controlplane.weighing.damping import median_step
from controlplane.weighing.explanation import Step
from controlplane.weighing.replica import ReplicaWeighing, State, Weighing
from controlplane.weighing.tiers import Placement

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


class Alike(Mapping[str, ReplicaWeighing]):
    """What each replica of a pool gets, by id; it never changes.

    Attributes:
        serving: How many get traffic.
        looked: How many did when all of them were looked at last.
        latest: When the last of them became ready, seconds of a monotonic clock, as far as that
            was seen; that one may have gone since.
        standings: All that differs between one and another.
    """

    __slots__ = ("_share", "_steps", "_tier", "latest", "looked", "serving", "standings")

    def __init__(
        self,
        policy: Policy,
        standings: PersistentMap[Standing],
        serving: int,
        looked: int,
        latest: float | None,
    ) -> None:
        """See the attributes; the policy is one with weights."""
        self.standings, self.serving, self.looked, self.latest = standings, serving, looked, latest
        self._share = 1 / serving if serving else 0.0
        self._tier = ORDINARY.tier if policy == "capacity-tiers" else ""
        last = last_step(policy, self._tier, len(standings) - 1, ALL, ALL, 0, MEDIAN_WEIGHT)
        # The same words for all that are in the same case.
        self._steps = {
            (declared, serves): _steps(last, declared=declared, serves=serves)
            for declared in (False, True)
            for serves in (False, True)
        }

    @classmethod
    def of(cls, policy: Policy, standings: Mapping[str, Standing]) -> Self:
        """Of a pool that was looked at as a whole."""
        serving = [it for it in standings.values() if it.serves]
        latest = max((it.ready_since for it in serving if it.ready_since is not None), default=None)
        return cls(policy, PersistentMap(standings), len(serving), len(serving), latest)

    def with_changed(self, policy: Policy, changed: Mapping[str, Standing | None]) -> Self:
        """The same but for some replicas; None stands for one that has gone.

        The work grows with what has changed.
        """
        put = {id_: it for id_, it in changed.items() if it is not None}
        before = [it for id_ in changed if (it := self.standings.get(id_)) is not None]
        serving = self.serving - sum(it.serves for it in before)
        serving += sum(it.serves for it in put.values())
        times = (it.ready_since for it in put.values() if it.serves and it.ready_since is not None)
        latest = max(times, default=self.latest)
        if latest is not None and self.latest is not None:
            latest = max(latest, self.latest)
        standings = self.standings.updated(put, changed.keys() - put.keys())
        return type(self)(policy, standings, serving, self.looked, latest)

    def __getitem__(self, id_: str) -> ReplicaWeighing:
        serves, declared, _, state = self.standings[id_]
        return ReplicaWeighing(
            capacity=None,
            weight=MEDIAN_WEIGHT,
            tier=self._tier,
            drained=False,
            stale=False,
            share=self._share if serves else 0.0,
            steps=self._steps[declared, serves],
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


def differing(before: Weighing | None, after: Weighing) -> Set[str]:
    """Ids of the replicas of which one weighing may say more than another share than the other.

    Args:
        before: An earlier weighing of the same pool; None: there was none.
        after: The later one.

    Returns:
        Those that came or went as well, always in the same order. Where only some were looked at
        in between it is these; else all.
    """
    old, new = before.replicas if before is not None else {}, after.replicas
    if isinstance(old, Alike) and isinstance(new, Alike):
        return dict.fromkeys(new.standings.differing(old.standings)).keys()
    return dict.fromkeys((*new, *old)).keys()


def _steps(last: Step, *, declared: bool, serves: bool) -> tuple[Step, ...]:
    of_slots = () if declared else (slots.slots_step(None, ALL),)
    return (*of_slots, median_step(ALL, serves), last)
