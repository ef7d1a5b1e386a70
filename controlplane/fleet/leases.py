"""Leases that run out: first a replica gets no new requests, a while later it is forgotten.

One that the config file declares is not forgotten: it waits to be heard of again.

Silence has two causes, and only one is theirs. Whoever was stopped himself for a while gives every
lease that time back, and when most of a pool falls silent together, nothing of it is taken away.
"""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from controlplane.fleet.state import Draining, Fleet, Pool, Replica

DRAIN_SECONDS: Final = 10.0
"""From the end of a lease until the replica is removed; what it still computes can finish."""

PAUSE: Final = 0.75
"""Seconds between two looks from which on heartbeats may be waiting that nobody has read."""

_BY_SILENCE: Final = (None, Draining.LEASE)
"""Why replicas are drained, if they are, that leave because nothing is heard of them."""


def ends_at(replica: Replica) -> float:
    """When a replica is to be drained or, drained already, to be removed; infinity for never.

    One that the file declares is not removed while it is there: it waits, drained, to be heard of.
    """
    if replica.lease_until is None:
        return math.inf
    if replica.draining and replica.layers.file is not None:
        return math.inf
    return replica.lease_until + (DRAIN_SECONDS if replica.draining else 0.0)


def expire(fleet: Fleet, now: float, pools: Collection[str] | None = None) -> Fleet:
    """Drain the replicas whose lease has run out, remove those drained for long enough.

    Args:
        fleet: As it is.
        now: Seconds of a monotonic clock.
        pools: Names of those in which a lease may have run out, by `LeaseTimes`; None: any of them.

    Returns:
        The same object where nothing has run out.
    """
    for name in fleet.pools if pools is None else pools:
        pool = fleet.pools.get(name)
        if pool is None:
            continue
        held = silent_together(pool, now)
        for replica in pool.replicas.values():
            if now < ends_at(replica) or (held and replica.draining in _BY_SILENCE):
                continue
            if replica.draining:
                fleet = fleet.with_pool(fleet.pool(name).without_replica(replica.id))
            else:
                # Counted from now: whoever looks late still gives it the time to finish.
                drained = replace(replica, draining=Draining.LEASE, lease_until=now)
                fleet = fleet.with_pool(fleet.pool(name).with_replica(drained))
    return fleet


def silent_together(pool: Pool, now: float) -> bool:
    """Whether the leases of several replicas have run out, and of more than half of a pool.

    Replicas do not die together. That we cannot hear them is more likely, and Envoy's own health
    checks see who is there. Those that an operator drained do not count, and neither do those that
    their source no longer has.
    """
    counting = [
        it for it in pool.replicas.values() if it.draining in _BY_SILENCE and not _is_over(it, now)
    ]
    silent = sum(it.lease_until is not None and now >= it.lease_until for it in counting)
    return silent > 1 and silent * 2 > len(counting)


def _is_over(replica: Replica, now: float) -> bool:
    """Whether it would have been removed by now, if the file did not declare it."""
    return (
        replica.draining is Draining.LEASE
        and replica.layers.file is not None
        and replica.lease_until is not None
        and now >= replica.lease_until + DRAIN_SECONDS
    )


def given_back(fleet: Fleet, looked: float, now: float) -> Fleet:
    """Give leases back the time in which nobody could have read a heartbeat.

    Args:
        fleet: As it is.
        looked: When somebody looked last, seconds of a monotonic clock.
        now: Seconds of the same clock.

    Returns:
        The same object where the last look was not long ago.
    """
    lapse = now - looked
    if lapse <= PAUSE:
        return fleet
    for pool in fleet.pools.values():
        longer = {
            id_: replace(it, lease_until=it.lease_until + lapse)
            for id_, it in pool.replicas.items()
            if it.lease_until is not None
        }
        if longer:
            fleet = fleet.with_pool(pool.with_replicas(longer))
    return fleet
