"""Removals and moves that together would empty a pool: refused, unless forced.

An Envoy drops a removed replica at once, so a script that removes too many is an outage. So it is
with many that move: at the new address is another process, of which Envoy is not told before its
health check answers. A replica that was drained before gets no requests, and takes nothing away.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from controlplane.fleet.state import Pool, Refused
from controlplane.settings import ReplicaSettings

TOGETHER: Final = 10.0
"""Seconds within which removals count as one step."""


def departed(before: Pool, left: Pool, now: float, *, force: bool) -> Pool:
    """The pool that is left, with the removal noted.

    Args:
        before: The pool with the replica that is removed, which was not drained.
        left: The same without it.
        now: Seconds of a monotonic clock.
        force: Whether it is to be removed however many went before.

    Raises:
        Refused: When the replica is not the first, and with it more than half of those would be
            gone that were there before the first.
    """
    recent = tuple(at for at in before.departures if now - at < TOGETHER)
    serving = _serving(before)
    gone, there = len(recent) + 1, serving + len(recent)
    if gone > 1 and gone * 2 > there and not force:
        raise Refused(
            "conflict",
            f"pool {before.name!r} would have lost {gone} of {there} replicas within"
            f" {TOGETHER:g} s; drain them first, wait, or force it",
        )
    return replace(left, departures=(*recent, now))


def unless_most_move(pool: Pool, wanted: Mapping[str, ReplicaSettings]) -> None:
    """Look at replicas that are all put in one step.

    Args:
        pool: As it is before.
        wanted: What they are to be, by id.

    Raises:
        Refused: When it is more than one, and more than half of those that nobody has drained,
            that would be at other addresses.
    """
    known = {id_: it for id_ in wanted if (it := pool.replicas.get(id_)) is not None}
    # Who was there before and takes the address of another is no stranger to it.
    kept = {wanted[id_].address for id_ in known}
    moved = [it for it in known.values() if it.draining is None and it.address not in kept]
    if len(moved) > 1 and len(moved) * 2 > (serving := _serving(pool)):
        raise Refused(
            "conflict",
            f"{len(moved)} of the {serving} replicas that serve pool {pool.name!r} would move to"
            " other addresses in one step, where nobody is ready yet; take smaller steps, add them"
            " under other ids first, or force it",
        )


def _serving(pool: Pool) -> int:
    return sum(replica.draining is None for replica in pool.replicas.values())
