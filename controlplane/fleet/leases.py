"""Leases that run out: first a replica gets no new requests, a while later it is forgotten.

One that the config file declares is not forgotten: it waits to be heard of again.

Silence has two causes, and only one is theirs. A control plane that stood still gives every
lease that time back, and when most of a pool falls silent together, nothing of it is taken away.
"""

import math
from dataclasses import replace
from typing import Final

from controlplane.fleet.change import Applied, Draft
from controlplane.fleet.state import Draining, Fleet, Pool, Replica

DRAIN_SECONDS: Final = 10.0
"""From the end of a lease until the replica is removed; what it still computes can finish."""

PAUSE: Final = 0.75
"""Seconds between two looks from which on unread heartbeats may be waiting."""

_BY_SILENCE: Final = (None, Draining.LEASE)
"""Why replicas are drained, if they are, that leave because nothing is heard of them."""


def ends_at(replica: Replica) -> float:
    """When a replica is drained or, drained already, removed; infinity for never."""
    if replica.lease_until is None:
        return math.inf
    if replica.draining and replica.layers.file is not None:
        return math.inf
    return replica.lease_until + (DRAIN_SECONDS if replica.draining else 0.0)


def expire(fleet: Fleet, now: float, looked: float | None = None) -> Applied:
    """Drain the replicas whose lease has run out, remove those drained for long enough.

    If leases were `looked` at long ago, heartbeats could not be read, and every lease gets that
    time back; None: just now.
    """
    draft = Draft(fleet)
    if looked is not None and now - looked > PAUSE:
        _give_back(draft, now - looked)
    for name, pool in draft.fleet.pools.items():
        over = [
            replica
            for replica in pool.replicas.values()
            # Most have no lease, or one that lasts: a look at ten thousand takes a millisecond.
            if replica.lease_until is not None and replica.lease_until <= now >= ends_at(replica)
        ]
        if over and silent_together(pool, now):
            over = [replica for replica in over if replica.draining not in _BY_SILENCE]
        # Counted from now: after a late look a replica still has the time to finish.
        drained = {
            replica.id: replace(replica, draining=Draining.LEASE, lease_until=now)
            for replica in over
            if not replica.draining
        }
        draft.put_replicas(name, drained, [replica.id for replica in over if replica.draining])
    return draft.applied()


def silent_together(pool: Pool, now: float) -> bool:
    """Whether the leases of several replicas have run out, and of more than half of a pool.

    Replicas do not die together. That we cannot hear them is more likely, and Envoy's own health
    checks see who is there. Replicas that an operator
    drained, or that their source no longer has, do not count.
    """
    counting = [
        replica
        for replica in pool.replicas.values()
        if replica.draining in _BY_SILENCE and not _is_over(replica, now)
    ]
    silent = sum(
        replica.lease_until is not None and now >= replica.lease_until for replica in counting
    )
    return silent > 1 and silent * 2 > len(counting)


def _is_over(replica: Replica, now: float) -> bool:
    """Whether it would have been removed by now, if the file did not declare it."""
    return (
        replica.draining is Draining.LEASE
        and replica.layers.file is not None
        and replica.lease_until is not None
        and now >= replica.lease_until + DRAIN_SECONDS
    )


def _give_back(draft: Draft, lapse: float) -> None:
    """Prolong every lease by a time in which heartbeats could not be read."""
    for name, pool in draft.fleet.pools.items():
        longer = {
            id_: replace(replica, lease_until=replica.lease_until + lapse)
            for id_, replica in pool.replicas.items()
            if replica.lease_until is not None
        }
        draft.put_replicas(name, longer)
