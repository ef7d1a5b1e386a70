"""The inputs of every pool's decisions, written only where something new is known."""

from collections.abc import Collection, Iterable

from controlplane.balancing import Table
from controlplane.fleet import Pool
from controlplane.plane.inputs import Seen, input_of


class Tables(dict[str, Table]):
    """By pool."""

    def copy(self) -> "Tables":
        """The same, to be changed apart."""
        return Tables((name, table.copy()) for name, table in self.items())

    def write(
        self,
        pool: Pool,
        some: Collection[str] | None,
        seen: Seen,
        now: float,
        *,
        is_parted: bool,
    ) -> list[str]:
        """Write what is known of some replicas of a pool.

        Args:
            pool: As it is.
            some: Ids of those of which something may be new; one may have gone. None: all.
            seen: Until now.
            now: Seconds of a monotonic clock.
            is_parted: Whether Envoys part its requests into classes.

        Returns:
            The ids of those that have gone.
        """
        table = self.setdefault(pool.name, Table())
        if some is None:
            some = self.ids(pool)
        gone = []
        for id_ in some:
            if (replica := pool.replicas.get(id_)) is not None:
                table.put(input_of(pool, replica, seen, now, is_parted=is_parted))
            else:
                table.remove(id_)
                gone.append(id_)
        return gone

    def ids(self, pool: Pool) -> set[str]:
        """The replicas of a pool, and those of which something is known that have gone."""
        known = self.get(pool.name)
        return {*pool.replicas, *(known.rows if known is not None else ())}

    def begin(self, pool: Pool, ids: Iterable[str], seen: Seen, now: float) -> None:
        """Give replicas of which something is known the first rows, in this order."""
        of_pool = (input_of(pool, pool.replicas[id_], seen, now, is_parted=False) for id_ in ids)
        self[pool.name] = Table(of_pool)
