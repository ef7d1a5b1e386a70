"""A fleet made of the config file and of what was kept of the one before a restart.

Of pools only the API's settings are kept: the file is there to be read again. Of every replica its
process and its drain are kept, and of one that was discovered everything: its source may not answer
when we start again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from controlplane.config import Address, Config, PoolEntry, PoolSettings, ReplicaSettings
from controlplane.config.addresses import Listeners
from controlplane.fleet.change import Change, Key
from controlplane.fleet.declare import HANDED_OVER
from controlplane.fleet.rules import listeners_of, refuse_loops
from controlplane.fleet.state import (
    Draining,
    Fleet,
    Layers,
    Pool,
    Refused,
    Replica,
    Replicas,
    Source,
    is_same_process,
)

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


def restored(known: Registered, config: Config, now: float) -> Fleet:
    """Make the fleet after a restart: the file, above it the API, and what was found.

    Every lease begins anew: heartbeats could not be heard during the restart. What the file
    declared before and no longer does is gone, however much it is, and so is what a source found
    that is no longer in it: a restart is how that is forced.

    Raises:
        Refused: The file contradicts what the API declared.
        SettingsError: The settings of the two do not go together.
    """
    entries = {entry.name: entry for entry in config.pools}
    pools = dict[str, Pool]()
    for name in (*entries, *(name for name in known.pools if name not in entries)):
        stored, entry = known.pools.get(name), entries.get(name)
        layers = Layers(
            entry.settings() if entry else None,
            stored.settings if stored else None,
            stored.overrides if stored else frozenset(),
        )
        if entry is None:
            # All that the API declares counts now.
            layers = layers.with_file(None)
        pools[name] = Pool(name, layers.merged(), layers.source, layers=layers)
    fleet = Fleet(pools, known.generations)
    _refuse_twice(
        (pool.settings.listener.address, f"of pool {pool.name!r}", "listener address")
        for pool in fleet.pools.values()
    )
    ids: dict[str, dict[str, RegisteredReplica]] = {name: {} for name in fleet.pools}
    for (name, id_), replica in known.replicas.items():
        if name in ids:
            ids[name][id_] = replica
        elif replica.api is not None:
            raise Refused(
                "conflict",
                f"pool {name!r} is no longer in the file, but replica {id_!r} was added to it"
                " through the API; keep the pool until that one is removed",
            )
    generations, listeners = fleet.generations, listeners_of(fleet)
    for name, pool in pools.items():
        replicas, generations = _replicas_of(
            entries.get(name), ids[name], generations, listeners, now
        )
        _refuse_twice(
            (at, f"of replica {each.id!r} of pool {name!r}", "address")
            for each in replicas.values()
            for at in each.settings.places
        )
        pools[name] = replace(pool, replicas=Replicas(replicas))
    fleet = Fleet(pools, generations)
    # Loops that only the API declared, to an earlier version, only the API can undo: start anyway.
    refuse_loops(fleet, listeners_of(fleet, lambda pool: "listener" not in pool.layers.overrides))
    return fleet


def _replicas_of(
    entry: PoolEntry | None,
    known: Mapping[str, RegisteredReplica],
    generations: int,
    listeners: Listeners,
    now: float,
) -> tuple[dict[str, Replica], int]:
    declared = {replica.id: replica.settings() for replica in entry.replicas} if entry else {}
    added = [
        id_
        for id_, replica_layers in known.items()
        if replica_layers.api is not None and id_ not in declared
    ]
    replicas: dict[str, Replica] = {}
    for id_ in (*declared, *added):
        stored = known.get(id_)
        file, api = declared.get(id_), stored.api if stored else None
        overrides, owner = (stored.overrides, stored.owner) if stored else (frozenset[str](), None)
        layers = Layers(file, api, overrides, owner)
        if file is None:
            layers = layers.with_file(None)
        settings = layers.merged()
        lease_until = None if settings.ttl is None else now + settings.ttl
        if stored is not None and is_same_process(stored, settings):
            generation, draining = stored.generation, _still(stored.draining, settings)
            instance = settings.instance or stored.instance
        else:
            generations += 1
            generation, draining, instance = generations, None, settings.instance
        replicas[id_] = Replica(
            id_,
            settings,
            layers.source,
            generation,
            draining,
            lease_until,
            layers,
            instance=instance,
        )
    return {**replicas, **_found_before(entry, known, replicas, listeners, now)}, generations


def _still(draining: Draining | None, settings: ReplicaSettings) -> Draining | None:
    """Say what drains a declared replica after the restart: it has no source to lose it."""
    is_over = draining is Draining.DISCOVERY or (
        draining is Draining.LEASE and settings.ttl is None
    )
    return None if is_over else draining


def _found_before(
    entry: PoolEntry | None,
    known: Mapping[str, RegisteredReplica],
    declared: Mapping[str, Replica],
    listeners: Listeners,
    now: float,
) -> dict[str, Replica]:
    """What was discovered stays until its source answers, unless that was taken out of the file."""
    sources = {str(source) for source in entry.discovery} if entry else set()
    if sources:
        sources.add(HANDED_OVER)
    addresses = {at for replica in declared.values() for at in replica.settings.places}
    return {
        id_: Replica(
            id_,
            replica.settings,
            Source.DISCOVERY,
            replica.generation,
            replica.draining,
            lease_until=now if replica.draining is Draining.DISCOVERY else None,
            found_by=replica.found_by,
            instance=replica.instance,
        )
        for id_, replica in known.items()
        if replica.settings is not None
        and replica.found_by in sources
        and id_ not in declared
        and addresses.isdisjoint(replica.settings.places)
        and not any(map(listeners.refusal, replica.settings.places))
    }


def _refuse_twice(items: Iterable[tuple[Address, str, str]]) -> None:
    """Refuse an address that two have; each comes with what it is of, and what it is."""
    seen: dict[Address, str] = {}
    for address, whose, what in items:
        if address in seen:
            raise Refused(
                "conflict",
                f"{what} {address} is that {seen[address]} and {whose}, one of them through the"
                " API; change it in the file",
            )
        seen[address] = whose
