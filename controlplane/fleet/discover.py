"""What sources have found against the fleet: their sets are put together, and what is in none goes.

Sources only see so much: a resolver may answer with a part, an engine be asked before its
containers are there. So what is new comes at once, and what is gone is drained first; a step that
would leave less than half of those that serve is not taken before others serve in their place.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from controlplane.fleet.layers import Source
from controlplane.fleet.loops import listeners_of
from controlplane.fleet.process import is_same_process
from controlplane.fleet.state import Draining, Fleet, Pool, Replica
from controlplane.settings import ReplicaSettings
from controlplane.settings.listeners import Listeners

Sets = Mapping[str, Mapping[str, ReplicaSettings] | None]
"""By source, in order of precedence: its replicas by id; None as long as it has never answered."""

HANDED_OVER: Final = "the config file"
"""What found a replica that the file declared until sources took the place of its declaration."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A pool after its sources have been put together.

    Attributes:
        withheld: Ids of replicas that no source has any more and that stay nevertheless, because
            too few would be left.
        clashes: Sentences about replicas of a source that are not used, as another has their id.
    """

    fleet: Fleet
    withheld: tuple[str, ...] = ()
    clashes: tuple[str, ...] = ()


def discover(
    fleet: Fleet,
    name: str,
    sets: Sets,
    serves: Callable[[Replica], bool],
    now: float,
    parts: Collection[str] = (),
    is_told: Callable[[Replica], bool] = lambda _: True,
    listeners: Sequence[Listeners] | None = None,
) -> Merged:
    """Bring a pool in line with what its sources have found.

    Args:
        fleet: As it is.
        name: Of the pool; one that is not there is left alone.
        sets: What each source found.
        serves: Whether a replica answers at present.
        now: Seconds of a monotonic clock.
        parts: Sources whose set is only a part of what they have: nothing goes for being missing.
        is_told: Whether Envoys know of a replica: only then does it serve in another's place.
        listeners: Where Envoys listen; None: where the pools of the fleet say.

    Returns:
        The same fleet object where nothing changes.
    """
    if name not in fleet.pools:
        return Merged(fleet)
    listeners = (listeners_of(fleet),) if listeners is None else listeners
    wanted, clashes = _put_together(fleet.pools[name], sets, listeners)
    fleet = _without_displaced(fleet, name, wanted)
    for id_, (source, settings) in wanted.items():
        fleet = _with_found(fleet, name, id_, source, settings)
    pool = fleet.pools[name]
    addresses = {each.address for found in sets.values() for each in (found or {}).values()}
    are_all_known = not parts and None not in sets.values()
    gone = [
        it
        for it in pool.replicas.values()
        if it.source is Source.DISCOVERY
        and it.id not in wanted
        and not _is_leaving(it)
        and sets.get(it.found_by or "", {}) is not None
        and it.found_by not in parts
        and (it.found_by != HANDED_OVER or (are_all_known and it.settings.address not in addresses))
    ]
    # Those that do not serve carry nothing, so they may go, and hold up nobody's leaving.
    going = sum(it.draining is None and serves(it) for it in gone)
    left = pool.replicas.keys() - {it.id for it in gone}
    staying = sum(
        it.draining is None and serves(it) and is_told(it)
        for it in pool.replicas.values()
        if it.id in left
    )
    if going > staying:
        return Merged(fleet, tuple(it.id for it in gone), clashes)
    for it in gone:
        leaving = replace(it, draining=it.draining or Draining.DISCOVERY, lease_until=now)
        fleet = fleet.with_pool(fleet.pool(name).with_replica(leaving))
    return Merged(fleet, (), clashes)


def _put_together(
    pool: Pool, sets: Sets, listeners: Sequence[Listeners]
) -> tuple[dict[str, tuple[str, ReplicaSettings]], tuple[str, ...]]:
    """By id, with the first source that has it; what the file and the API declare stays theirs."""
    wanted: dict[str, tuple[str, ReplicaSettings]] = {}
    clashes: list[str] = []
    declared = [
        it
        for it in pool.replicas.values()
        if it.source is not Source.DISCOVERY or it.found_by == HANDED_OVER
    ]
    ids = {it.id for it in declared}
    addresses = {it.settings.address for it in declared}
    for source, found in sets.items():
        for id_, settings in (found or {}).items():
            if settings.address in addresses:
                continue
            loops = (why for it in listeners if (why := it.refusal(settings.address)) is not None)
            if (loop := next(loops, None)) is not None:
                clashes.append(f"{source}: {id_!r} is not used, {loop}")
                continue
            if id_ in ids:
                clashes.append(
                    f"{source}: {settings.address} is not used, another replica has its id {id_!r}"
                )
                continue
            ids.add(id_)
            addresses.add(settings.address)
            wanted[id_] = (source, settings)
    return wanted, tuple(clashes)


def _without_displaced(
    fleet: Fleet, name: str, wanted: Mapping[str, tuple[str, ReplicaSettings]]
) -> Fleet:
    """Without those that nobody has any more and whose address is another's by now."""
    addresses = {settings.address for _, settings in wanted.values()}
    for it in fleet.pools[name].replicas.values():
        is_gone = it.source is Source.DISCOVERY and it.id not in wanted
        if is_gone and it.settings.address in addresses:
            fleet = fleet.with_pool(fleet.pool(name).without_replica(it.id))
    return fleet


def _with_found(fleet: Fleet, name: str, id_: str, source: str, settings: ReplicaSettings) -> Fleet:
    pool = fleet.pools[name]
    there = pool.replicas.get(id_)
    if there is None or not is_same_process(there, settings):
        fleet = replace(fleet, generations=fleet.generations + 1)
        replica = Replica(
            id_,
            settings,
            Source.DISCOVERY,
            fleet.generations,
            found_by=source,
            instance=settings.instance,
        )
        return fleet.with_pool(pool.with_replica(replica))
    draining = None if there.draining is Draining.DISCOVERY else there.draining
    same = replace(
        there,
        settings=settings,
        found_by=source,
        draining=draining,
        lease_until=None,
        instance=settings.instance or there.instance,
    )
    return fleet if same == there else fleet.with_pool(pool.with_replica(same))


def _is_leaving(replica: Replica) -> bool:
    return replica.source is Source.DISCOVERY and replica.lease_until is not None
