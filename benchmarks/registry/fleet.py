"""How many replicas there are, in how many pools, and where. Pure."""

from dataclasses import dataclass
from typing import Any, Final

TTL: Final = "1h"
"""Longer than the benchmark: nothing is to run out while something else is measured."""


@dataclass(frozen=True, slots=True)
class Layout:
    """So many replicas, dealt out to so many pools.

    Attributes:
        pools: Of equal size.
        replicas: In all of them together.
    """

    pools: int
    replicas: int

    def __str__(self) -> str:
        pools = "one pool" if self.pools == 1 else f"{self.pools} pools"
        return f"{self.replicas:,} replicas in {pools}"

    def config(self, admin: int, xds: int) -> dict[str, Any]:
        """A config file with the pools; the replicas are to come through the API."""
        return {
            "admin": {"address": f"127.0.0.1:{admin}"},
            "xds": {"address": f"127.0.0.1:{xds}"},
            "pools": [
                {
                    "name": pool_name(number),
                    "model": "simulated",
                    "listener": {"address": f"127.0.0.1:{10_000 + number}"},
                    "metrics": {"profile": "none"},
                }
                for number in range(self.pools)
            ],
        }

    def pool_of(self, number: int) -> str:
        """The pool of a replica."""
        return pool_name(number * self.pools // self.replicas)

    def batches(self, port: int, most: int) -> list[tuple[str, list[dict[str, Any]]]]:
        """All replicas as they are put together: the pool, and its replicas as the API takes them.

        Args:
            port: At which every address of theirs answers.
            most: In one request.
        """
        found: list[tuple[str, list[dict[str, Any]]]] = []
        for number in range(self.replicas):
            pool = self.pool_of(number)
            if not found or found[-1][0] != pool or len(found[-1][1]) == most:
                found.append((pool, []))
            found[-1][1].append({"id": replica_id(number), **settings(number, port)})
        return found


def pool_name(number: int) -> str:
    """By its number."""
    return f"pool-{number:03}"


def replica_id(number: int) -> str:
    """By its number among all."""
    return f"replica-{number:05}"


def settings(number: int, port: int) -> dict[str, Any]:
    """Of a replica, as the API takes them; each is at an address of loopback of its own."""
    high, low = divmod(number + 1, 256)
    return {"address": f"127.1.{high}.{low}:{port}", "slots": 2, "ttl": TTL}
