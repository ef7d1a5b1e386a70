"""What was declared otherwise before: two fleets in, each pool and replica that differs out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from controlplane.fleet.state import Fleet, Pool, Replica, Replicas


@dataclass(frozen=True, slots=True)
class Difference:
    """A pool or a replica that came, changed or went.

    Attributes:
        pool: The pool's name.
        replica: The replica's id; None where it is about the pool itself.
        before: None for what came.
        after: None for what went; a pool takes its replicas with it without a word about each.
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
        """Whether what is declared comes to something else, and not only who has said it."""
        before, after = self.before, self.after
        return before is None or after is None or declared(before) != declared(after)


def declared(what: Pool | Replica) -> dict[str, Any]:
    """What somebody has said of a pool or a replica, as plain data."""
    settings = what.settings.model_dump(mode="json")
    if isinstance(what, Pool):
        return {**settings, "source": what.source.value}
    return {
        **settings,
        "source": what.source.value,
        "draining": what.draining.value if what.draining else None,
        "generation": what.generation,
    }


def differences(before: Fleet, after: Fleet) -> Iterator[Difference]:
    """Compare what is declared, and by whom; a renewed lease is no difference.

    The work grows with what differs: two fleets share all that is the same in both.

    Args:
        before: The older fleet.
        after: The newer one.
    """
    if before is after:
        return
    names = list(after.pools.differing(before.pools))
    for name in names:
        if name not in after.pools:
            yield Difference(name, None, before.pools[name], None)
    for name in names:
        pool, known = after.pools.get(name), before.pools.get(name)
        if pool is None:
            continue
        if known is None or _pool_said(known) != _pool_said(pool):
            yield Difference(name, None, known, pool)
        yield from _replicas(name, Replicas() if known is None else known.replicas, pool.replicas)


def _pool_said(pool: Pool) -> tuple[object, ...]:
    return pool.settings, pool.source, pool.layers


def _replicas(name: str, before: Replicas, after: Replicas) -> Iterator[Difference]:
    ids = list(after.differing(before))
    for id_ in ids:
        if id_ not in after:
            yield Difference(name, id_, before[id_], None)
    for id_ in ids:
        replica, known = after.get(id_), before.get(id_)
        if replica is None:
            continue
        if known is None or _replica_said(known) != _replica_said(replica):
            yield Difference(name, id_, known, replica)


def _replica_said(replica: Replica) -> tuple[object, ...]:
    """All of it but the lease. Tuples are compared by identity first, and most of it is shared."""
    return (
        replica.settings,
        replica.source,
        replica.generation,
        replica.draining,
        replica.layers,
        replica.found_by,
    )
