"""HDS: which replicas an Envoy is asked to check, so that the control plane learns what it sees.

Of the health of the hosts in its clusters an Envoy tells nobody. Asked over its health discovery
service it makes the same checks from the same place once more, at a fraction of their rate.
"""

from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby
from typing import Final, NamedTuple

import envoy_data_plane.envoy.service.health.v3 as health_v3

from controlplane.fleet import Pool, Replica
from controlplane.resources.addresses import socket_address
from controlplane.resources.clusters import health_check
from controlplane.resources.encoding import delimited, implicit
from controlplane.settings import Address

PREFIX: Final = "_health/"
"""Before a pool's name: statistics of these checks are not to be taken for those of its cluster."""

RARER: Final = 5.0
"""How many times as long as between two checks of the pool it is between two of these."""
LEAST, MOST = 1.0, 10.0
"""Seconds between two of them."""
FOR_A_WHILE: Final = 4.0
"""So many of them must say the same before anybody is told."""

_AT_ONCE: Final = {"unhealthy_threshold": 1, "healthy_threshold": 1}
"""Made so rarely, a number of checks in a row would hold an opinion that the cluster's own checks
gave up long ago. What is told waits `FOR_A_WHILE` anyway."""


class Checked(NamedTuple):
    """A replica that an Envoy is asked to check, and its pool."""

    pool: Pool
    replica: Replica


def check_interval(pool: Pool) -> float:
    """Seconds between two of these checks of a replica."""
    return min(max(RARER * pool.settings.health_check.interval, LEAST), MOST)


def health_check_specifier(checked: Iterable[Checked]) -> bytes:
    """Encode the ``HealthCheckSpecifier`` that asks for checks of these, grouped by pool."""
    clusters, intervals = [], [MOST]
    for name, found in groupby(checked, key=lambda it: it.pool.name):
        several = [*found]
        check, interval = several[0].pool.settings.health_check, check_interval(several[0].pool)
        intervals.append(interval)
        # Each Envoy may be asked for others, so only what is the same for all is a message.
        endpoints = b"".join(
            delimited(2, _endpoint(it.replica.address, check.host_of(it.replica.address)))
            for it in several
        )
        clusters.append(
            delimited(1, f"{PREFIX}{name}".encode())
            + delimited(2, bytes(health_check(check.model_copy(update=_AT_ONCE), interval)))
            + delimited(3, endpoints)
        )
    every = health_v3.HealthCheckSpecifier(interval=timedelta(seconds=min(intervals)))
    return b"".join([*(delimited(1, it) for it in clusters), bytes(every)])


def _endpoint(address: Address, host: str) -> bytes:
    """An ``Endpoint``: where it is, and by which host it is checked."""
    return delimited(1, bytes(socket_address(address))) + delimited(2, implicit(2, host.encode()))
