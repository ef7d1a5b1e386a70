"""What of a fleet outlives the control plane, and what must be written of a changed one.

Of pools only what the API said is kept: the file is there to be read again. Of every replica it is
also kept which process it is and whether it is drained, and of one that was discovered everything:
its source may not answer when we start again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.fleet.differences import differences
from controlplane.fleet.state import Draining, Fleet, Pool, Replica
from controlplane.settings import Address, PoolSettings, ReplicaSettings


@dataclass(frozen=True, slots=True)
class RegisteredPool:
    """What the API said of a pool.

    Attributes:
        overrides: Keys of `settings` that count where the file declares the pool too.
    """

    settings: PoolSettings
    overrides: frozenset[str]


@dataclass(frozen=True, slots=True)
class RegisteredReplica:
    """A replica, whoever declared it.

    Attributes:
        address: Where the process is that the rest is about.
        instance: Which one it is there, if it says so.
        settings: What the API said of it, or what was discovered; None if nothing.
        overrides: Keys of `settings` that count where the file declares the replica too.
        found_by: The source that discovered it; None for one that was declared.
        owner: The name of the token that registered it; None where that is not known.
    """

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
        """What the API said of it; None if nothing."""
        return self.settings if self.found_by is None else None


@dataclass(frozen=True, slots=True)
class Registered:
    """Everything that is kept of a fleet.

    Attributes:
        generations: How many have been given out.
        pools: By name.
        replicas: By pool and id.
    """

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
    pools = {name: found for name, it in fleet.pools.items() if (found := registered_pool(it))}
    replicas = {
        (pool.name, replica.id): registered_replica(replica)
        for pool in fleet.pools.values()
        for replica in pool.replicas.values()
    }
    return Registered(fleet.generations, pools, replicas)


@dataclass(frozen=True, slots=True)
class Changes:
    """What must be written so that what is kept is of another fleet.

    Attributes:
        generations: How many have been given out.
        pools: By name; None: nothing is kept of it any longer.
        replicas: By pool and id; None as above.
        everything: Whatever else is kept has no place any more.
    """

    generations: int
    pools: Mapping[str, RegisteredPool | None]
    replicas: Mapping[tuple[str, str], RegisteredReplica | None]
    everything: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.pools or self.replicas or self.everything)


def changes(before: Fleet | None, after: Fleet) -> Changes:
    """What is kept of one fleet and not of the other; a renewed lease is nothing.

    Args:
        before: What is kept is of this one; None: that is not known.
        after: What is to be kept is of this one.
    """
    pools: dict[str, RegisteredPool | None] = {}
    replicas: dict[tuple[str, str], RegisteredReplica | None] = {}
    for found in differences(Fleet() if before is None else before, after):
        if found.replica is not None:
            one = _of_replica(found.after)
            if one != _of_replica(found.before):
                replicas[found.pool, found.replica] = one
            continue
        wanted = _of_pool(found.after)
        if wanted != _of_pool(found.before):
            pools[found.pool] = wanted
        if found.after is None and isinstance(found.before, Pool):
            replicas |= {(found.pool, id_): None for id_ in found.before.replicas}
    return Changes(after.generations, pools, replicas, everything=before is None)


def _of_pool(known: Pool | Replica | None) -> RegisteredPool | None:
    return registered_pool(known) if isinstance(known, Pool) else None


def _of_replica(known: Pool | Replica | None) -> RegisteredReplica | None:
    return registered_replica(known) if isinstance(known, Replica) else None
