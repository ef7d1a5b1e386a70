"""What the plane hands out: whom to scrape, and everything that is known of a replica."""

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.balancing import ReplicaDecision
from controlplane.config import Policy, PoolSettings
from controlplane.config.metrics import AccessSettings
from controlplane.fleet import Draining, Pool, Replica
from controlplane.plane.devices import GpuReport
from controlplane.plane.envoys import Dispute
from controlplane.plane.observed import Observed
from controlplane.plane.readiness import State
from controlplane.resources.endpoints import EndpointWeight
from controlplane.telemetry import Window


@dataclass(frozen=True, slots=True)
class Target:
    """A replica to scrape, and how; `probe`: a health check is due as well."""

    pool: str
    replica: Replica
    settings: PoolSettings
    probe: bool
    access: AccessSettings | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """Pool, replica and generation."""
        return (self.pool, self.replica.id, self.replica.generation)


class ReplicaSummary(NamedTuple):
    """A replica in a few words: nothing that changes with every reading.

    Attributes:
        cut: Whether it gets nothing for its GPU memory or its errors.
        stale: Whether its readings are too old for its weight to follow.
    """

    state: State
    shown: bool
    draining: Draining | None
    tier: str | None = None
    cut: bool = False
    stale: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """Everything known of one replica.

    Attributes:
        age: Seconds since its last good scrape.
        gpus: What exporters report of its GPUs; None where its pool names none.
        in_flight: Requests that all Envoys together have at it now.
        by_envoys: What it did lately by the count of all Envoys.
        ended: Tries at it that ended well, and otherwise, by the count of all Envoys.
    """

    pool: Pool
    replica: Replica
    observed: Observed
    age: float | None
    policy: Policy | None
    decision: ReplicaDecision | None
    endpoint_weight: EndpointWeight | None
    gpus: GpuReport | None
    in_flight: float | None
    by_envoys: Window | None
    ended: tuple[float, float] | None = None
    disputes: tuple[Dispute, ...] = ()

    @property
    def summary(self) -> ReplicaSummary:
        """The same in a few words."""
        state, shown = self.observed.readiness.state, self.endpoint_weight is not None
        known = self.decision
        decided = (known.tier, known.drained, known.stale) if known is not None else ()
        return ReplicaSummary(state, shown, self.replica.draining, *decided)
