"""Where a replica stands in its pool: what the builder of endpoints takes from decisions."""

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Portion:
    """One replica as Envoy is to see it.

    Attributes:
        tier: The group of replicas of like capacity that it is balanced in; empty where the policy
            has no tiers.
        weight: Its share relative to the pool's other replicas, at least 1; the same for every
            replica of a tier, and for all where the policy has no weights.
        draining: Whether it gets no new requests.
        healthy: Whether the control plane takes it to be well. Envoys see that for themselves, and
            gRPC clients do not.
    """

    tier: str
    weight: int
    draining: bool = False
    healthy: bool = True


@lru_cache(maxsize=4096)
def portion_of(tier: str, weight: int, draining: bool, healthy: bool = True) -> Portion:  # noqa: FBT001, FBT002 - keywords are slower
    """A portion; the same object for all that are alike, so that they are compared by identity."""
    return Portion(tier, weight, draining, healthy)
