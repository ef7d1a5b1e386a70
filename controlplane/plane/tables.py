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
    ) -> Collection[str]:
        """Write what is known of some replicas of a pool.

        Args:
            pool: As it is.
            some: Ids of those of which something may be new; one may have gone. None: all.
            seen: Until now.
            now: Seconds of a monotonic clock.
            is_parted: Whether Envoys part its requests into classes.

        Returns:
            The ids of those that were written or have gone.
        """
        table = self.setdefault(pool.name, Table())
        if some is None:
            some = table.rows.keys() | pool.replicas.keys()
        for id_ in some:
            if id_ not in pool.replicas:
                table.remove(id_)
        self._put(table, pool, (id_ for id_ in some if id_ in pool.replicas), seen, now, is_parted)
        return some

    def begin(self, pool: Pool, ids: Iterable[str], seen: Seen, now: float) -> None:
        """Give replicas of which something is known the first rows, in this order."""
        table = self[pool.name] = Table()
        self._put(table, pool, ids, seen, now, is_parted=False)

    def _put(
        self,
        table: Table,
        pool: Pool,
        ids: Iterable[str],
        seen: Seen,
        now: float,
        is_parted: bool,  # noqa: FBT001 - passed on
    ) -> None:
        for id_ in ids:
            table.put(input_of(pool, pool.replicas[id_], seen, now, is_parted=is_parted))
