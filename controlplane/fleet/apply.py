"""One command and the time against a fleet: what it changes, or a refusal that changes nothing.

A lease that runs out drains its replica first, and later has it forgotten, unless the config file
declares it. A control plane that stood still gives every lease that time back, and when most of a
pool falls silent together, nothing of it is taken away.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from controlplane.config import PoolSettings, ReplicaSettings
from controlplane.fleet.change import Applied, Draft
from controlplane.fleet.rules import (
    crossing,
    departures_with,
    listeners_of,
    refuse_loops,
    unless_most_move,
)
from controlplane.fleet.state import (
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    Draining,
    Fleet,
    Heartbeat,
    Layers,
    Pool,
    PutPool,
    PutReplica,
    PutReplicas,
    Refused,
    Replica,
    Source,
    Undrain,
    is_same_process,
)


def apply(fleet: Fleet, command: Command, now: float) -> Applied:
    """Carry out one command.

    Raises:
        Refused: With the reason; the fleet stays as it is.
        SettingsError: The settings of the file and of the API do not go together.
    """
    draft = Draft(fleet)
    match command:
        case PutPool(name, pool_settings):
            _put_pool(draft, name, pool_settings)
        case DeletePool(name):
            _delete_pool(draft, name)
        case PutReplica(name, replica_id, settings, owner):
            _put_replicas(draft, PutReplicas(name, {replica_id: settings}, owner=owner), now)
        case PutReplicas():
            _put_replicas(draft, command, now)
        case DeleteReplica():
            _delete_replica(draft, command, now)
        case Drain(name, replica_id):
            _drain(draft, name, replica_id, Draining.OPERATOR)
        case Undrain(name, replica_id):
            _undrain(draft, name, replica_id)
        case Heartbeat(name, replica_id):
            _heartbeat(draft, name, replica_id, now)
    return draft.applied()


def _put_pool(draft: Draft, name: str, settings: PoolSettings) -> None:
    known = draft.fleet.pools.get(name)
    layers = known.layers if known else Layers[PoolSettings]()
    set_layers(draft, name, layers.with_api(settings))
    changed = draft.fleet.pools[name].settings
    if known is None or known.settings.listener != changed.listener:
        try:
            refuse_loops(draft.fleet)
        except Refused as refused:
            raise Refused(refused.kind, str(refused), ("listener", "address")) from None


def set_layers(draft: Draft, name: str, layers: Layers[PoolSettings]) -> None:
    """Add a pool, or give it these settings; refuses the listener of another pool."""
    settings = layers.merged()
    listener = settings.listener.address
    for other in draft.fleet.pools.values():
        if other.name != name and other.settings.listener.address == listener:
            raise Refused(
                "conflict",
                f"listener address {listener} is already that of pool {other.name!r}",
                ("listener", "address"),
            )
    known = draft.fleet.pools.get(name)
    if known is None:
        draft.put_pool(Pool(name, settings, layers.source, layers=layers))
    else:
        draft.put_pool(replace(known, settings=settings, source=layers.source, layers=layers))


def _delete_pool(draft: Draft, name: str) -> None:
    pool = draft.fleet.pool(name)
    if pool.source is Source.API:
        draft.remove_pool(name)
        return
    if pool.layers.api is None:
        raise Refused(
            "conflict",
            f"pool {pool.name!r} is declared in the config file, and the API overrides nothing of"
            " it; take it out of the file",
        )
    set_layers(draft, pool.name, pool.layers.without_api())
    refuse_loops(draft.fleet)


def _put_replicas(draft: Draft, command: PutReplicas, now: float) -> None:
    pool = draft.fleet.pool(command.pool)
    layers = {}
    for id_, settings in command.replicas.items():
        known = pool.replicas.get(id_)
        before = known.layers if known else Layers[ReplicaSettings]()
        layers[id_] = before.with_api(settings, command.owner)
    _refuse_loops_of(pool.name, draft.fleet, layers)
    if not command.force:
        unless_most_move(pool, {id_: layer.merged() for id_, layer in layers.items()})
    set_replica_layers(draft, pool, layers, now)


def _refuse_loops_of(
    pool: str, fleet: Fleet, layers: Mapping[str, Layers[ReplicaSettings]]
) -> None:
    listeners = listeners_of(fleet)
    for id_, layered in layers.items():
        settings = layered.merged()
        for at in settings.places:
            if (why := listeners.refusal(at)) is not None:
                key = "address" if at == settings.address else "ingress"
                raise Refused("conflict", why, (key,), id_)
        if (crossed := crossing(fleet, pool, settings)) is not None:
            raise Refused("conflict", crossed[1], crossed[:1], id_)


def set_replica_layers(
    draft: Draft, pool: Pool, layers: Mapping[str, Layers[ReplicaSettings]], now: float
) -> None:
    """Add replicas, or give them these settings, all at once: two may swap their addresses."""
    wanted = {id_: layer.merged() for id_, layer in layers.items()}
    replicas: dict[str, Replica] = {}
    gone = list[str]()
    for id_, settings in wanted.items():
        for at in settings.places:
            other = pool.replicas.at(at)
            if other is None or other.id in wanted:
                continue
            if other.source is not Source.DISCOVERY:
                owner = other.layers.owner
                whose = "" if owner is None else f", which the token {owner!r} registered"
                raise Refused(
                    "conflict",
                    f"address {at} is already that of replica {other.id!r}{whose}",
                    ("address" if at == settings.address else "ingress",),
                    id_,
                )
            # A discovered replica makes room for a declared one.
            gone.append(other.id)
    for id_, settings in wanted.items():
        known = pool.replicas.get(id_)
        lease_until = None if settings.ttl is None else now + settings.ttl
        if known is not None and is_same_process(known, settings):
            # A replica that registers again is alive. An operator's drain stays.
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
            source, layered = layers[id_].source, layers[id_]
            replicas[id_] = draft.new_replica(
                id_, settings, source, lease_until=lease_until, layers=layered
            )
    draft.put_replicas(pool.name, replicas, gone)


def _delete_replica(draft: Draft, command: DeleteReplica, now: float) -> None:
    pool = draft.fleet.pool(command.pool)
    replica = pool.replica(command.replica)
    if replica.source is not Source.FILE:
        departures = None
        if replica.draining is None:
            departures = departures_with(pool, now, force=command.force)
        draft.put_replicas(pool.name, {}, (replica.id,), departures)
        return
    if replica.layers.api is None:
        raise Refused(
            "conflict",
            f"replica {replica.id!r} is declared in the config file, and the API overrides"
            " nothing of it; take it out of the file, or drain it",
        )
    layers = {replica.id: replica.layers.without_api()}
    _refuse_loops_of(pool.name, draft.fleet, layers)
    set_replica_layers(draft, pool, layers, now)


def _heartbeat(draft: Draft, name: str, replica_id: str, now: float) -> None:
    replica = draft.fleet.pool(name).replica(replica_id)
    if replica.settings.ttl is None:
        raise Refused("conflict", f"replica {replica_id!r} has no ttl, so it needs no heartbeat")
    draining = None if replica.draining is Draining.LEASE else replica.draining
    renewed = replace(replica, draining=draining, lease_until=now + replica.settings.ttl)
    draft.put_replicas(name, {replica_id: renewed})


def _undrain(draft: Draft, name: str, replica_id: str) -> None:
    replica = draft.fleet.pool(name).replica(replica_id)
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
    _drain(draft, name, replica_id, None)


def _drain(draft: Draft, name: str, replica_id: str, draining: Draining | None) -> None:
    replica = draft.fleet.pool(name).replica(replica_id)
    draft.put_replicas(name, {replica_id: replace(replica, draining=draining)})


DRAIN_SECONDS: Final = 10.0
"""From the end of a lease until the replica is removed; what it still computes can finish."""

PAUSE: Final = 0.75
"""Seconds between two looks from which on unread heartbeats may be waiting."""

_BY_SILENCE: Final = (None, Draining.LEASE)
"""Why replicas are drained, if they are, that leave because nothing is heard of them."""


def ends_at(replica: Replica) -> float:
    """When a replica is drained or, drained already, removed; infinity for never."""
    if replica.lease_until is None:
        return math.inf
    if replica.draining and replica.layers.file is not None:
        return math.inf
    return replica.lease_until + (DRAIN_SECONDS if replica.draining else 0.0)


def expire(fleet: Fleet, now: float, looked: float | None = None) -> Applied:
    """Drain the replicas whose lease has run out, remove those drained for long enough.

    If leases were `looked` at long ago, heartbeats could not be read, and every lease gets that
    time back; None: just now.
    """
    draft = Draft(fleet)
    if looked is not None and now - looked > PAUSE:
        _give_back(draft, now - looked)
    for name, pool in draft.fleet.pools.items():
        over = [
            replica
            for replica in pool.replicas.values()
            # Most have no lease, or one that lasts: a look at ten thousand takes a millisecond.
            if replica.lease_until is not None and replica.lease_until <= now >= ends_at(replica)
        ]
        if over and silent_together(pool, now):
            over = [replica for replica in over if replica.draining not in _BY_SILENCE]
        # Counted from now: after a late look a replica still has the time to finish.
        drained = {
            replica.id: replace(replica, draining=Draining.LEASE, lease_until=now)
            for replica in over
            if not replica.draining
        }
        draft.put_replicas(name, drained, [replica.id for replica in over if replica.draining])
    return draft.applied()


def silent_together(pool: Pool, now: float) -> bool:
    """Whether the leases of several replicas have run out, and of more than half of a pool.

    Replicas do not die together. That we cannot hear them is more likely, and Envoy's own health
    checks see who is there. Replicas that an operator
    drained, or that their source no longer has, do not count.
    """
    counting = [
        replica
        for replica in pool.replicas.values()
        if replica.draining in _BY_SILENCE and not _is_over(replica, now)
    ]
    silent = sum(
        replica.lease_until is not None and now >= replica.lease_until for replica in counting
    )
    return silent > 1 and silent * 2 > len(counting)


def _is_over(replica: Replica, now: float) -> bool:
    """Whether it would have been removed by now, if the file did not declare it."""
    return (
        replica.draining is Draining.LEASE
        and replica.layers.file is not None
        and replica.lease_until is not None
        and now >= replica.lease_until + DRAIN_SECONDS
    )


def _give_back(draft: Draft, lapse: float) -> None:
    """Prolong every lease by a time in which heartbeats could not be read."""
    for name, pool in draft.fleet.pools.items():
        longer = {
            id_: replace(replica, lease_until=replica.lease_until + lapse)
            for id_, replica in pool.replicas.items()
            if replica.lease_until is not None
        }
        draft.put_replicas(name, longer)
