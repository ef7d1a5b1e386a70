"""A fleet made of the config file and of what was kept of the one before a restart."""

from collections.abc import Mapping
from dataclasses import replace

from controlplane.fleet.layers import Layers
from controlplane.fleet.registered import Registered, RegisteredReplica
from controlplane.fleet.state import Fleet, Pool, Refused, Replica
from controlplane.settings import Address, Config, PoolEntry


def restored(known: Registered, config: Config, now: float) -> Fleet:
    """The fleet after a restart: the config file, and above it what the API said.

    Every lease begins anew: while nobody was there to hear them, nobody can have failed to send
    heartbeats. What the file declared before and no longer does is gone, however much it is: a
    restart is how that is forced.

    Args:
        known: What was kept.
        config: The file's content.
        now: Seconds of a monotonic clock.

    Raises:
        Refused: When the file contradicts what the API said.
        SettingsError: When what the two say of something does not go together.
    """
    entries = {entry.name: entry for entry in config.pools}
    fleet = Fleet(generations=known.generations)
    for name in (*entries, *(name for name in known.pools if name not in entries)):
        kept, entry = known.pools.get(name), entries.get(name)
        layers = Layers(
            entry.settings() if entry else None,
            kept.settings if kept else None,
            kept.overrides if kept else frozenset(),
        )
        fleet = fleet.with_pool(Pool(name, layers.merged(), layers.source, layers=layers))
    _listeners_differ(fleet)
    ids: dict[str, dict[str, RegisteredReplica]] = {name: {} for name in fleet.pools}
    for (name, id_), replica in known.replicas.items():
        if name in ids:
            ids[name][id_] = replica
        elif replica.settings is not None:
            raise Refused(
                "conflict",
                f"pool {name!r} is no longer in the file, but replica {id_!r} was added to it"
                " through the API; keep the pool until that one is removed",
            )
    pools = dict(fleet.pools)
    generations = fleet.generations
    for name, pool in fleet.pools.items():
        replicas, generations = _replicas_of(entries.get(name), ids[name], generations, now)
        pools[name] = replace(pool, replicas=replicas)
        _addresses_differ(pools[name])
    return Fleet(pools, generations)


def _replicas_of(
    entry: PoolEntry | None,
    known: Mapping[str, RegisteredReplica],
    generations: int,
    now: float,
) -> tuple[dict[str, Replica], int]:
    declared = {it.id: it.settings() for it in entry.replicas} if entry else {}
    added = [id_ for id_, it in known.items() if it.settings is not None and id_ not in declared]
    replicas = {}
    for id_ in (*declared, *added):
        kept = known.get(id_)
        file, api = declared.get(id_), kept.settings if kept else None
        layers = Layers(file, api, kept.overrides if kept else frozenset())
        if file is None:
            layers = layers.with_file(None)
        settings = layers.merged()
        lease_until = None if settings.ttl is None else now + settings.ttl
        if kept is not None and kept.address == settings.address:
            generation, draining = kept.generation, kept.draining
        else:
            generations += 1
            generation, draining = generations, None
        replicas[id_] = Replica(
            id_, settings, layers.source, generation, draining, lease_until, layers
        )
    return replicas, generations


def _listeners_differ(fleet: Fleet) -> None:
    seen: dict[Address, str] = {}
    for pool in fleet.pools.values():
        listener = pool.settings.listener.address
        if listener in seen:
            raise Refused(
                "conflict",
                f"listener address {listener} is that of pool {seen[listener]!r} and of pool"
                f" {pool.name!r}, one of them through the API; change it in the file",
            )
        seen[listener] = pool.name


def _addresses_differ(pool: Pool) -> None:
    seen: dict[Address, str] = {}
    for replica in pool.replicas.values():
        address = replica.settings.address
        if address in seen:
            raise Refused(
                "conflict",
                f"address {address} is that of replica {seen[address]!r} and of replica"
                f" {replica.id!r} of pool {pool.name!r}, one of them through the API; change it in"
                " the file",
            )
        seen[address] = replica.id
