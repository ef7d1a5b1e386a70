"""What was declared otherwise before: two fleets in, each pool and replica that differs out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from controlplane.fleet.state import Fleet, Pool, Replica


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


def differences(before: Fleet, after: Fleet) -> Iterator[Difference]:
    """Compare what is declared, and by whom; a renewed lease is no difference.

    The work grows with the pools that are other objects, and in them with their replicas.

    Args:
        before: The older fleet.
        after: The newer one.
    """
    if before is after:
        return
    for name, pool in before.pools.items():
        if name not in after.pools:
            yield Difference(name, None, pool, None)
    for name, pool in after.pools.items():
        known = before.pools.get(name)
        if known is pool:
            continue
        if known is None or _said(known) != _said(pool):
            yield Difference(name, None, known, pool)
        yield from _replicas(name, known or replace(pool, replicas={}), pool)


def _said(pool: Pool) -> tuple[object, ...]:
    return pool.settings, pool.source, pool.layers


def _replicas(name: str, before: Pool, after: Pool) -> Iterator[Difference]:
    for id_, replica in before.replicas.items():
        if id_ not in after.replicas:
            yield Difference(name, id_, replica, None)
    for id_, replica in after.replicas.items():
        known = before.replicas.get(id_)
        if known is replica:
            continue
        if known is None or replace(known, lease_until=None) != replace(replica, lease_until=None):
            yield Difference(name, id_, known, replica)
