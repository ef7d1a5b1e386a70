"""What the plane hands out: whom to scrape, and everything that is known of a replica."""

from dataclasses import dataclass
from typing import NamedTuple, Self

from controlplane.balancing import Decision, ReplicaDecision
from controlplane.config import Policy, PoolSettings
from controlplane.config.metrics import AccessSettings
from controlplane.fleet import Draining, Pool, Replica
from controlplane.plane.devices import Joined
from controlplane.plane.envoys import Dispute
from controlplane.plane.observed import Observed
from controlplane.plane.readiness import State
from controlplane.resources.endpoints import EndpointWeight
from controlplane.telemetry import Window


@dataclass(frozen=True, slots=True)
class Target:
    """A replica to be scraped, and how; `probe`: its health is to be asked for as well."""

    pool: str
    replica: Replica
    settings: PoolSettings
    probe: bool
    access: AccessSettings | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """Pool, replica and generation."""
        return (self.pool, self.replica.id, self.replica.generation)


class Outline(NamedTuple):
    """A replica from afar: nothing that is another one with every reading."""

    state: State
    shown: bool
    decided: tuple[str, bool, bool] | None
    draining: Draining | None

    @classmethod
    def of(
        cls,
        replica: Replica,
        observed: Observed,
        decided: tuple[str, bool, bool] | None,
        *,
        shown: bool,
    ) -> Self:
        """Of what is known of a replica."""
        return cls(observed.readiness.state, shown, decided, replica.draining)


def decided_of(decision: Decision, id_: str) -> tuple[str, bool, bool] | None:
    """A replica's tier, whether it is cut and whether it is stale; None: it is not in it."""
    if (row := decision.rows.get(id_)) is None:
        return None
    return decision.tier_of(row), bool(decision.drained[row]), bool(decision.stale[row])


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """Everything known of one replica.

    Attributes:
        age: Seconds since its last good scrape.
        policy: Of the last decision about its pool.
        decision: What it gets, and why; None before the first decision about it.
        endpoint_weight: What Envoy was sent; None while Envoy does not know it.
        joined: What exporters report of its GPUs; None where its pool names none.
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
    joined: Joined | None
    in_flight: float | None
    by_envoys: Window | None
    ended: tuple[float, float] | None = None
    disputes: tuple[Dispute, ...] = ()

    @property
    def outline(self) -> Outline:
        """The same from afar."""
        shown, known = self.endpoint_weight is not None, self.decision
        decided = None if known is None else (known.tier, known.drained, known.stale)
        return Outline.of(self.replica, self.observed, decided, shown=shown)
