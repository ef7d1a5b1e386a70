"""One command and the time against a fleet: a new fleet, or a refusal that changes nothing."""

from dataclasses import replace

from controlplane.fleet.commands import (
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    Heartbeat,
    PutPool,
    PutReplica,
    Undrain,
)
from controlplane.fleet.process import is_same_process
from controlplane.fleet.state import Draining, Fleet, Pool, Refused, Replica, Source


def apply(fleet: Fleet, command: Command, now: float) -> Fleet:
    """Carry out one command.

    Args:
        fleet: As it is.
        command: What is asked.
        now: Seconds of a monotonic clock.

    Raises:
        Refused: With the reason; the fleet stays as it is.
    """
    match command:
        case PutPool():
            return _put_pool(fleet, command)
        case DeletePool(name):
            return fleet.without_pool(fleet.pool(name).name)
        case PutReplica():
            return _put_replica(fleet, command, now)
        case DeleteReplica(name, replica_id):
            pool = fleet.pool(name)
            return fleet.with_pool(pool.without_replica(pool.replica(replica_id).id))
        case Drain(name, replica_id):
            return _changed(fleet, name, replica_id, draining=Draining.OPERATOR)
        case Undrain(name, replica_id):
            return _undrain(fleet, name, replica_id)
        case Heartbeat(name, replica_id):
            return _heartbeat(fleet, name, replica_id, now)


def _put_pool(fleet: Fleet, command: PutPool) -> Fleet:
    listener = command.settings.listener.address
    for other in fleet.pools.values():
        if other.name != command.pool and other.settings.listener.address == listener:
            raise Refused(
                "conflict", f"listener address {listener} is already that of pool {other.name!r}"
            )
    known = fleet.pools.get(command.pool)
    replicas = known.replicas if known else {}
    return fleet.with_pool(Pool(command.pool, command.settings, command.source, replicas))


def _put_replica(fleet: Fleet, command: PutReplica, now: float) -> Fleet:
    pool, settings = fleet.pool(command.pool), command.settings
    for other in pool.replicas.values():
        if other.id != command.replica and other.settings.address == settings.address:
            if other.source is Source.DISCOVERY:
                # What was found makes room for what somebody says.
                pool = pool.without_replica(other.id)
                continue
            raise Refused(
                "conflict", f"address {settings.address} is already that of replica {other.id!r}"
            )
    known = pool.replicas.get(command.replica)
    lease_until = None if settings.ttl is None else now + settings.ttl
    if known is not None and is_same_process(known.settings, settings):
        # Whoever registers again is alive; what an operator drained stays drained all the same.
        draining = known.draining if known.draining is Draining.OPERATOR else None
        replica = replace(
            known,
            settings=settings,
            source=command.source,
            draining=draining,
            lease_until=lease_until,
        )
    else:
        fleet = replace(fleet, generations=fleet.generations + 1)
        replica = Replica(
            command.replica, settings, command.source, fleet.generations, None, lease_until
        )
    return fleet.with_pool(pool.with_replica(replica))


def _heartbeat(fleet: Fleet, name: str, replica_id: str, now: float) -> Fleet:
    replica = fleet.pool(name).replica(replica_id)
    if replica.settings.ttl is None:
        raise Refused("conflict", f"replica {replica_id!r} has no ttl, so it needs no heartbeat")
    draining = None if replica.draining is Draining.LEASE else replica.draining
    renewed = replace(replica, draining=draining, lease_until=now + replica.settings.ttl)
    return fleet.with_pool(fleet.pool(name).with_replica(renewed))


def _undrain(fleet: Fleet, name: str, replica_id: str) -> Fleet:
    replica = fleet.pool(name).replica(replica_id)
    if replica.draining is Draining.LEASE:
        raise Refused(
            "conflict",
            f"replica {replica_id!r} is drained because its lease ran out; a heartbeat renews it",
        )
    if replica.draining is Draining.DISCOVERY:
        raise Refused(
            "conflict",
            f"replica {replica_id!r} is drained because {replica.found_by} no longer has it",
        )
    return _changed(fleet, name, replica_id, draining=None)


def _changed(fleet: Fleet, name: str, replica_id: str, *, draining: Draining | None) -> Fleet:
    pool = fleet.pool(name)
    return fleet.with_pool(pool.with_replica(replace(pool.replica(replica_id), draining=draining)))
