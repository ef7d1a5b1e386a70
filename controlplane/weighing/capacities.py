"""What each replica of a pool can carry: estimates first, then what the others say about them.

The rules are functions in `slots`, `capacity` and `likeness`; here is what they are applied to.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from statistics import median
from typing import Final

from controlplane.settings import Policy
from controlplane.weighing import capacity, lengths, likeness, slots
from controlplane.weighing.explanation import Step
from controlplane.weighing.replica import ReplicaInput, State, Weighing
from controlplane.weighing.veto import OWN

SHARING: Final[frozenset[Policy]] = frozenset({"capacity-tiers", "least-request"})
"""Policies with which Envoy gives each request to the shortest line: of its tier, or of all."""


class Capacities:
    """Capacities while they are worked out.

    Attributes:
        slots: Of each replica, declared or learned, by id.
        learned: What was learned of slots that were not declared.
        estimates: By each replica's own requests; None before any reading.
        carried: Requests per second, above 0; 1 where nothing of the pool is known.
        usual: Their median; None where nothing was measured.
        kinds: The name of the group that each was taken together with.
        tokens: Of a request of the usual length; None where replicas do not count them.
    """

    def __init__(
        self,
        previous: Weighing | None,
        prior: Mapping[str, State],
        replicas: Mapping[str, ReplicaInput],
        ready: Collection[str],
        fresh: Collection[str],
    ) -> None:
        """Prepare.

        Args:
            previous: The last weighing.
            prior: What is still known, by id.
            replicas: Of the pool, by id.
            ready: Those that may get traffic.
            fresh: Those of them that were scraped lately.
        """
        self._previous, self._prior, self._replicas = previous, prior, replicas
        self._ready, self._fresh = set(ready), set(fresh)
        # Where nobody compares what replicas have in flight, each has a line of its own.
        before = previous.replicas if previous and previous.policy in SHARING else {}
        self._tiers = {id_: before[id_].tier for id_ in prior} if before else {}
        self._tier_sizes = Counter([tier for id_, tier in self._tiers.items() if id_ in ready])
        self.slots: dict[str, int] = {}
        self.learned: dict[str, slots.Learned] = {}
        self.estimates: dict[str, capacity.Estimate | None] = {}
        self.carried: dict[str, float] = {}
        self.usual: float | None = None
        self.kinds: dict[str, str] = {}
        self.tokens = lengths.usual(
            previous.tokens if previous else None,
            [window for id_ in self._fresh if (window := replicas[id_].window)],
        )

    def measure(self, envoys: int | None, now: float, steps: Mapping[str, list[Step]]) -> None:
        """Work everything out.

        Args:
            envoys: How many the requests come through; None where that is not known.
            now: Seconds of a monotonic clock.
            steps: Takes what there is to tell, by id.
        """
        self.slots = self._learn_slots(envoys)
        self.estimates = self._estimates(envoys)
        carried, self.usual = self._carried(self.estimates, now, steps)
        self.carried, self.kinds = self._alike(carried, self.estimates, steps)

    def _estimates(self, envoys: int | None) -> dict[str, capacity.Estimate | None]:
        """What each replica's own requests say, those of this weighing included."""
        found: dict[str, capacity.Estimate | None] = {}
        known = [
            weighed.capacity
            for id_, weighed in (self._previous.replicas if self._previous else {}).items()
            if id_ in self._fresh and weighed.capacity is not None
        ]
        usual = median(known) if known else None
        for id_, replica in self._replicas.items():
            state = self._prior.get(id_)
            before = state.estimate if state is not None else None
            found[id_] = before
            if (window := replica.window) is None:
                continue
            count = self.slots[id_]
            # Most replicas have no new reading: a pool is weighed several times an interval.
            if before is None or not before.knows(window, count):
                sharing = self._sharing(id_, envoys)
                found[id_] = capacity.estimated(
                    before,
                    window,
                    count,
                    sharing,
                    usual,
                    self.tokens,
                    _in_flight(replica),
                    idle=_is_idle(replica),
                )
        return found

    def _learn_slots(self, envoys: int | None) -> dict[str, int]:
        """The slots of each replica: as declared, or as learned up to this reading."""
        found = {}
        for id_, replica in self._replicas.items():
            if replica.slots is not None:
                found[id_] = replica.slots
                continue
            learned = self._prior[id_].learned if id_ in self._prior else None
            if replica.window is not None:
                learned = slots.learned(learned, replica.window, self._sharing(id_, envoys))
            if learned is not None:
                self.learned[id_] = learned
            found[id_] = learned.slots if learned else slots.DEFAULT
        return found

    def _sharing(self, id_: str, envoys: int | None) -> float:
        """How many replicas are as good as one queue: of its tier, or of all where there are none.

        As far as one Envoy sees it.
        """
        if envoys is None or id_ not in self._tiers:
            return 1.0
        others = self._tier_sizes.get(self._tiers[id_], 1) - 1
        return 1 + max(others, 0) / max(envoys, 1)

    def _carried(
        self,
        estimates: Mapping[str, capacity.Estimate | None],
        now: float,
        steps: Mapping[str, list[Step]],
    ) -> tuple[dict[str, float], float | None]:
        """Requests per second by id, and their median; those that need it get it last."""
        own = {
            id_: value
            for id_, estimate in estimates.items()
            if estimate and not estimate.needs_median and (value := estimate.capacity(None))
        }
        counting = own.keys() & self._fresh or own.keys()
        usual = median([own[id_] for id_ in counting]) if counting else None
        if usual is None:
            few = [value for each in estimates.values() if each and (value := each.capacity(None))]
            usual = median(few) if few else None
        carried = {}
        for id_, estimate in estimates.items():
            value = estimate.capacity(usual) if estimate else usual
            carried[id_] = value or 1.0
            if estimate is not None or usual is not None:
                window = self._replicas[id_].window
                steps[id_] += capacity.estimate_steps(estimate, window, usual, now)
            if self._replicas[id_].slots is None:
                steps[id_].append(slots.slots_step(self.learned.get(id_), carried[id_]))
        return carried, usual

    def _alike(
        self,
        carried: Mapping[str, float],
        estimates: Mapping[str, capacity.Estimate | None],
        steps: Mapping[str, list[Step]],
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Requests per second with those that cannot be told apart made equal, and their kinds."""
        measured = {
            id_: likeness.Measured(
                math.log(carried[id_]),
                estimate.record.all.variance,
                self._prior[id_].kind if id_ in self._prior else None,
            )
            for id_, estimate in estimates.items()
            if estimate and estimate.is_settled and id_ in self._ready
        }
        found = likeness.kinds(measured)
        values = dict(carried)
        for id_, kind in found.items():
            if kind.size > 1:
                values[id_] = math.exp(kind.log)
                steps[id_].append(likeness.kind_step(kind, carried[id_], values[id_]))
        return values, {id_: kind.name for id_, kind in found.items()}


def _in_flight(replica: ReplicaInput) -> float | None:
    """What a replica has in flight, by its own count, or else by that of Envoys."""
    counts = sorted(replica.in_flight, key=lambda count: count.source != OWN)
    return counts[0].requests if counts else None


def _is_idle(replica: ReplicaInput) -> bool:
    """Whether it has nothing in flight, by all who count; each of them overlooks something."""
    return bool(replica.in_flight) and not any(it.requests for it in replica.in_flight)
