"""A config file against the fleet: what it adds, changes and, where it did declare it, removes."""

from dataclasses import replace

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
    # What is gone, moves or changes makes room first: only then do two that swap their addresses
    # in one edit not stand in each other's way.
    for pool in fleet.pools.values():
        if pool.source is Source.FILE and pool.name not in declared:
            fleet = apply(_unless_api_uses(fleet, pool), DeletePool(pool.name), now)
    for entry in config.pools:
        if (known := fleet.pools.get(entry.name)) is not None:
            fleet = fleet.with_pool(replace(known, settings=entry.settings()))
            fleet = _without_undeclared(fleet, known, entry, now)
            fleet = _without_moved(fleet, known, entry)
    for entry in config.pools:
        fleet = apply(fleet, PutPool(entry.name, entry.settings(), Source.FILE), now)
        for replica in entry.replicas:
            settings = replica.settings()
            there = fleet.pool(entry.name).replicas.get(replica.id)
            # A file that says the same again is no sign of life: it renews no lease.
            if there is None or (there.source, there.settings) != (Source.FILE, settings):
                put = PutReplica(entry.name, replica.id, settings, Source.FILE)
                fleet = apply(fleet, put, now)
    return fleet


def _unless_api_uses(fleet: Fleet, pool: Pool) -> Fleet:
    added = [replica.id for replica in pool.replicas.values() if replica.source is Source.API]
    if added:
        raise Refused(
            "conflict",
            f"pool {pool.name!r} is no longer in the file, but replica {added[0]!r} was added to it"
            " through the API; remove that one first, or keep the pool",
        )
    return fleet


def _without_moved(fleet: Fleet, pool: Pool, entry: PoolEntry) -> Fleet:
    """Without the replicas that come back at another address, as another process."""
    for replica in entry.replicas:
        there = pool.replicas.get(replica.id)
        if there is not None and there.settings.address != replica.address:
            fleet = fleet.with_pool(fleet.pool(pool.name).without_replica(replica.id))
    return fleet


def _without_undeclared(fleet: Fleet, pool: Pool, entry: PoolEntry, now: float) -> Fleet:
    kept = {replica.id for replica in entry.replicas}
    gone = [
        replica.id
        for replica in pool.replicas.values()
        if replica.source is Source.FILE and replica.id not in kept
    ]
    staying = sum(replica_id in pool.replicas for replica_id in kept) + sum(
        replica.source is not Source.FILE and replica.id not in kept
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
