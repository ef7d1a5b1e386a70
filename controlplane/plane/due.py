"""What is new since the last decision: anything in a pool, or of some of its replicas."""

from collections.abc import Callable, Iterable, KeysView, Mapping


class Due:
    """Of what something new is known since the last decision."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._replicas: dict[str, set[str] | None] = {}

    def add(self, pools: Iterable[str]) -> None:
        """Anything may be new in these pools."""
        self._replicas |= dict.fromkeys(pools)

    def add_replicas(self, replicas: Mapping[str, Iterable[str]]) -> None:
        """Something is new of these replicas, by pool."""
        for pool, ids in replicas.items():
            known = self._replicas.setdefault(pool, set())
            if known is not None:
                known.update(ids)

    def add_replica(self, pool: str, replica: str) -> None:
        """Something is new of a replica, or it has come or gone."""
        known = self._replicas.setdefault(pool, set())
        if known is not None:
            known.add(replica)

    def add_moving(self, pool: str) -> None:
        """Nothing is new of a pool, but what was decided of it goes on."""
        self._replicas.setdefault(pool, set())

    def discard(self, pool: str) -> None:
        """A pool has gone."""
        self._replicas.pop(pool, None)

    def pools(self) -> KeysView[str]:
        """The names of all of which anything is new."""
        return self._replicas.keys()

    def some(self, pool: str, all_of_it: Callable[[], Iterable[str]]) -> set[str]:
        """The ids of the replicas of a pool of which something may be new, to take some out."""
        known = self._replicas.get(pool, set())
        if known is None:
            known = self._replicas[pool] = set(all_of_it())
        return known

    def taken(self) -> Mapping[str, set[str] | None]:
        """The ids of the replicas that have changed, by pool; None: it may be all. Once."""
        taken, self._replicas = self._replicas, {}
        return taken
