"""Whether a replica may be shown to Envoy yet, and whether it passes its health checks.

Envoy's own health checks decide about every replica that it knows. But it sends requests to hosts
that fail them where hardly any passes (panic mode), and a replica that is loading its model would
answer those with errors. So Envoy does not learn of it before it is ready.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from controlplane.config.health_check import HealthCheckSettings

UNREACHABLE_SECONDS: Final = 60.0
"""After so long without any answer Envoy may judge: its network may reach what ours does not."""


class Probe(StrEnum):
    """What came of asking a replica for its health."""

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
