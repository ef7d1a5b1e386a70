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
    PutReplicas,
    Undrain,
)
from controlplane.fleet.state import Draining, Fleet, Pool, Refused, Replica


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
        case PutReplica(name, replica_id, settings, source):
            return _put_replicas(fleet, PutReplicas(name, {replica_id: settings}, source), now)
        case PutReplicas():
            return _put_replicas(fleet, command, now)
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


def _put_replicas(fleet: Fleet, command: PutReplicas, now: float) -> Fleet:
    """Put all at once, so that two may also swap their addresses."""
    pool = fleet.pool(command.pool)
    wanted = {settings.address: id_ for id_, settings in command.replicas.items()}
    for other in pool.replicas.values():
        if other.id not in command.replicas and other.settings.address in wanted:
            raise Refused(
                "conflict",
                f"address {other.settings.address} is already that of replica {other.id!r}",
            )
    replicas, generations = dict(pool.replicas), fleet.generations
    for id_, settings in command.replicas.items():
        known = replicas.get(id_)
        lease_until = None if settings.ttl is None else now + settings.ttl
        if known is not None and known.settings.address == settings.address:
            # Whoever registers again is alive; what an operator drained stays drained all the same.
            draining = None if known.draining is Draining.LEASE else known.draining
            replicas[id_] = replace(
                known,
                settings=settings,
                source=command.source,
                draining=draining,
                lease_until=lease_until,
            )
        else:
            generations += 1
            replicas[id_] = Replica(id_, settings, command.source, generations, None, lease_until)
    return replace(fleet, generations=generations).with_pool(replace(pool, replicas=replicas))


def _heartbeat(fleet: Fleet, name: str, replica_id: str, now: float) -> Fleet:
    replica = fleet.pool(name).replica(replica_id)
    if replica.settings.ttl is None:
        raise Refused("conflict", f"replica {replica_id!r} has no ttl, so it needs no heartbeat")
    draining = None if replica.draining is Draining.LEASE else replica.draining
    renewed = replace(replica, draining=draining, lease_until=now + replica.settings.ttl)
    return fleet.with_pool(fleet.pool(name).with_replica(renewed))


def _undrain(fleet: Fleet, name: str, replica_id: str) -> Fleet:
    if fleet.pool(name).replica(replica_id).draining is Draining.LEASE:
        raise Refused(
            "conflict",
            f"replica {replica_id!r} is drained because its lease ran out; a heartbeat renews it",
        )
    return _changed(fleet, name, replica_id, draining=None)


def _changed(fleet: Fleet, name: str, replica_id: str, *, draining: Draining | None) -> Fleet:
    pool = fleet.pool(name)
    return fleet.with_pool(pool.with_replica(replace(pool.replica(replica_id), draining=draining)))
