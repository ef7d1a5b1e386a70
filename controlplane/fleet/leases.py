"""Leases that run out: first a replica gets no new requests, a while later it is forgotten."""

from dataclasses import replace
from typing import Final

from controlplane.fleet.state import Draining, Fleet

DRAIN_SECONDS: Final = 10.0
"""From the end of a lease until the replica is removed; what it still computes can finish."""


def expire(fleet: Fleet, now: float) -> Fleet:
    """Drain the replicas whose lease has run out, remove those drained for long enough.

    Args:
        fleet: As it is.
        now: Seconds of a monotonic clock.

    Returns:
        The same object where nothing has run out.
    """
    for pool in fleet.pools.values():
        for replica in pool.replicas.values():
            if replica.lease_until is None or now < replica.lease_until:
                continue
            if replica.draining and now >= replica.lease_until + DRAIN_SECONDS:
                fleet = fleet.with_pool(fleet.pool(pool.name).without_replica(replica.id))
            elif replica.draining is None:
                # Counted from now: whoever looks late still gives it the time to finish.
                drained = replace(replica, draining=Draining.LEASE, lease_until=now)
                fleet = fleet.with_pool(fleet.pool(pool.name).with_replica(drained))
    return fleet
