"""How a fleet is changed: a draft is edited, and out come the new fleet and what is other in it.

Every change of the fleet comes with the keys that it changed, so two fleets are never compared.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from controlplane.config import ReplicaSettings
from controlplane.fleet.state import Fleet, Pool, Replica, Source

Key: TypeAlias = tuple[str, str | None]
"""A pool's name, and a replica's id; None for the pool itself."""


@dataclass(frozen=True, slots=True)
class Change:
    """A pool or a replica that was added, changed or removed.

    `replica` is None where the change is about the pool itself, `before` for what was added,
    `after` for what was removed. A pool is removed with its replicas; its change stands for all of
    them.
    """

    pool: str
    replica: str | None
    before: Pool | Replica | None
    after: Pool | Replica | None

    @property
    def kind(self) -> str:
        """In one word: added, changed or removed."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @property
    def is_declared(self) -> bool:
        """Whether the declaration is another one, and not only who declares it."""
        before, after = self.before, self.after
        return before is None or after is None or declared(before) != declared(after)


class Applied(NamedTuple):
    """What a command, a file or the time made of a fleet.

    Where nothing was done, the fleet is the same object as before. Removals come first among the
    changes; a renewed lease is no change.
    """

    fleet: Fleet
    changes: tuple[Change, ...] = ()


def whole(fleet: Fleet) -> Applied:
    """A fleet as a change of an empty one: every pool and replica is added."""
    added = list[Change]()
    for pool in fleet.pools.values():
        added.append(Change(pool.name, None, None, pool))
        added += [Change(pool.name, id_, None, replica) for id_, replica in pool.replicas.items()]
    return Applied(fleet, tuple(added))


class Draft:
    """A fleet that is being changed."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._before: dict[Key, Pool | Replica | None] = {}

    def put_pool(self, pool: Pool) -> None:
        """Add a pool without replicas, or give one that exists other settings."""
        self._before.setdefault((pool.name, None), self.fleet.pools.get(pool.name))
        self._set(pool)

    def remove_pool(self, name: str) -> None:
        """Remove a pool with its replicas."""
        pool = self.fleet.pool(name)
        self._before.setdefault((name, None), pool)
        for id_, replica in pool.replicas.items():
            self._before.setdefault((name, id_), replica)
        pools = {other: pool for other, pool in self.fleet.pools.items() if other != name}
        self.fleet = replace(self.fleet, pools=pools)

    def put_replicas(
        self,
        name: str,
        put: Mapping[str, Replica],
        gone: Collection[str] = (),
        departures: tuple[float, ...] | None = None,
    ) -> None:
        """Add, replace and remove replicas of a pool, all together.

        An id both in `put` and in `gone` stays. `departures`: when replicas were removed lately;
        None: as it was.
        """
        if not put and not gone:
            return
        pool = self.fleet.pool(name)
        for id_ in (*gone, *put):
            self._before.setdefault((name, id_), pool.replicas.get(id_))
        departures = pool.departures if departures is None else departures
        self._set(replace(pool, replicas=pool.replicas.updated(put, gone), departures=departures))

    def new_replica(
        self, id_: str, settings: ReplicaSettings, source: Source, **more: Any
    ) -> Replica:
        """Make a replica that is another process than all before; `more` as in `Replica`."""
        generation = self.fleet.generations + 1
        self.fleet = replace(self.fleet, generations=generation)
        return Replica(id_, settings, source, generation, instance=settings.instance, **more)

    def applied(self) -> Applied:
        """The fleet, and what was changed."""
        found = [
            Change(*key, before, after)
            for key, before in self._before.items()
            if not _is_same(before, after := self._after(key)) and self._is_told(key)
        ]
        found.sort(key=lambda change: change.after is not None)
        return Applied(self.fleet, tuple(found))

    def _set(self, pool: Pool) -> None:
        self.fleet = replace(self.fleet, pools={**self.fleet.pools, pool.name: pool})

    def _after(self, key: Key) -> Pool | Replica | None:
        name, id_ = key
        pool = self.fleet.pools.get(name)
        return pool if pool is None or id_ is None else pool.replicas.get(id_)

    def _is_told(self, key: Key) -> bool:
        """Whether it is no replica that goes with its pool."""
        return key[1] is None or key[0] in self.fleet.pools


def _is_same(before: Pool | Replica | None, after: Pool | Replica | None) -> bool:
    if before is None or after is None:
        return before is after
    return before is after or _compared(before) == _compared(after)


def _compared(what: Pool | Replica) -> tuple[object, ...]:
    """All but leases and readings of it. Tuples compare by identity first, and most is shared."""
    if isinstance(what, Pool):
        return what.settings, what.source, what.layers
    return (what.settings, what.source, what.generation, what.draining, what.layers, what.found_by)


def declared(what: Pool | Replica) -> dict[str, Any]:
    """What is declared of a pool or a replica, as plain data."""
    settings = what.settings.model_dump(mode="json")
    if isinstance(what, Pool):
        return {**settings, "source": what.source.value}
    return {
        **settings,
        "source": what.source.value,
        "draining": what.draining.value if what.draining else None,
        "generation": what.generation,
    }
