"""One command and the time against a fleet: a new fleet, or a refusal that changes nothing."""

from collections.abc import Mapping
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
from controlplane.fleet.departures import departed, unless_most_move
from controlplane.fleet.layers import Layers, Source
from controlplane.fleet.loops import listeners_of, refuse_loops
from controlplane.fleet.process import is_same_process
from controlplane.fleet.state import Draining, Fleet, Pool, Refused, Replica
from controlplane.settings import PoolSettings, ReplicaSettings


def apply(fleet: Fleet, command: Command, now: float) -> Fleet:
    """Carry out one command.

    Args:
        fleet: As it is.
        command: What is asked.
        now: Seconds of a monotonic clock.

    Raises:
        Refused: With the reason; the fleet stays as it is.
        SettingsError: When what the file and the API say of something does not go together.
    """
    match command:
        case PutPool():
            return _put_pool(fleet, command)
        case DeletePool(name):
            return _delete_pool(fleet, fleet.pool(name))
        case PutReplica(name, replica_id, settings, source, owner):
            put = PutReplicas(name, {replica_id: settings}, source, owner=owner)
            return _put_replicas(fleet, put, now)
        case PutReplicas():
            return _put_replicas(fleet, command, now)
        case DeleteReplica():
            return _delete_replica(fleet, command, now)
        case Drain(name, replica_id):
            return _changed(fleet, name, replica_id, draining=Draining.OPERATOR)
        case Undrain(name, replica_id):
            return _undrain(fleet, name, replica_id)
        case Heartbeat(name, replica_id):
            return _heartbeat(fleet, name, replica_id, now)


def _put_pool(fleet: Fleet, command: PutPool) -> Fleet:
    known = fleet.pools.get(command.pool)
    layers = known.layers if known else Layers[PoolSettings]()
    if command.source is Source.FILE:
        # Who declares a whole file looks for loops in the end.
        return with_layers(fleet, command.pool, layers.with_file(command.settings))
    changed = with_layers(fleet, command.pool, layers.with_api(command.settings))
    if known is None or known.settings.listener != changed.pools[command.pool].settings.listener:
        _refuse_loops(changed, ("listener", "address"))
    return changed


def with_layers(fleet: Fleet, name: str, layers: Layers[PoolSettings]) -> Fleet:
    """The fleet with a pool of these settings, added or changed.

    Raises:
        Refused: When its listener is another pool's.
        SettingsError: When what the file and the API say does not go together.
    """
    settings = layers.merged()
    listener = settings.listener.address
    for other in fleet.pools.values():
        if other.name != name and other.settings.listener.address == listener:
            raise Refused(
                "conflict",
                f"listener address {listener} is already that of pool {other.name!r}",
                ("listener", "address"),
            )
    known = fleet.pools.get(name)
    if known is None:
        return fleet.with_pool(Pool(name, settings, layers.source, layers=layers))
    changed = replace(known, settings=settings, source=layers.source, layers=layers)
    return fleet.with_pool(changed)


def _refuse_loops(fleet: Fleet, path: tuple[str | int, ...]) -> None:
    try:
        refuse_loops(fleet)
    except Refused as refused:
        raise Refused(refused.kind, str(refused), path) from None


def _delete_pool(fleet: Fleet, pool: Pool) -> Fleet:
    if pool.source is Source.API:
        return fleet.without_pool(pool.name)
    if pool.layers.api is None:
        raise Refused(
            "conflict",
            f"pool {pool.name!r} is declared in the config file, and the API overrides nothing of"
            " it; take it out of the file",
        )
    changed = with_layers(fleet, pool.name, pool.layers.without_api())
    refuse_loops(changed)
    return changed


def _put_replicas(fleet: Fleet, command: PutReplicas, now: float) -> Fleet:
    pool = fleet.pool(command.pool)
    layers = {}
    for id_, settings in command.replicas.items():
        known = pool.replicas.get(id_)
        before = known.layers if known else Layers[ReplicaSettings]()
        is_file = command.source is Source.FILE
        layers[id_] = (
            before.with_file(settings) if is_file else before.with_api(settings, command.owner)
        )
    if command.source is Source.API:
        # As for pools: a whole file is looked at once, in the end.
        _refuse_own_listeners(fleet, layers)
    if not command.force:
        unless_most_move(pool, {id_: it.merged() for id_, it in layers.items()})
    return with_replica_layers(fleet, pool, layers, now)


def _refuse_own_listeners(fleet: Fleet, layers: Mapping[str, Layers[ReplicaSettings]]) -> None:
    listeners = listeners_of(fleet)
    for id_, it in layers.items():
        if (why := listeners.refusal(it.merged().address)) is not None:
            raise Refused("conflict", why, ("address",), id_)


def with_replica_layers(
    fleet: Fleet, pool: Pool, layers: Mapping[str, Layers[ReplicaSettings]], now: float
) -> Fleet:
    """The fleet with replicas of these settings in a pool, added or changed.

    All come at once, so that two may also swap their addresses.

    Args:
        fleet: As it is.
        pool: Of the fleet.
        layers: By replica id; no two with the same address.
        now: The time.

    Raises:
        Refused: When an address is another replica's.
        SettingsError: When what the file and the API say does not go together.
    """
    wanted = {id_: it.merged() for id_, it in layers.items()}
    replicas: dict[str, Replica] = {}
    gone, generations = list[str](), fleet.generations
    for id_, settings in wanted.items():
        other = pool.replicas.at(settings.address)
        if other is None or other.id in wanted:
            continue
        if other.source is not Source.DISCOVERY:
            raise Refused(
                "conflict",
                f"address {other.settings.address} is already that of replica {other.id!r}",
                ("address",),
                id_,
            )
        # What was found makes room for what somebody says.
        gone.append(other.id)
    for id_, settings in wanted.items():
        known = pool.replicas.get(id_)
        lease_until = None if settings.ttl is None else now + settings.ttl
        if known is not None and is_same_process(known, settings):
            # Whoever registers again is alive; what an operator drained stays drained all the same.
            draining = known.draining if known.draining is Draining.OPERATOR else None
            replicas[id_] = replace(
                known,
                settings=settings,
                source=layers[id_].source,
                draining=draining,
                lease_until=lease_until,
                layers=layers[id_],
                found_by=None,
                # The file does not say, and neither does who takes its own settings away.
                instance=settings.instance or known.instance,
            )
        else:
            generations += 1
            replicas[id_] = Replica(
                id_,
                settings,
                layers[id_].source,
                generations,
                lease_until=lease_until,
                layers=layers[id_],
                instance=settings.instance,
            )
    return replace(fleet, generations=generations).with_pool(pool.with_replicas(replicas, gone))


def _delete_replica(fleet: Fleet, command: DeleteReplica, now: float) -> Fleet:
    pool = fleet.pool(command.pool)
    replica = pool.replica(command.replica)
    if replica.source is Source.FILE:
        if replica.layers.api is None:
            raise Refused(
                "conflict",
                f"replica {replica.id!r} is declared in the config file, and the API overrides"
                " nothing of it; take it out of the file, or drain it",
            )
        layers = {replica.id: replica.layers.without_api()}
        _refuse_own_listeners(fleet, layers)
        return with_replica_layers(fleet, pool, layers, now)
    left = pool.without_replica(replica.id)
    if replica.draining is None:
        left = departed(pool, left, now, force=command.force)
    return fleet.with_pool(left)


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
