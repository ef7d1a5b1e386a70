"""What sources have found against the fleet: their sets are put together, and what is in none goes.

Sources only see so much: a resolver may answer with a part, an engine be asked before its
containers are there. So what is new comes at once, and what is gone is drained first; a step that
would leave less than half of those that serve is not taken before others serve in their place.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from controlplane.config import ReplicaSettings
from controlplane.config.addresses import Listeners
from controlplane.fleet.change import Draft
from controlplane.fleet.rules import crossing, listeners_of
from controlplane.fleet.state import Draining, Fleet, Pool, Replica, Source, is_same_process

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
        and replica.id not in wanted
        and not _is_leaving(replica)
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


def _is_leaving(replica: Replica) -> bool:
    return replica.source is Source.DISCOVERY and replica.lease_until is not None
