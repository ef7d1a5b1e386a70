"""One round of weighing: every rule in its order, over all replicas of a pool.

The rules themselves are functions in the other files; here is what they are applied to: which
replicas a median is of, which ones are equal, and what each rule leaves for the next.
"""

import math
from collections.abc import Collection, Mapping
from statistics import median
from typing import Final

from controlplane.settings import PoolSettings
from controlplane.signals import WINDOW
from controlplane.weighing import (
    capacity,
    damping,
    deductions,
    leaning,
    lengths,
    lines,
    placing,
    reserve,
    staleness,
    tiers,
    warming,
)
from controlplane.weighing.capacities import Capacities
from controlplane.weighing.conclusion import concluded, known_states, told_weights
from controlplane.weighing.explanation import Step
from controlplane.weighing.gpus import guarded
from controlplane.weighing.guard import Guard
from controlplane.weighing.leaning import Lean
from controlplane.weighing.long_requests import NONE, divided, members_of
from controlplane.weighing.replica import ReplicaInput, Weighing, state_of
from controlplane.weighing.sizes import Sizes
from controlplane.weighing.steps_taken import steps_taken
from controlplane.weighing.vetoes import vetoes

PATIENCE: Final = 3
"""Windows that must agree before a tier move or the end of a cut. Windows slide, so two that are a
scrape apart are nearly the same evidence: three windows are the time of three whole ones."""


def patience(settings: PoolSettings) -> float:
    """The seconds of `PATIENCE` in a pool."""
    return PATIENCE * max(WINDOW, settings.metrics.interval)


