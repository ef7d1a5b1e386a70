"""What was seen of replicas: readiness, readings, failed scrapes; and how it follows the fleet.

Envoy's own health checks decide about every replica that it knows. But it sends requests to hosts
that fail them where hardly any passes (panic mode), and a replica that is loading its model would
answer those with errors. So Envoy does not learn of it before it is ready.
"""

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from controlplane.balancing import OWN, InFlight
from controlplane.config.health_check import HealthCheckSettings
from controlplane.fleet import Change, Pool, Replica
from controlplane.telemetry import History, Reading, Window

UNREACHABLE_SECONDS: Final = 60.0
"""After so long without any answer Envoy may judge: its network may reach what ours does not."""


class Probe(StrEnum):
    """The result of one health check."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    REFUSED = "connection refused"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "certificate not trusted"


class State(StrEnum):
    """The state of one replica.

    `STARTING` is not shown to Envoy. The others are, because Envoys check for themselves:
    `UNHEALTHY` fails its checks and listens; where `GONE` was, nobody listens or another process.
    """

    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Readiness:
    """A state and since when.

    Attributes:
        answer: What came of the last probe, if there was any (`probed`).
        ready_since: Since when it has been ready, if it became so while it was watched. A replica
            that was found ready may have served for days.
        heard: When it last answered that it is not ready, or refused; long ago if it never did.
        streak: Probes in a row that speak for another state.
    """

    state: State
    since: float
    probed: bool = False
    ready_since: float | None = None
    heard: float = -math.inf
    answer: Probe | None = None
    streak: int = 0

    @property
    def is_shown(self) -> bool:
        """Whether Envoy may know of the replica."""
        return self.state is not State.STARTING

    @property
    def may_serve(self) -> bool:
        """Whether it is believed to serve; it is if it did before a restart of ours."""
        return self.state is State.READY or (self.state is State.GONE and not self.probed)

    def after(self, probe: Probe, now: float, check: HealthCheckSettings) -> "Readiness":
        """The readiness after a probe, by the thresholds of the pool's health check."""
        state, streak = self.state, 0
        match probe, self.state:
            case Probe.HEALTHY, State.UNHEALTHY | State.GONE if self.probed:
                streak = self.streak + 1
                if streak >= check.healthy_threshold:
                    state = State.READY
            case Probe.HEALTHY, _:
                state = State.READY
            case Probe.REFUSED, State.READY | State.UNHEALTHY:
                # Where nobody listens there is nothing to be mistaken about.
                state = State.GONE
            case Probe.UNHEALTHY, State.GONE:
                # Somebody listens again, and is not ready: a new process that loads its model.
                state = State.STARTING
            case Probe.UNHEALTHY | Probe.UNREACHABLE, State.READY:
                streak = self.streak + 1
                if streak >= check.unhealthy_threshold:
                    state = State.UNHEALTHY
            # Envoys may trust others than we do, or read another file.
            case Probe.UNREACHABLE | Probe.UNTRUSTED, State.STARTING if self._is_silent(now):
                state = State.READY
            case Probe.UNTRUSTED, _:
                streak = self.streak
        heard = now if probe in (Probe.UNHEALTHY, Probe.REFUSED) else self.heard
        if state is self.state:
            return replace(self, probed=True, heard=heard, answer=probe, streak=streak)
        ready_since = self.ready_since if State.UNHEALTHY in (state, self.state) else None
        # A probe without an answer says nothing of it: a busy machine of ours is enough for one.
        found_ready = self.heard == self.since == -math.inf
        if state is State.READY and self.state is not State.UNHEALTHY and not found_ready:
            ready_since = now
        return Readiness(
            state, now, probed=True, ready_since=ready_since, heard=heard, answer=probe
        )

    def _is_silent(self, now: float) -> bool:
        """Tell whether nothing was heard of it for so long that Envoy may judge."""
        return now - max(self.since, self.heard) >= UNREACHABLE_SECONDS

    def restarted(self, now: float) -> "Readiness":
        """The readiness after a sign of a new process at the same address."""
        return Readiness(State.GONE, now, self.probed) if self.state is State.READY else self


RESTARTS: Final = 1 << 20
"""More restarts than one process is ever seen to make."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A scrape that yielded no reading, and whether the connection was refused."""

    sentence: str
    refused: bool = False


