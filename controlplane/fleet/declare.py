"""A config file against the fleet: what it adds, changes and, where it did declare it, removes."""

from controlplane.fleet.apply import apply
from controlplane.fleet.commands import DeletePool, DeleteReplica, PutPool, PutReplica
from controlplane.fleet.state import Fleet, Pool, Refused, Source
from controlplane.settings import Config, PoolEntry


def declare(fleet: Fleet, config: Config, now: float) -> Fleet:
    """Bring the fleet in line with a config file, all of it or nothing.

    What the file declared before and no longer does is removed; what the API added stays.

    Args:
        fleet: As it is.
        config: The file's content.
        now: Seconds of a monotonic clock.

    Raises:
        Refused: When it contradicts what the API added, or takes more than half of the replicas
            of a pool that it keeps: an emptied pool is an outage, and most often a slip.
    """
    declared = {entry.name for entry in config.pools}
    # Removals first: what is gone must not stand in the way of what takes its address.
    for pool in fleet.pools.values():
        if pool.source is Source.FILE and pool.name not in declared:
            fleet = apply(fleet, DeletePool(pool.name), now)
    for entry in config.pools:
        if (known := fleet.pools.get(entry.name)) is not None:
            fleet = _without_undeclared(fleet, known, entry, now)
    for entry in config.pools:
        fleet = apply(fleet, PutPool(entry.name, entry.settings(), Source.FILE), now)
        for replica in entry.replicas:
            put = PutReplica(entry.name, replica.id, replica.settings(), Source.FILE)
            fleet = apply(fleet, put, now)
    return fleet


def _without_undeclared(fleet: Fleet, pool: Pool, entry: PoolEntry, now: float) -> Fleet:
    kept = {replica.id for replica in entry.replicas}
    gone = [
        replica.id
        for replica in pool.replicas.values()
        if replica.source is Source.FILE and replica.id not in kept
    ]
    staying = sum(replica_id in pool.replicas for replica_id in kept) + sum(
        replica.source is Source.API and replica.id not in kept
        for replica in pool.replicas.values()
    )
    if len(gone) > staying:
        raise Refused(
            "conflict",
            f"pool {pool.name!r} would lose {len(gone)} of its {len(pool.replicas)} replicas in"
            " one step; drain and remove them through the API, or in smaller steps",
        )
    for replica_id in gone:
        fleet = apply(fleet, DeleteReplica(pool.name, replica_id), now)
    return fleet
