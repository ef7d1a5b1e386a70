"""What of a fleet outlives the control plane, and what must be written of a changed one.

Of pools only the API's settings are kept: the file is there to be read again. Of every replica its
process and its drain are kept, and of one that was discovered everything: its source may not answer
when we start again.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from controlplane.config import Address, PoolSettings, ReplicaSettings
from controlplane.fleet.change import Change, Key
from controlplane.fleet.state import Draining, Fleet, Pool, Replica

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class RegisteredPool:
    """What the API declares of a pool; `overrides` count where the file declares the pool too."""

    settings: PoolSettings
    overrides: frozenset[str]


@dataclass(frozen=True, slots=True)
class RegisteredReplica:
    """A replica: which process it is, what the API declares of it, or what was discovered."""

    address: Address
    instance: str | None
    generation: int
    draining: Draining | None
    settings: ReplicaSettings | None = None
    overrides: frozenset[str] = frozenset()
    found_by: str | None = None
    owner: str | None = None

    @property
    def api(self) -> ReplicaSettings | None:
        """The settings that the API declares; None: none."""
        return self.settings if self.found_by is None else None


@dataclass(frozen=True, slots=True)
class Registered:
    """Everything that is kept of a fleet: pools by name, replicas by pool and id."""

    generations: int = 0
    pools: Mapping[str, RegisteredPool] = field(default_factory=dict)
    replicas: Mapping[tuple[str, str], RegisteredReplica] = field(default_factory=dict)


def registered_pool(pool: Pool) -> RegisteredPool | None:
    """What is kept of a pool; None: nothing."""
    if pool.layers.api is None:
        return None
    return RegisteredPool(pool.layers.api, pool.layers.overrides)


def registered_replica(replica: Replica) -> RegisteredReplica:
    """What is kept of a replica."""
    return RegisteredReplica(
        replica.address,
        replica.instance,
        replica.generation,
        replica.draining,
        replica.layers.api if replica.found_by is None else replica.settings,
        replica.layers.overrides,
        replica.found_by,
        replica.layers.owner,
    )


def registered(fleet: Fleet) -> Registered:
    """What is kept of a fleet."""
    pools = {name: found for name, pool in fleet.pools.items() if (found := registered_pool(pool))}
    replicas = {
        (pool.name, replica.id): registered_replica(replica)
        for pool in fleet.pools.values()
        for replica in pool.replicas.values()
    }
    return Registered(fleet.generations, pools, replicas)


@dataclass(frozen=True, slots=True)
class Rows:
    """What must be written of a fleet; None: the row goes, and with `everything` all other rows."""

    generations: int
    pools: Mapping[str, RegisteredPool | None]
    replicas: Mapping[tuple[str, str], RegisteredReplica | None]
    everything: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.pools or self.replicas or self.everything)


def rows(fleet: Fleet, keys: Collection[Key] | None) -> Rows:
    """List what to write for these keys; None: for all of the fleet."""
    if keys is None:
        known = registered(fleet)
        return Rows(known.generations, known.pools, known.replicas, everything=True)
    pools: dict[str, RegisteredPool | None] = {}
    replicas: dict[tuple[str, str], RegisteredReplica | None] = {}
    for name, id_ in keys:
        pool = fleet.pools.get(name)
        if id_ is None:
            pools[name] = registered_pool(pool) if pool else None
        else:
            replica = pool.replicas.get(id_) if pool else None
            replicas[name, id_] = registered_replica(replica) if replica else None
    return Rows(fleet.generations, pools, replicas)


def differing_keys(one: Fleet, other: Fleet, keys: Collection[Key] | None) -> set[Key]:
    """List the keys, of these or of all, of what is kept differently of two fleets."""
    first, second = rows(one, keys), rows(other, keys)
    return {
        *((name, None) for name in _differing(first.pools, second.pools)),
        *_differing(first.replicas, second.replicas),
    }


def _differing(one: Mapping[K, object], other: Mapping[K, object]) -> Iterator[K]:
    return (key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def keys_of_rows(changes: Collection[Change]) -> Iterator[Key]:
    """The keys of what is kept otherwise after these changes."""
    for change in changes:
        if _registered(change.before) != _registered(change.after):
            yield change.pool, change.replica
        if change.after is None and isinstance(change.before, Pool):
            yield from ((change.pool, id_) for id_ in change.before.replicas)


def _registered(what: Pool | Replica | None) -> RegisteredPool | RegisteredReplica | None:
    if what is None:
        return None
    return registered_pool(what) if isinstance(what, Pool) else registered_replica(what)
