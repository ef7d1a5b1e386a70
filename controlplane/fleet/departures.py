"""Removals one by one that together would empty a pool: refused, unless forced.

An Envoy drops a removed replica at once, so a script that removes too many is an outage. A replica
that was drained before gets no requests, and its removal takes nothing away.
"""

from dataclasses import replace
from typing import Final

from controlplane.fleet.state import Pool, Refused

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
    serving = sum(replica.draining is None for replica in before.replicas.values())
    gone, there = len(recent) + 1, serving + len(recent)
    if gone > 1 and gone * 2 > there and not force:
        raise Refused(
            "conflict",
            f"pool {before.name!r} would have lost {gone} of {there} replicas within"
            f" {TOGETHER:g} s; drain them first, wait, or force it",
        )
    return replace(left, departures=(*recent, now))