@dataclass(slots=True)
class Observed:
    """Everything seen of one generation of a replica.

    Attributes:
        failure: Why the last scrape failed; None when it was good.
        recalled_at: When the knowledge from before a restart was taken up, if any was. It counts as
            of then until there is a scrape.
        recalled_count: Requests that it had counted then; one that has counted fewer has restarted.
    """

    generation: int
    readiness: Readiness
    history: History = field(default_factory=History)
    window: Window | None = None
    scraped_at: float | None = None
    failure: str | None = None
    failures: int = 0
    recalled_at: float | None = None
    recalled_count: float = 0.0

    @classmethod
    def fresh(cls, generation: int, since: float) -> "Observed":
        """Nothing seen yet of a replica that is there since some time."""
        return cls(generation, Readiness(State.STARTING, since))

    @property
    def lifetime(self) -> int:
        """Differs between any two processes that were ever seen under one id."""
        return lifetime_of(self.generation, self.history.generation)

    @property
    def renewed_at(self) -> float | None:
        """When what is known of it was renewed last; None: nothing is known."""
        return self.recalled_at if self.scraped_at is None else self.scraped_at

    def in_flight(self, slots: int | None) -> tuple[InFlight, ...]:
        """Return what it has in flight by its own count; where requests wait, all slots compute."""
        window = self.window
        if window is None or window.queue is None:
            return ()
        if window.queue_unit == "texts":
            return (InFlight(OWN, window.queue, window.at, are_texts=True),)
        computed = float(slots or 1) if window.queue else 0.0
        return (InFlight(OWN, window.queue + computed, window.at),)

    def record(self, outcome: Reading | Failure, settings: HealthCheckSettings, now: float) -> None:
        if isinstance(outcome, Failure):
            self.failure = outcome.sentence
            self.failures += 1
            if outcome.refused:
                self.probed(Probe.REFUSED, settings, now)
            return
        before = self.history.generation
        self.window = self.history.add(outcome)
        if self.scraped_at is None and self.window.count < self.recalled_count:
            self.history.generation += 1
        self.scraped_at = now
        self.failure = None
        if self.history.generation != before:
            self.readiness = self.readiness.restarted(now)

    def recall(self, now: float, count: float, *, was_shown: bool, was_measured: bool) -> None:
        """Take up what was known of it before a restart of ours.

        `count`: requests that it had counted; 0 where that says nothing. An Envoy that was shown it
        judges its health until we have asked.
        """
        if was_shown:
            self.readiness = Readiness(State.GONE, -math.inf)
        if was_measured:
            self.recalled_at, self.recalled_count = now, count

    def forget_readings(self) -> None:
        """Begin anew with measuring: the pool's metrics are other ones, or none, from now on."""
        self.history = History(self.history.generation)
        self.window, self.scraped_at, self.failure = None, None, None
        self.recalled_at, self.recalled_count = None, 0.0

    def probed(self, probe: Probe, settings: HealthCheckSettings, now: float) -> bool:
        """Take in the answer to a health probe; returns whether its state is another one."""
        before, self.readiness = self.readiness, self.readiness.after(probe, now, settings)
        return self.readiness.state is not before.state


def lifetime_of(generation: int, restarts: int = 0) -> int:
    """Number the processes seen under one id: the fleet's generation, and restarts in it."""
    return generation * RESTARTS + restarts


class Observations(dict[tuple[str, str], Observed]):
    """Replicas by pool and id."""

    def current(self, pool: str, replica: Replica) -> Observed | None:
        """What was seen of a replica; None when it is no longer the same process, or not there."""
        observed = self.get((pool, replica.id))
        same = observed is not None and observed.generation == replica.generation
        return observed if same else None

    def is_shown(self, pool: str, replica_id: str) -> bool:
        """Whether Envoys may know of a replica; of one that has gone they may not."""
        observed = self.get((pool, replica_id))
        return observed is not None and observed.readiness.is_shown

    def is_probed(self, pool: str, replica: Replica) -> bool:
        """Whether a replica's health is asked for because it is not ready."""
        return self[pool, replica.id].readiness.state is not State.READY

    def serves(self, pool: str, replica: Replica) -> bool:
        """Whether a replica is believed to serve."""
        observed = self.get((pool, replica.id))
        return observed is not None and observed.readiness.may_serve

    def are_probed(self) -> bool:
        """Whether every replica was probed once."""
        return all(observed.readiness.probed for observed in self.values())

    def adopt(self, found: Change, since: float) -> list[tuple[str, str]]:
        """Follow one change of the fleet; returns the replicas whose observations were dropped."""
        if found.replica is None:
            return self._adopt_pool(found)
        key, replica = (found.pool, found.replica), found.after
        known = self.get(key)
        if isinstance(replica, Replica):
            if known is not None and known.generation == replica.generation:
                return []
            self[key] = Observed.fresh(replica.generation, since)
        else:
            self.pop(key, None)
        return [] if known is None else [key]

    def _adopt_pool(self, found: Change) -> list[tuple[str, str]]:
        known, pool = found.before, found.after
        if not isinstance(known, Pool):
            return []
        keys = [(known.name, id_) for id_ in known.replicas]
        if not isinstance(pool, Pool):
            for key in keys:
                del self[key]
            return keys
        if is_read_anew(found):
            for key in keys:
                self[key].forget_readings()
        return []


def is_read_anew(found: Change) -> bool:
    """Whether a pool's replicas are read otherwise than before, or not at all any more."""
    known, pool = found.before, found.after
    if not isinstance(known, Pool) or not isinstance(pool, Pool):
        return False
    before, after = known.settings.metrics, pool.settings.metrics
    # Without an exporter the last reading of a GPU's memory would stand for ever.
    return not after.reads_like(before) or (before.gpu is not None and after.gpu is None)
