"""One round of weighing: every rule in its order, over all replicas of a pool.

The rules themselves are functions in the other files; here is what they are applied to: which
replicas a median is of, which ones are equal, and what each rule leaves for the next.
"""

import math
from collections.abc import Mapping
from statistics import median
from typing import Final

from controlplane.settings import PoolSettings
from controlplane.signals import WINDOW
from controlplane.weighing import capacity, damping, staleness, tiers, trim
from controlplane.weighing.conclusion import concluded, known_states
from controlplane.weighing.explanation import Step, number
from controlplane.weighing.gpus import memory_in_use
from controlplane.weighing.guard import Guard, by_memory, watched, within_limits
from controlplane.weighing.replica import ReplicaInput, State, Weighing

PATIENCE: Final = 3
"""Windows that must agree before a tier move or the end of a cut. Windows slide, so two that are a
scrape apart are nearly the same evidence: three windows are the time of three whole ones."""


class Round:
    """One weighing while it is worked out; each method is one rule over all replicas."""

    def __init__(
        self,
        previous: Weighing | None,
        settings: PoolSettings,
        replicas: Mapping[str, ReplicaInput],
        ready: set[str],
        now: float,
    ) -> None:
        self._previous, self._settings, self._now = previous, settings, now
        self._replicas, self._ready = replicas, ready
        self._interval = settings.metrics.interval
        self._patience = PATIENCE * max(WINDOW, self._interval)
        self._prior = known_states(previous, replicas)
        self._steps: dict[str, list[Step]] = {id_: [] for id_ in replicas}
        self._stale = {
            id_
            for id_, replica in replicas.items()
            if staleness.is_stale(replica.age, self._interval)
        }
        self._fresh = ready - self._stale

    def weighing(self, gpus: Mapping[str, float], *, suspect: bool) -> Weighing:
        """Apply the rules in their order."""
        estimates, usual_capacity = self._estimates()
        guards = self._guards(gpus)
        serving = {id_ for id_ in self._ready if not guards[id_].cut}
        carried = {
            id_: estimate.capacity if estimate else usual_capacity or 1.0
            for id_, estimate in estimates.items()
        }
        adjusted = self._adjusted(carried, guards)
        counting = serving & self._fresh or serving or set(adjusted)
        usual = median([adjusted[id_] for id_ in counting]) if counting else 1.0
        targets, equal = self._targets(adjusted, usual, serving)
        shares = self._shares(targets, guards, equal=equal)
        placements, anchor = self._placements(targets, usual, guards, serving)
        states = {
            id_: State(
                replica.generation, estimates[id_], shares[id_], guards[id_], placements[id_]
            )
            for id_, replica in self._replicas.items()
        }
        known = {
            id_: None if estimates[id_] is None and usual_capacity is None else value
            for id_, value in carried.items()
        }
        weighed = concluded(states, known, self._steps, serving, self._stale)
        return Weighing(weighed, suspect, self._now, equal, anchor)

    def _estimates(self) -> tuple[dict[str, capacity.Estimate | None], float | None]:
        """Those that need nothing of the others first: of them the median is for the rest."""
        found: dict[str, capacity.Estimate | None] = {}
        before = {id_: state.estimate for id_, state in self._prior.items()}
        usual: float | None = None
        for turn in (True, False):
            for id_, replica in self._replicas.items():
                if capacity.trusted(before.get(id_), replica.window) is turn:
                    found[id_], steps = capacity.estimated(
                        before.get(id_), replica.window, replica.slots, usual
                    )
                    self._steps[id_] += steps
            if turn:
                own = {id_: estimate.capacity for id_, estimate in found.items() if estimate}
                counting = own.keys() & self._fresh or own.keys()
                usual = median([own[id_] for id_ in counting]) if counting else None
        if usual is None:
            few = [estimate.capacity for estimate in found.values() if estimate]
            usual = median(few) if few else None
        return {id_: found[id_] for id_ in self._replicas}, usual

    def _guards(self, gpus: Mapping[str, float]) -> dict[str, Guard]:
        return within_limits(
            {
                id_: watched(
                    self._prior[id_].guard if id_ in self._prior else Guard(),
                    memory_in_use(replica, gpus, self._interval),
                    self._settings.memory,
                    self._patience,
                    self._now,
                )
                for id_, replica in self._replicas.items()
            },
            self._ready,
        )

    def _adjusted(
        self, carried: Mapping[str, float], guards: Mapping[str, Guard]
    ) -> dict[str, float]:
        """Requests per second after the tail, the objective, errors and memory."""
        tail = trim.usual_tail(
            window for id_ in self._fresh if (window := self._replicas[id_].window)
        )
        objective = self._settings.objective
        adjusted = {}
        for id_, replica in self._replicas.items():
            value, step = carried[id_], None
            if (window := replica.window) is not None:
                value, step = trim.by_tail(window, tail, value)
                self._note(id_, step)
                if objective is not None:
                    value, step = trim.by_objective(window, objective.p99, value)
                    self._note(id_, step)
                value, step = trim.by_errors(window, replica.slots, value)
                self._note(id_, step)
            adjusted[id_], step = by_memory(guards[id_], self._settings.memory, value)
            self._note(id_, step)
        return adjusted

    def _targets(
        self, adjusted: Mapping[str, float], usual: float, serving: set[str]
    ) -> tuple[dict[str, float], bool]:
        """Relative to the median, within limits; all 1 where the pool is as good as equal."""
        relatives = {}
        for id_, value in adjusted.items():
            age = self._replicas[id_].age
            aged, step = staleness.by_age(age, self._interval, usual, value)
            self._note(id_, step)
            relatives[id_] = aged / usual
        equal = damping.are_equal(
            (relatives[id_] for id_ in serving),
            before=self._previous is not None and self._previous.equal,
        )
        targets = {}
        for id_, relative in relatives.items():
            targets[id_] = target = 1.0 if equal and id_ in serving else damping.clamped(relative)
            words = f"{number(relative)} × the pool's median"
            if equal and id_ in serving:
                words += ", and so are all, near enough: all are equal"
            elif target != relative:
                words += f", kept between {damping.FLOOR:g} and {damping.CEILING:g}"
            self._note(id_, Step("median", relative, target, words))
        return targets, equal

    def _shares(
        self, targets: Mapping[str, float], guards: Mapping[str, Guard], *, equal: bool
    ) -> dict[str, float]:
        at = self._previous.at if self._previous else None
        part = damping.rounds(at, self._now, self._interval)
        shares = {}
        for id_, target in targets.items():
            before = self._prior[id_].relative if id_ in self._prior else None
            if guards[id_].cut and before is not None:
                shares[id_] = before
                continue
            shares[id_] = damping.damped(before, target, part, equal=equal)
            self._note(id_, damping.damping_step(before, target, shares[id_]))
        return shares

    def _placements(
        self,
        targets: Mapping[str, float],
        usual: float,
        guards: Mapping[str, Guard],
        serving: set[str],
    ) -> tuple[dict[str, tiers.Placement], float]:
        """By where a share is going and not by where damping lets it be: one move, not several."""
        before = {id_: state.placement for id_, state in self._prior.items()}
        logs = {id_: math.log(target * usual) for id_, target in targets.items()}
        counting = serving & self._fresh or serving or set(logs)
        anchor = self._previous.anchor if self._previous else None
        if counting:
            anchor = tiers.anchored(before, {id_: logs[id_] for id_ in counting}, anchor)
        anchor = anchor or 0.0
        placements = {}
        for id_, log in logs.items():
            old = before.get(id_)
            placements[id_] = (
                old
                if old is not None and guards[id_].cut
                else tiers.placed(old, log, anchor, self._patience, self._now)
            )
        return placements, anchor

    def _note(self, id_: str, step: Step | None) -> None:
        if step is not None:
            self._steps[id_].append(step)
