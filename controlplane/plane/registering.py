"""After a registry was lost: whether replicas have had the time to register themselves again.

A pool without endpoints has Envoys answer 503 at once. Where nothing is kept, a pool that is empty
now may have had replicas a moment ago, that will be back with their next heartbeat.
"""

from typing import Final

from controlplane.fleet import Fleet
from controlplane.plane.discoveries import Discoveries

REGISTER_SECONDS: Final = 15.0
"""After there is a first pool; a heartbeat comes every third of a ``ttl``, which often is 30 s."""


class Registering:
    """Whether Envoys are to be kept waiting for replicas that register themselves."""

    def __init__(self) -> None:
        self._is_lost = False
        self._since: float | None = None

    def lost(self) -> None:
        """Nothing is kept, not even that there was nothing: a registry was lost, or never was."""
        self._is_lost = True

    def adopt(self, fleet: Fleet, now: float) -> None:
        """Follow the fleet."""
        if self._since is None and fleet.pools:
            self._since = now

    def is_awaited(self, now: float) -> bool:
        """Whether it may still be that some have not had the time."""
        return self._is_lost and self._since is not None and now - self._since < REGISTER_SECONDS

    def is_missing(self, fleet: Fleet, discoveries: Discoveries) -> bool:
        """Whether a pool is empty that nothing fills but replicas that register themselves."""
        return any(
            not pool.replicas and not discoveries.report(name).sources
            for name, pool in fleet.pools.items()
        )
