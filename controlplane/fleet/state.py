"""The fleet as frozen values: pools by name, replicas by id.

What the config file and the API say of one pool or replica is kept unmerged, in `Layers`: without
one of them the values of the other are there again.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic, Literal, Protocol

from controlplane.config import Address, PoolSettings, ReplicaSettings
from controlplane.config.pool import SettingsT, given_keys, overridden


class Source(StrEnum):
    """Who declared something; what the file declares, a changed file can take away."""

    FILE = "file"
    API = "api"
    DISCOVERY = "discovery"


# Without slots: a generic dataclass with them cannot be made as Layers[X]().
@dataclass(frozen=True)
class Layers(Generic[SettingsT]):
    """Settings by who declares them: the config file, and above it the API, each None without any.

    Attributes:
        overrides: The keys in which `api` counts where the file declares the rest: they differed
            from the file when they were put. A key that was equal follows the file when that
            changes.
        owner: The name of the token that declared `api` first, and may change it, if it is known.
    """

    file: SettingsT | None = None
    api: SettingsT | None = None
    overrides: frozenset[str] = frozenset()
    owner: str | None = None

    def with_api(self, settings: SettingsT, owner: str | None = None) -> "Layers[SettingsT]":
        """Replace all that the API declared before; `owner` counts where there was none."""
        keys = given_keys(settings)
        if self.file is not None:
            keys = frozenset(k for k in keys if getattr(settings, k) != getattr(self.file, k))
            if not keys:
                return Layers(self.file)
        return Layers(self.file, settings, keys, self.owner or owner)

    def without_api(self) -> "Layers[SettingsT]":
        """With what the file says alone."""
        return Layers(self.file)

    def with_file(self, settings: SettingsT | None) -> "Layers[SettingsT]":
        """With this declared by the file; None: no longer."""
        if settings is None and self.api is not None:
            return Layers(None, self.api, given_keys(self.api), self.owner)
        return replace(self, file=settings)

    @property
    def source(self) -> Source:
        """Who declares it, also where the API overrides a part."""
        return Source.API if self.file is None else Source.FILE

    def merged(self) -> SettingsT:
        """Return the settings that count; `SettingsError`: the two layers do not go together."""
        if self.file is not None and self.api is not None:
            return overridden(self.file, self.api, self.overrides)
        if (anyone := self.file or self.api) is None:
            raise ValueError("nobody has declared it")
        return anyone

    def sources(self) -> dict[str, str]:
        """Where the value of each key comes from: ``file``, ``api`` or ``default``."""
        files = given_keys(self.file) if self.file is not None else frozenset()
        anyone = self.file or self.api
        return {
            key: "api" if key in self.overrides else "file" if key in files else "default"
            for key in (type(anyone).model_fields if anyone is not None else ())
        }


class Draining(StrEnum):
    """Why a replica gets no new requests."""

    OPERATOR = "operator"
    LEASE = "lease"
    DISCOVERY = "discovery"


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """A command that cannot be carried out; nothing has changed.

    Attributes:
        path: Of the setting that is in the way, from the top of a pool's or a replica's, if it is
            one.
        replica: Id of the replica whose setting it is, where several are put together.
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
        generation: Differs from that of every other process that was ever known under this id, so
            that nothing measured of one is held against the next.
        lease_until: When it counts as gone unless it sends a heartbeat; None: never. For a replica
            that its source no longer has, when that was seen.
        instance: Which process it is at its address, as it last registered; None if it never did.
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
        return self.settings.address

    def sources(self) -> dict[str, str]:
        """Where each value comes from: ``file``, ``api``, ``discovery`` or ``default``."""
        if self.source is not Source.DISCOVERY:
            return self.layers.sources()
        keys = given_keys(self.settings)
        return {
            key: "discovery" if key in keys else "default" for key in ReplicaSettings.model_fields
        }


class Process(Protocol):
    """What tells one process from another."""

    @property
    def address(self) -> Address:
        """Where it is."""

    @property
    def instance(self) -> str | None:
        """Which process it is at its address; None where that is not known."""


def is_same_process(known: Process, declared: Process) -> bool:
    """Tell whether a declared replica is the process that is known.

    It is another one at another address, or if both name an instance and the names differ. A
    replica that names none is the process at its address.
    """
    if known.address != declared.address:
        return False
    return None in (known.instance, declared.instance) or known.instance == declared.instance


def _ids(replicas: Mapping[str, Replica]) -> dict[str, str]:
    """Which replica is at an address."""
    return {str(at): id_ for id_, replica in replicas.items() for at in replica.settings.places}


class Replicas(dict[str, Replica]):
    """The replicas of a pool by id, and which of them is at an address; never changed in place.

    A change copies it: 0.1 ms for 10,000 replicas.
    """

    __slots__ = ("_ids",)

    def __init__(self, replicas: Mapping[str, Replica] | None = None) -> None:
        """Begin with a copy of these replicas, by id."""
        super().__init__(replicas or {})
        self._ids = _ids(self)

    def some(self, ids: Collection[str] | None) -> Iterable[tuple[str, Replica]]:
        """The entries of these ids that exist; None: all entries."""
        if ids is None:
            return self.items()
        return ((id_, self[id_]) for id_ in ids if id_ in self)

    def at(self, address: Address) -> Replica | None:
        """The replica at an address or with an ingress there; None: there is none."""
        id_ = self._ids.get(str(address))
        return None if id_ is None else self[id_]

    def updated(self, put: Mapping[str, Replica], gone: Collection[str] = ()) -> "Replicas":
        """Make the next version; an id that is both in `put` and in `gone` stays."""
        made = Replicas.__new__(Replicas)
        made.update(self)
        made._ids, moved = self._ids, _ids(put)
        left = [
            address
            for id_ in (*gone, *put)
            if (known := self.get(id_)) is not None
            for address in map(str, known.settings.places)
            if address not in moved
            # While two swap their addresses, one after the other, both have the same.
            and self._ids.get(address) == id_
        ]
        for id_ in gone:
            made.pop(id_, None)
        made.update(put)
        if left or any(self._ids.get(address) != id_ for address, id_ in moved.items()):
            made._ids = self._ids.copy()
            for address in left:
                made._ids.pop(address, None)
            made._ids.update(moved)
        return made


@dataclass(frozen=True, slots=True)
class Pool:
    """The replicas of one model; `departures`: when undrained replicas were removed lately."""

    name: str
    settings: PoolSettings
    source: Source
    replicas: Replicas = field(default_factory=Replicas)
    layers: Layers[PoolSettings] = field(default_factory=Layers)
    departures: tuple[float, ...] = ()

    @property
    def serving(self) -> int:
        """How many replicas are not drained."""
        return sum(replica.draining is None for replica in self.replicas.values())

    def replica(self, replica_id: str) -> Replica:
        """Return the replica of this id, or raise `Refused`."""
        try:
            return self.replicas[replica_id]
        except KeyError:
            raise Refused(
                "not found", f"pool {self.name!r} has no replica {replica_id!r}"
            ) from None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every pool there is, by name, and how many generations have been given out."""

    pools: Mapping[str, Pool] = field(default_factory=dict)
    generations: int = 0

    def pool(self, name: str) -> Pool:
        """Return the pool of this name, or raise `Refused`."""
        try:
            return self.pools[name]
        except KeyError:
            raise Refused("not found", f"there is no pool {name!r}") from None


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
