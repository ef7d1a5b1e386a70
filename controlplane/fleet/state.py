"""The fleet as frozen values: pools by name, replicas by id."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from controlplane.fleet.layers import Layers, Source
from controlplane.settings import PoolSettings, ReplicaSettings
from controlplane.settings.said import said


class Draining(StrEnum):
    """Why a replica gets no new requests."""

    OPERATOR = "operator"
    LEASE = "lease"
    DISCOVERY = "discovery"


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """A command that cannot be carried out; nothing has changed.

    Attributes:
        kind: Whether what it names does not exist, it contradicts what exists, or nothing can be
            kept at the moment.
    """

    def __init__(
        self, kind: Literal["not found", "conflict", "unavailable"], sentence: str
    ) -> None:
        self.kind = kind
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a pool.

    Attributes:
        generation: Differs from that of every other process that was ever known under this id,
            so that nothing measured of one is held against the next.
        draining: None while it may get new requests.
        lease_until: Time at which it counts as gone unless it sends a heartbeat; None for ever.
            For one that its source no longer has it is the time at which that was seen.
        layers: Who said what of its settings; nobody of one that was discovered.
        found_by: The source that discovered it; None for one that was declared.
    """

    id: str
    settings: ReplicaSettings
    source: Source
    generation: int
    draining: Draining | None = None
    lease_until: float | None = None
    layers: Layers[ReplicaSettings] = field(default_factory=Layers)
    found_by: str | None = None

    def sources(self) -> dict[str, str]:
        """Where each value comes from: ``file``, ``api``, ``discovery`` or ``default``."""
        if self.source is not Source.DISCOVERY:
            return self.layers.sources()
        keys = said(self.settings)
        return {
            key: "discovery" if key in keys else "default" for key in ReplicaSettings.model_fields
        }


@dataclass(frozen=True, slots=True)
class Pool:
    """The replicas of one model.

    Attributes:
        layers: Who said what of its settings.
        departures: When replicas were removed of late that nobody had drained.
    """

    name: str
    settings: PoolSettings
    source: Source
    replicas: Mapping[str, Replica] = field(default_factory=dict)
    layers: Layers[PoolSettings] = field(default_factory=Layers)
    departures: tuple[float, ...] = ()

    def replica(self, replica_id: str) -> Replica:
        """The replica of this id.

        Raises:
            Refused: There is none.
        """
        try:
            return self.replicas[replica_id]
        except KeyError:
            raise Refused(
                "not found", f"pool {self.name!r} has no replica {replica_id!r}"
            ) from None

    def with_replica(self, replica: Replica) -> "Pool":
        """The pool with this replica added or replaced."""
        return replace(self, replicas={**self.replicas, replica.id: replica})

    def without_replica(self, replica_id: str) -> "Pool":
        """The pool without this replica."""
        return replace(
            self, replicas={key: it for key, it in self.replicas.items() if key != replica_id}
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every pool there is.

    Attributes:
        pools: By name.
        generations: How many generations have been given out.
    """

    pools: Mapping[str, Pool] = field(default_factory=dict)
    generations: int = 0

    def pool(self, name: str) -> Pool:
        """The pool of this name.

        Raises:
            Refused: There is none.
        """
        try:
            return self.pools[name]
        except KeyError:
            raise Refused("not found", f"there is no pool {name!r}") from None

    def with_pool(self, pool: Pool) -> "Fleet":
        """The fleet with this pool added or replaced."""
        return replace(self, pools={**self.pools, pool.name: pool})

    def without_pool(self, name: str) -> "Fleet":
        """The fleet without this pool."""
        return replace(self, pools={key: it for key, it in self.pools.items() if key != name})
