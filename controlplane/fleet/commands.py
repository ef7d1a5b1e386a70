"""What can be asked of the fleet; `apply` carries it out."""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.config import PoolSettings, ReplicaSettings


@dataclass(frozen=True, slots=True)
class PutPool:
    """Add a pool, or change its settings and keep its replicas."""

    pool: str
    settings: PoolSettings


@dataclass(frozen=True, slots=True)
class DeletePool:
    """Remove a pool with its replicas; of one that the file declares, what the API overrides."""

    pool: str


@dataclass(frozen=True, slots=True)
class PutReplica:
    """Add a replica, or change it; at another address it is another process."""

    pool: str
    replica: str
    settings: ReplicaSettings
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class PutReplicas:
    """Add or change many replicas of a pool, all of them or none; the others stay.

    No two have the same address. `force`: even if most of the pool moves to other addresses at
    once.
    """

    pool: str
    replicas: Mapping[str, ReplicaSettings]
    force: bool = False
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class OfReplica:
    """What is asked of one replica."""

    pool: str
    replica: str


@dataclass(frozen=True, slots=True)
class DeleteReplica(OfReplica):
    """Remove a replica: no new requests, those in flight finish.

    Of one that the file declares, only what the API overrides is removed. `force`: even if it is
    one of too many in a short time.
    """

    force: bool = False


class Drain(OfReplica):
    """Send a replica no new requests, but keep it."""


class Undrain(OfReplica):
    """Let a drained replica have requests again."""


class Heartbeat(OfReplica):
    """Renew a replica's lease."""


Command = (
    PutPool | DeletePool | PutReplica | PutReplicas | DeleteReplica | Drain | Undrain | Heartbeat
)
