"""Fleets of any size, and catalogs of them in which the weights of some pools change. Pure."""

from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import Fleet, Pool, Replica, Replicas, Source
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.endpoints import EndpointWeight

TIERS: Final = 4
_STEP: Final = 1000
"""Between the weights of two tiers; also so many changes are all different."""


def pool_name(number: int) -> str:
    """The name of a pool; all have the same length."""
    return f"pool-{number:04}"


def fleet(pools: int, replicas: int) -> Fleet:
    """A fleet of so many pools with so many replicas each."""
    made = {pool_name(number): _pool(number, replicas) for number in range(pools)}
    return Fleet(made)


def _pool(number: int, replicas: int) -> Pool:
    settings = {"model": "m", "listener": {"address": f"127.0.0.1:{10_000 + number}"}}
    first = ip_address("10.0.0.1") + number * replicas
    members = {}
    for index in range(replicas):
        address = {"address": f"{first + index}:9000"}
        id_ = f"replica-{index}"
        members[id_] = Replica(id_, validated(ReplicaSettings, address), Source.FILE, index)
    said = validated(PoolSettings, settings)
    return Pool(pool_name(number), said, Source.FILE, Replicas(members))


def endpoint_weights(pool: Pool, change: int) -> dict[str, EndpointWeight]:
    """Every weight differs from that of the change before, and all encode to as many bytes."""
    return {
        id_: EndpointWeight(f"tier-{index % TIERS}", _STEP * (1 + index % TIERS) + change % _STEP)
        for index, id_ in enumerate(pool.replicas)
    }


class ChangingCatalog:
    """The catalog of a fleet that stays, while its weights change.

    Attributes:
        newest: The catalog.
    """

    def __init__(self, pools: int, replicas: int) -> None:
        self._fleet = fleet(pools, replicas)
        self._endpoint_weights = {
            name: endpoint_weights(pool, 0) for name, pool in self._fleet.pools.items()
        }
        self._changes = 0
        self.newest = build(self._fleet, self._endpoint_weights, Catalog())

    def change(self, pools: Collection[int]) -> Catalog:
        """Change all weights of these pools and build anew what that changes."""
        self._changes += 1
        names = [pool_name(number) for number in pools]
        changed = {name: endpoint_weights(self._fleet.pools[name], self._changes) for name in names}
        self._endpoint_weights = {**self._endpoint_weights, **changed}
        self.newest = build(
            self._fleet, self._endpoint_weights, self.newest, dict.fromkeys(names, ())
        )
        return self.newest