class Round:
    """One weighing while it is worked out; each method is one rule over all replicas."""

    def __init__(
        self,
        previous: Weighing | None,
        settings: PoolSettings,
        replicas: Mapping[str, ReplicaInput],
        ready: set[str],
        now: float,
        envoys: int | None,
    ) -> None:
        self._previous, self._settings, self._now = previous, settings, now
        self._envoys = envoys
        self._replicas, self._ready = replicas, ready
        self._interval = settings.metrics.interval
        self._policy, self._slow_start = settings.balancing.policy, settings.balancing.slow_start
        self._patience = patience(settings)
        self._prior = known_states(previous, replicas)
        self._steps: dict[str, list[Step]] = {id_: [] for id_ in replicas}
        self._stale = {
            id_
            for id_, replica in replicas.items()
            if replica.age is not None and staleness.is_stale(replica.age, self._interval)
        }
        self._fresh = ready - self._stale if self._stale else ready

    def weighing(self, gpus: Mapping[str, float], *, suspect: bool) -> Weighing:
        """Apply the rules in their order."""
        known = Capacities(self._previous, self._prior, self._replicas, self._ready, self._fresh)
        known.measure(self._envoys, self._now, self._steps)
        estimates, carried, kinds = known.estimates, known.carried, known.kinds
        guards = guarded(
            self._prior,
            self._replicas,
            self._ready,
            self._settings,
            gpus,
            self._patience,
            self._now,
        )
        serving = {id_ for id_ in self._ready if not guards[id_].cut}
        adjusted = deductions.adjusted(
            self._replicas, known, guards, self._fresh, self._settings, self._steps
        )
        counting = serving & self._fresh or serving or set(adjusted)
        usual = median([adjusted[id_] for id_ in counting]) if counting else 1.0
        targets, equal = self._targets(adjusted, usual, serving)
        used = self._used(known, serving)
        reserved = self._reserved(targets, used, serving)
        ready_since = {id_: self._replicas[id_].ready_since for id_ in serving}
        cold = warming.cold(ready_since, self._slow_start, self._now)
        warm = warming.warmed(reserved, cold, ready_since, self._slow_start, self._now, self._steps)
        oldest = self._now - staleness.FROZEN * self._interval
        left, vetoed = vetoes(
            warm,
            carried,
            known.slots,
            self._prior,
            self._replicas,
            serving,
            oldest,
            self._now,
            self._steps,
        )
        at = self._previous.at if self._previous else None
        part = damping.rounds(at, self._now, self._interval)
        shares = steps_taken(
            reserved, left, self._prior, estimates, guards, part, self._now, self._steps
        )
        placements, anchor = dict.fromkeys(self._replicas, tiers.Placement()), 0.0
        if self._policy == "capacity-tiers":
            placements, anchor = self._placements(targets, usual, estimates, kinds, guards, serving)
        states = {
            id_: state_of(
                self._prior.get(id_),
                replica.generation,
                estimates[id_],
                known.learned.get(id_),
                kinds.get(id_),
                shares[id_],
                guards[id_],
                placements[id_],
                vetoed.get(id_),
            )
            for id_, replica in self._replicas.items()
        }
        cohorts = {
            id_: warming.cohort(ready_since[id_] or 0.0, self._slow_start or 1.0) for id_ in cold
        }
        names = tiers.named(placements, cohorts, vetoed)
        ordinary = serving - cold.keys() - vetoed.keys()
        leans = self._leans(known, names, shares, ordinary, oldest)
        leaned = leaning.leaned(shares, names, leans)
        by_size, of_short = self._divided(known, shares, leaned, placements, serving, cold)
        shown = carried if known.usual is not None else dict.fromkeys(carried)
        told = told_weights(self._previous)
        weighed = concluded(
            self._policy,
            states,
            names,
            shown,
            self._steps,
            serving,
            self._stale,
            told,
            of_short,
            leans,
            equal=equal,
        )
        return Weighing(
            self._policy,
            weighed,
            suspect,
            self._now,
            equal,
            anchor,
            used,
            known.tokens,
            by_size,
            bool(cold or vetoed)
            or any(shares[id_] != left[id_] and not guards[id_].cut for id_ in left),
            leans,
        )

    def _leans(
        self,
        known: Capacities,
        names: Mapping[str, str],
        shares: Mapping[str, float],
        ids: Collection[str],
        oldest: float,
    ) -> dict[str, Lean]:
        """By what is in line; where there are no tiers, all have the same name, and none leans."""
        waits = lines.waits(self._replicas, known, ids, oldest, self._now)
        before = self._previous.leans if self._previous else {}
        seconds = lines.horizon(self._replicas, ids, self._interval, self._envoys)
        return leaning.leans(before, names, shares, waits, seconds)

    def _divided(
        self,
        known: Capacities,
        shares: Mapping[str, float],
        leaned: Mapping[str, float],
        placements: Mapping[str, tiers.Placement],
        serving: set[str],
        cold: Collection[str],
    ) -> tuple[Sizes | None, Mapping[str, float]]:
        if not any(lengths.are_counted(self._replicas[id_].window) for id_ in serving):
            return None, NONE
        bands = {id_: placements[id_].band for id_ in serving if id_ not in cold}
        members = members_of(self._replicas, known, shares, bands, serving)
        return divided(self._previous, self._settings, members, leaned, self._steps, self._now)

    def _targets(
        self, adjusted: Mapping[str, float], usual: float, serving: set[str]
    ) -> tuple[dict[str, float], bool]:
        """Relative to the median, within limits; all 1 where the pool is as good as equal."""
        aged = dict(adjusted)
        for id_ in self._stale:
            age = self._replicas[id_].age
            aged[id_], step = staleness.by_age(age, self._interval, usual, aged[id_])
            self._note(id_, step)
        relatives = {id_: value / usual for id_, value in aged.items()}
        equal = damping.are_equal(
            {relatives[id_] for id_ in serving},
            before=self._previous is not None and self._previous.equal,
        )
        targets = {}
        told: dict[tuple[float, bool], Step] = {}
        for id_, relative in relatives.items():
            key = (relative, equal and id_ in serving)
            # The same for all that have the same; in a pool without readings that is every one.
            step = told.get(key)
            if step is None:
                step = told[key] = damping.median_step(*key)
            targets[id_] = step.after
            self._steps[id_].append(step)
        return targets, equal

    def _used(
        self,
        known: Capacities,
        serving: set[str],
    ) -> float | None:
        """How busy the pool is; None until most of it has been measured."""
        measured = [
            (lengths.rate(window, known.tokens), known.carried[id_])
            for id_ in serving & self._fresh
            if (window := self._replicas[id_].window)
            and window.samples
            and (estimate := known.estimates[id_])
            and not estimate.needs_median
        ]
        before = self._previous.used if self._previous else None
        if len(measured) * 2 <= len(serving):
            return before
        return reserve.utilisation(
            before,
            math.fsum(rate for rate, _ in measured),
            math.fsum(carries for _, carries in measured),
        )

    def _reserved(
        self, targets: Mapping[str, float], used: float | None, serving: set[str]
    ) -> dict[str, float]:
        """Targets with a reserve by the square-root rule.

        Where long requests go to the fast replicas, those have as long queues as slow ones: the
        rule, which is for requests that are alike, does not hold there.
        """
        sizes = self._previous.sizes if self._previous else None
        if sizes is not None and sizes.is_in_force(self._now):
            return dict(targets)
        if used is None:
            return dict(targets)
        found = reserve.with_reserve({id_: targets[id_] for id_ in serving}, used)
        left = {}
        for id_, target in targets.items():
            left[id_] = damping.clamped(found.get(id_, target))
            self._note(id_, reserve.reserve_step(used, target, left[id_]))
        return left

    def _placements(
        self,
        targets: Mapping[str, float],
        usual: float,
        estimates: Mapping[str, capacity.Estimate | None],
        kinds: Mapping[str, str],
        guards: Mapping[str, Guard],
        serving: set[str],
    ) -> tuple[dict[str, tiers.Placement], float]:
        """By where a share is going and not by where damping lets it be: one move, not several."""
        measured = {id_: it.requests if it else 0.0 for id_, it in estimates.items()}
        return placing.placements(
            {id_: state.placement for id_, state in self._prior.items()},
            {id_: math.log(target * usual) for id_, target in targets.items()},
            kinds,
            counting=serving & self._fresh or serving or set(targets),
            earned={id_ for id_, requests in measured.items() if requests >= tiers.EARNED},
            held={id_ for id_, guard in guards.items() if guard.cut},
            anchor=self._previous.anchor if self._previous else None,
            patience=self._patience,
            now=self._now,
        )

    def _note(self, id_: str, step: Step | None) -> None:
        if step is not None:
            self._steps[id_].append(step)
