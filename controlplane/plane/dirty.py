"""Dirty keys: pools and replicas that changed since a reader looked last."""

from collections.abc import Callable, Collection, Iterable, KeysView, Mapping


class DirtyKeys:
    """A slot between a writer and a reader: keys are added, and taken all at once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._replicas: dict[str, set[str] | None] = {}

    def add(self, pools: Iterable[str]) -> None:
        """Anything may be new in these pools."""
        self._replicas |= dict.fromkeys(pools)

    def add_replicas(self, replicas: Mapping[str, Collection[str] | None]) -> None:
        """Something is new of these replicas, by pool; None: of any in it.

        Without ids, the pool itself is looked at, and none of its replicas.
        """
        for pool, ids in replicas.items():
            if ids is None:
                self._replicas[pool] = None
            elif (known := self._replicas.setdefault(pool, set())) is not None:
                known.update(ids)

    def discard(self, pool: str) -> None:
        """A pool has gone."""
        self._replicas.pop(pool, None)

    def pools(self) -> KeysView[str]:
        """The names of the dirty pools."""
        return self._replicas.keys()

    def some(self, pool: str, all_of_it: Callable[[], Iterable[str]]) -> set[str]:
        """Return the dirty replicas of a dirty pool, by id, to take some out.

        `all_of_it` is asked for the ids of all where anything may be new.
        """
        known = self._replicas.get(pool, set())
        if known is None:
            known = self._replicas[pool] = set(all_of_it())
        return known

    def of(self, pool: str) -> "DirtyKeys":
        """What is new of one pool, to be changed apart."""
        found = DirtyKeys()
        if pool in self._replicas:
            found.add_replicas({pool: self._replicas[pool]})
        return found

    def taken(self) -> dict[str, set[str] | None]:
        """The ids of the replicas, by pool; None: it may be all. The slot is empty then."""
        taken, self._replicas = self._replicas, {}
        return taken

    def taken_replicas(self) -> dict[str, set[str]]:
        """The same, but pools in which anything may be new stay."""
        taken = {name: ids for name, ids in self._replicas.items() if ids is not None}
        self._replicas = dict.fromkeys(self._replicas.keys() - taken.keys())
        return taken
