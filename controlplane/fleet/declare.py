"""A config file against the fleet: what it adds, changes and, where it did declare it, removes.

What discovery has found is held against the fleet in the same way. It may see only a part: a
resolver may leave some out, an engine may be asked before its containers are there. New replicas
come at once; a replica that is gone is drained first. A step that would leave less than half of the
serving replicas waits until others serve in their place.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from controlplane.config import Config, PoolEntry, PoolSettings, ReplicaSettings
from controlplane.config.addresses import Listeners
from controlplane.fleet.apply import set_layers, set_replica_layers
from controlplane.fleet.change import Applied, Draft
from controlplane.fleet.rules import crossing, listeners_of, refuse_loops
from controlplane.fleet.state import (
    Draining,
    Fleet,
    Layers,
    Pool,
    Refused,
    Replica,
    Source,
    is_same_process,
)


def declare(fleet: Fleet, config: Config, now: float) -> Applied:
    """Bring the fleet in line with a config file, all of it or nothing.

    What the file declared before and no longer does is removed; what the API added or overrode
    stays.

    Raises:
        Refused: The file contradicts the API, or takes or moves more than half of the replicas that
            serve a pool: an emptied pool is an outage, and most often a slip or a half-written
            file.
        SettingsError: The settings of the file and of the API do not go together.
    """
    draft = Draft(fleet)
    declared = {entry.name for entry in config.pools}
    # What is gone, moves or changes makes room first: only then do two that swap their addresses
    # in one edit not stand in each other's way.
    for pool in fleet.pools.values():
        if pool.source is not Source.FILE or pool.name in declared:
            continue
        if pool.layers.api is None:
            _unless_api_uses(pool)
            _unless_it_serves(pool)
            draft.remove_pool(pool.name)
        else:
            _remove_undeclared(draft, pool, None, now)
    for pool in draft.fleet.pools.values():
        if pool.source is Source.FILE and pool.name not in declared:
            # The API overrides a part of it, so it stays, as the API declares it.
            set_layers(draft, pool.name, pool.layers.with_file(None))
    for entry in config.pools:
        if (known := draft.fleet.pools.get(entry.name)) is not None:
            settings = known.layers.with_file(entry.settings()).merged()
            draft.put_pool(replace(known, settings=settings))
            _remove_undeclared(draft, known, entry, now)
            _remove_moved(draft, known, entry)
    for entry in config.pools:
        known = draft.fleet.pools.get(entry.name)
        pool_layers = known.layers if known else Layers[PoolSettings]()
        set_layers(draft, entry.name, pool_layers.with_file(entry.settings()))
        pool = draft.fleet.pool(entry.name)
        # A file that says the same again is no sign of life: it renews no lease.
        other = {}
        for replica in entry.replicas:
            there, declared_now = pool.replicas.get(replica.id), replica.settings()
            layers = there.layers if there else Layers[ReplicaSettings]()
            if layers.file != declared_now:
                other[replica.id] = layers.with_file(declared_now)
        set_replica_layers(draft, pool, other, now)
    refuse_loops(draft.fleet)
    return draft.applied()


def _unless_api_uses(pool: Pool) -> None:
    added = [replica.id for replica in pool.replicas.values() if replica.layers.api is not None]
    if added:
        raise Refused(
            "conflict",
            f"pool {pool.name!r} is no longer in the file, but replica {added[0]!r} was added to it"
            " through the API; remove that one first, or keep the pool",
        )


def _unless_it_serves(pool: Pool) -> None:
    """Refuse to remove a pool with its replicas, declared or found, while any of them serves."""
    if pool.serving:
        raise Refused(
            "conflict",
            f"pool {pool.name!r} is no longer in the file, and {pool.serving} of its"
            f" {len(pool.replicas)} replicas serve; drain them first, or restart with the file as"
            " it is",
        )


def _remove_moved(draft: Draft, pool: Pool, entry: PoolEntry) -> None:
    """Remove the replicas that come back at another address, as another process."""
    gone, moved = list[str](), dict[str, Replica]()
    for replica in entry.replicas:
        there = pool.replicas.get(replica.id)
        if there is None:
            continue
        after = there.layers.with_file(replica.settings()).merged()
        if there.settings.address == after.address:
            continue
        gone.append(replica.id)
        if there.layers.api is not None:
            # What the API overrides must not go with it.
            layers = replace(there.layers, file=None)
            moved[there.id] = draft.new_replica(there.id, after, Source.FILE, layers=layers)
    draft.put_replicas(pool.name, moved, gone)


def _lost(pool: Pool, entry: PoolEntry | None, gone: Collection[str]) -> list[str]:
    """Find the serving replicas whose addresses no replica of the pool has any more."""
    after = {
        replica.id: replica.address for replica in pool.replicas.values() if replica.id not in gone
    }
    for replica in entry.replicas if entry else ():
        there = pool.replicas.get(replica.id)
        layers = there.layers if there else Layers[ReplicaSettings]()
        after[replica.id] = layers.with_file(replica.settings()).merged().address
    # Another replica at the same address is another process, which is not ready yet.
    taken = {address for id_, address in after.items() if id_ in pool.replicas}
    return [
        replica.id
        for replica in pool.replicas.values()
        if replica.address not in taken and replica.draining is None
    ]


def _remove_undeclared(draft: Draft, pool: Pool, entry: PoolEntry | None, now: float) -> None:
    """Remove the replicas of a pool that only the file declared, and no longer does."""
    staying = {replica.id for replica in entry.replicas} if entry else set()
    undeclared = [
        replica
        for replica in pool.replicas.values()
        if replica.source is Source.FILE and replica.id not in staying
    ]
    gone = [replica.id for replica in undeclared if replica.layers.api is None]
    if entry is not None and entry.discovery:
        # Sources may find them again: until they have answered, these serve on.
        handed_over = {
            id_: replace(
                pool.replicas[id_],
                source=Source.DISCOVERY,
                layers=Layers[ReplicaSettings](),
                lease_until=None,
                found_by=HANDED_OVER,
            )
            for id_ in gone
        }
        draft.put_replicas(pool.name, handed_over)
        gone = []
    lost = _lost(pool, entry, gone)
    moved = [id_ for id_ in lost if id_ not in gone]
    serving = pool.serving
    # One alone may move: a pool of one could not be changed at all otherwise.
    if len(lost) * 2 > serving and (len(lost) > 1 or not moved):
        loss = f"{len(lost)} of the {serving} replicas that serve it in one step"
        if moved:
            loss += f", {len(moved)} of them to other addresses, where nobody is ready yet"
        raise Refused(
            "conflict",
            f"pool {pool.name!r} would lose {loss}; take smaller steps, drain them first, or"
            " restart with the file as it is",
        )
    draft.put_replicas(pool.name, {}, gone)
    layers = {
        replica.id: replica.layers.with_file(None)
        for replica in undeclared
        if replica.layers.api is not None
    }
    set_replica_layers(draft, draft.fleet.pool(pool.name), layers, now)


Sets = Mapping[str, Mapping[str, ReplicaSettings] | None]
"""By source, in order of precedence: its replicas by id; None as long as it has never answered."""

HANDED_OVER: Final = "the config file"
"""What found a replica that the file declared until sources took the place of its declaration."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What sources have found or lost that the fleet does not follow.

    `withheld` are replicas that no source has any more and that stay: too few would be left.
    """

    withheld: tuple[str, ...] = ()
    clashes: tuple[str, ...] = ()


def discover(
    draft: Draft,
    name: str,
    sets: Sets,
    serves: Callable[[Replica], bool],
    now: float,
    parts: Collection[str] = (),
    is_shown: Callable[[Replica], bool] = lambda _: True,
    listeners: Sequence[Listeners] | None = None,
) -> Merged:
    """Bring a pool in line with what its sources have found; an unknown pool is left alone.

    Args:
        parts: Sources whose sets are incomplete: what they lack does not go.
        is_shown: Whether Envoys know of a replica: only then does it serve in another's place.
        listeners: Where Envoys listen; None: where the pools of the fleet say.
    """
    if name not in draft.fleet.pools:
        return Merged()
    pool = draft.fleet.pools[name]
    listeners = (listeners_of(draft.fleet),) if listeners is None else listeners
    wanted, clashes = _put_together(draft.fleet, pool, sets, listeners)
    found = {
        id_: replica
        for id_, (source, settings) in wanted.items()
        if (replica := _found(draft, pool.replicas.get(id_), id_, source, settings)) is not None
    }
    draft.put_replicas(name, found, _displaced(pool, wanted))
    pool = draft.fleet.pools[name]
    addresses = {each.address for each_set in sets.values() for each in (each_set or {}).values()}
    are_all_known = not parts and None not in sets.values()
    gone = [
        replica
        for replica in pool.replicas.values()
        if replica.source is Source.DISCOVERY
        and replica.lease_until is None
        and replica.id not in wanted
        and sets.get(replica.found_by or "", {}) is not None
        and replica.found_by not in parts
        and (
            replica.found_by != HANDED_OVER
            or (are_all_known and replica.settings.address not in addresses)
        )
    ]
    # Replicas that do not serve carry no requests: they may go, and do not count.
    going = sum(replica.draining is None and serves(replica) for replica in gone)
    left = pool.replicas.keys() - {replica.id for replica in gone}
    staying = sum(
        replica.draining is None and serves(replica) and is_shown(replica)
        for replica in pool.replicas.values()
        if replica.id in left
    )
    if going > staying:
        return Merged(tuple(replica.id for replica in gone), clashes)
    leaving = {
        replica.id: replace(
            replica, draining=replica.draining or Draining.DISCOVERY, lease_until=now
        )
        for replica in gone
    }
    draft.put_replicas(name, leaving)
    return Merged((), clashes)


def _put_together(
    fleet: Fleet, pool: Pool, sets: Sets, listeners: Sequence[Listeners]
) -> tuple[dict[str, tuple[str, ReplicaSettings]], tuple[str, ...]]:
    """By id, with the first source that has it; what the file and the API declare stays theirs."""
    wanted: dict[str, tuple[str, ReplicaSettings]] = {}
    clashes: list[str] = []
    declared = [
        replica
        for replica in pool.replicas.values()
        if replica.source is not Source.DISCOVERY or replica.found_by == HANDED_OVER
    ]
    ids = {replica.id for replica in declared}
    addresses = {at for replica in declared for at in replica.settings.places}
    for source, found in sets.items():
        for id_, settings in (found or {}).items():
            if not addresses.isdisjoint(settings.places):
                continue
            loops = [
                why
                for listener in listeners
                for at in settings.places
                if (why := listener.refusal(at)) is not None
            ]
            if (crossed := crossing(fleet, pool.name, settings)) is not None:
                loops.append(crossed[1])
            if loops:
                clashes.append(f"{source}: {id_!r} is not used, {loops[0]}")
                continue
            if id_ in ids:
                clashes.append(
                    f"{source}: {settings.address} is not used, another replica has its id {id_!r}"
                )
                continue
            ids.add(id_)
            addresses.update(settings.places)
            wanted[id_] = (source, settings)
    return wanted, tuple(clashes)


def _displaced(pool: Pool, wanted: Mapping[str, tuple[str, ReplicaSettings]]) -> list[str]:
    """The ids of replicas that no source has any more and whose address is another's by now."""
    addresses = {at for _, settings in wanted.values() for at in settings.places}
    return [
        replica.id
        for replica in pool.replicas.values()
        if replica.source is Source.DISCOVERY
        and replica.id not in wanted
        and not addresses.isdisjoint(replica.settings.places)
    ]


def _found(
    draft: Draft, there: Replica | None, id_: str, source: str, settings: ReplicaSettings
) -> Replica | None:
    """A replica as a source has found it; None where it is like that already."""
    if there is None or not is_same_process(there, settings):
        return draft.new_replica(id_, settings, Source.DISCOVERY, found_by=source)
    same = replace(
        there,
        settings=settings,
        found_by=source,
        draining=None if there.draining is Draining.DISCOVERY else there.draining,
        lease_until=None,
        instance=settings.instance or there.instance,
    )
    return None if same == there else same
