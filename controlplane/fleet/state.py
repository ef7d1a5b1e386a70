"""The fleet as frozen values: pools by name, replicas by id."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, Self

from controlplane.fleet.layers import Layers, Source
from controlplane.fleet.persistent import PersistentMap
from controlplane.settings import Address, PoolSettings, ReplicaSettings
from controlplane.settings.said import said


class Draining(StrEnum):
    """Why a replica gets no new requests."""

    OPERATOR = "operator"
    LEASE = "lease"
    DISCOVERY = "discovery"


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """A command that cannot be carried out; nothing has changed.

    Attributes:
        kind: Whether what it names does not exist, it contradicts what exists, somebody else has a
            say in it, or nothing can be kept at the moment.
        path: Of the setting that is in the way, from the top of a pool's or a replica's; empty
            where it is none.
        replica: Id of the one whose setting it is, where several are put together.
    """

    def __init__(
        self,
        kind: Literal["not found", "conflict", "forbidden", "unavailable"],
        sentence: str,
        path: tuple[str | int, ...] = (),
        replica: str | None = None,
    ) -> None:
        self.kind, self.path, self.replica = kind, path, replica
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
        instance: Which process it is at its address, as it said last; None if it never did.
    """

    id: str
    settings: ReplicaSettings
    source: Source
    generation: int
    draining: Draining | None = None
    lease_until: float | None = None
    layers: Layers[ReplicaSettings] = field(default_factory=Layers)
    found_by: str | None = None
    instance: str | None = None

    @property
    def address(self) -> Address:
        """Where it is."""
        return self.settings.address

    def sources(self) -> dict[str, str]:
        """Where each value comes from: ``file``, ``api``, ``discovery`` or ``default``."""
        if self.source is not Source.DISCOVERY:
            return self.layers.sources()
        keys = said(self.settings)
        return {
            key: "discovery" if key in keys else "default" for key in ReplicaSettings.model_fields
        }


class Replicas(PersistentMap[Replica]):
    """The replicas of a pool by id, and who is at an address."""

    __slots__ = ("_ids",)

    def __init__(self, replicas: Mapping[str, Replica] | None = None) -> None:
        """Begin with these replicas, by id."""
        super().__init__(replicas)
        ids = {str(it.settings.address): id_ for id_, it in (replicas or {}).items()}
        self._ids: PersistentMap[str] = PersistentMap(ids)

    def at(self, address: Address) -> Replica | None:
        """The replica at an address; None: there is none."""
        id_ = self._ids.get(str(address))
        return None if id_ is None else self[id_]

    def updated(self, put: Mapping[str, Replica], gone: Collection[str] = ()) -> Self:
        """See `PersistentMap.updated`."""
        made = super().updated(put, gone)
        moved = {str(it.settings.address): id_ for id_, it in put.items()}
        left = [
            address
            for id_ in (*gone, *put)
            if (known := self.get(id_)) is not None
            and (address := str(known.settings.address)) not in moved
            # While two swap their addresses, one after the other, both have the same.
            and self._ids.get(address) == id_
        ]
        is_same = not left and all(self._ids.get(it) == id_ for it, id_ in moved.items())
        made._ids = self._ids if is_same else self._ids.updated(moved, left)
        return made


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
    replicas: Replicas = field(default_factory=Replicas)
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
        return self.with_replicas({replica.id: replica})

    def with_replicas(self, replicas: Mapping[str, Replica], gone: Collection[str] = ()) -> "Pool":
        """The pool with these replicas added or replaced, and without those whose ids are gone."""
        return replace(self, replicas=self.replicas.updated(replicas, gone))

    def without_replica(self, replica_id: str) -> "Pool":
        """The pool without this replica."""
        return self.with_replicas({}, (replica_id,))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every pool there is.

    Attributes:
        pools: By name.
        generations: How many generations have been given out.
    """

    pools: PersistentMap[Pool] = field(default_factory=PersistentMap)
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
        return replace(self, pools=self.pools.updated({pool.name: pool}))

    def without_pool(self, name: str) -> "Fleet":
        """The fleet without this pool."""
        return replace(self, pools=self.pools.updated({}, (name,)))
