"""Checks the health of ready replicas for gRPC clients, which check none themselves.

Envoys check the replicas that they know, and the scraper asks those that are not ready. Here all
others are asked whose pool any gRPC client uses: twice in the interval of the pool's health check,
so that one that hangs is found within an interval and a half and two timeouts.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from controlplane.config.metrics import AccessSettings
from controlplane.fleet import Fleet
from controlplane.plane import Probe, Target
from controlplane.scraping.access import Access
from controlplane.scraping.probe import Prober, probing
from controlplane.scraping.scraper import AT_ONCE, PROBES_A_SECOND, offset

_log = logging.getLogger(__name__)

LOOK: Final = 0.5
"""Seconds between two looks at which pools gRPC clients use."""
IN_AN_INTERVAL: Final = 2.0
"""Checks of a replica."""

Key = tuple[str, str]


class Checked(Protocol):
    """Has the replicas, and is told what came of their checks; `plane.Plane` is one."""

    @property
    def fleet(self) -> Fleet:
        """Who there is."""

    def target(self, pool: str, replica_id: str) -> Target | None:
        """One replica as it is now; None when it is no longer there."""

    def checked(self, target: Target, probe: Probe) -> None:
        """Take in what came of a check."""


class HealthChecks:
    """Keeps one task for each replica that is to be checked; `run` it."""

    def __init__(
        self,
        plane: Checked,
        pools: Callable[[], Collection[str]],
        noticed: Callable[[], None],
        access: Callable[[AccessSettings | None], Access | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to check.

        Args:
            plane: Has the replicas.
            pools: The names of the pools that gRPC clients use.
            noticed: Called after every check; must not block.
            access: Finds what reads the certificates that are trusted.
            clock: Seconds that never go back.
        """
        self._plane, self._pools, self._noticed, self._clock = plane, pools, noticed, clock
        self._access = access
        self._used: Collection[str] = ()
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Check until cancelled."""
        async with probing(self._access) as prober, asyncio.TaskGroup() as group:
            while True:
                fleet, self._used = self._plane.fleet.pools, self._pools()
                for name in self._used:
                    for id_ in fleet[name].replicas if name in fleet else ():
                        if (name, id_) not in self._tasks:
                            follow = self._follow(prober, (name, id_))
                            task = group.create_task(follow, name=f"check {name}/{id_}")
                            self._tasks[name, id_] = task
                await asyncio.sleep(LOOK)

    async def _follow(self, prober: Prober, key: Key) -> None:
        """Check one replica for as long as it is there and its pool is used."""
        try:
            wait = offset(key) - 0.5
            while (target := self._plane.target(*key)) is not None and key[0] in self._used:
                interval = target.settings.health_check.interval / IN_AN_INTERVAL
                interval = max(interval, len(self._tasks) / PROBES_A_SECOND)
                await asyncio.sleep(interval * wait)
                begun = self._clock()
                # The scraper asks those that are not ready.
                if not target.probe:
                    await self._check(prober, target)
                # A second check after one that lasted long is due at once.
                wait = min(max(1 - (self._clock() - begun) / interval, 0.0), 1.0)
        finally:
            self._tasks.pop(key, None)
            prober.forget(*key)

    async def _check(self, prober: Prober, target: Target) -> None:
        try:
            async with self._at_once:
                found = await prober.probe(target)
            self._plane.checked(target, found)
        except Exception:  # noqa: BLE001 - one replica must not end all the others
            _log.exception("a fault of ours in checking %s/%s", target.pool, target.replica.id)
        self._noticed()
