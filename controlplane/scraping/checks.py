"""Asks replicas for their health: before Envoys may know of them, and ever after.

Envoys check the replicas that they know, and tell nobody. Zones, scaling and clients of gRPC need
to know which replicas serve, so the control plane goes on asking.

A check is a connection of its own. Ten thousand replicas that are all asked twice a second take
more than a core, none is answered in time, and so all are asked again for ever: checks are in
progress 64 at a time (`AT_ONCE`), and where there are many replicas each is asked more rarely. One
that may have failed is asked soon in any case.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from itertools import islice
from typing import Final

from controlplane.config.metrics import AccessSettings
from controlplane.fleet import Change
from controlplane.plane import Plane, Probe, Target
from controlplane.scraping.probe import Prober, probing
from controlplane.scraping.scrape import Access
from controlplane.scraping.scraper import Pace, ReplicaTasks

_log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Checks in progress: the last of them is answered long before its second is over, as each takes
half a millisecond of CPU. Where nobody answers at all, so many are asked in the time of one."""

PROBES_A_SECOND: Final = 300.0
"""Of replicas that are not ready or whose last check failed, all together: a fifth of a core. Up to
150 that are not ready are each asked twice a second; of 10,000 each one every half a minute.
Likewise of those whose clients check none themselves: gRPC's, and Istio's sidecars."""

CHECKS_A_SECOND: Final = 100.0
"""Of ready replicas that Envoys check, too. Of a thousand each one is asked every ten seconds."""

LOOK: Final = 0.5
"""Seconds between two looks at which replicas may have failed, and whose clients check nothing."""
AT_A_LOOK: Final = 50
"""Replicas that are asked at once because they may have failed."""
FOR_CLIENTS: Final = 2.0
"""Checks in the interval of the pool's health check where clients check nothing: a replica that
hangs is found within an interval and a half and two timeouts."""


class HealthChecks:
    """Checks every replica; `run` it, and `reconcile` when the fleet has changed."""

    def __init__(
        self,
        plane: Plane,
        pools: Callable[[], Collection[str]],
        noticed: Callable[[], None],
        access: Callable[[AccessSettings | None], Access | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plane, self._pools, self._noticed, self._clock = plane, pools, noticed, clock
        self._access = access
        self._prober: Prober
        self._used: Collection[str] = ()
        # Those that were not ready or well when they were asked last.
        self._unready: set[Hashable] = set()
        # Of those that wait for their turn: set where it is to come sooner.
        self._soon: dict[tuple[str, str], asyncio.Event] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks = ReplicaTasks(plane, self._follow, "check")

    def reconcile(self, changes: Iterable[Change]) -> None:
        """Have checks begin of new replicas and end of those that are gone."""
        self._tasks.reconcile(changes)

    async def run(self) -> None:
        async with probing(self._access) as self._prober, asyncio.TaskGroup() as group:
            group.create_task(self._look(), name="replicas that may have failed")
            await self._tasks.run(group)

    async def _look(self) -> None:
        while True:
            self._used = self._pools()
            for key in islice(self._plane.suspected(), AT_A_LOOK):
                if (soon := self._soon.get(key)) is not None:
                    soon.set()
            await asyncio.sleep(LOOK)

    async def _follow(self, target: Target) -> None:
        key, at = target.key, (target.pool, target.replica.id)
        soon = self._soon[at] = asyncio.Event()
        pace = Pace(key, self._clock())
        try:
            while (now := self._plane.target(*at)) is not None and now.key == key:
                soon.clear()
                interval = await self._check(now)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pace.wait(interval, self._clock())):
                        await soon.wait()
                        pace.due = self._clock()
        finally:
            self._unready.discard(key)
            if self._soon.get(at) is soon:
                del self._soon[at]
                self._prober.forget(*at)

    async def _check(self, target: Target) -> float:
        """Ask a replica; returns the seconds until it is to be asked again."""
        found = Probe.UNREACHABLE
        try:
            # Its time begins when it is its turn: whoever waits for us has not failed to answer.
            async with self._at_once:
                found = await self._prober.probe(target)
            self._plane.probed(target, found, self._clock())
        except Exception:  # noqa: BLE001 - one replica must not end all the others
            _log.exception(
                "a fault of the control plane in checking %s/%s", target.pool, target.replica.id
            )
        self._noticed()
        interval = target.settings.health_check.interval
        after = self._plane.target(target.pool, target.replica.id)
        if after is not None and after.probe:
            interval = after.settings.metrics.interval
        elif found is Probe.HEALTHY:
            self._unready.discard(target.key)
            if target.pool in self._used:
                return max(interval / FOR_CLIENTS, len(self._tasks) / PROBES_A_SECOND)
            return max(interval, len(self._tasks) / CHECKS_A_SECOND)
        self._unready.add(target.key)
        return max(interval, len(self._unready) / PROBES_A_SECOND)
