"""Runs the sources of all pools, one task each, and tells the plane what they find."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Final

from controlplane.config import DirectorySettings, DiscoverySettings, DnsSettings, PoolEntry
from controlplane.discovery.directory import DirectorySource
from controlplane.discovery.docker import DockerSource
from controlplane.discovery.source import Source, SourceError
from controlplane.plane import Plane

_log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds until a source that failed is asked again; they double with each failure."""

RECHECK_SECONDS: Final = 1.0
"""How often it is looked whether a replica that no source has any more may go by now."""


def open_source(settings: DiscoverySettings, base: Path = Path()) -> Source:
    """The source that settings describe; `base` is what paths are relative to."""
    match settings.source:
        case DnsSettings() as dns:
            # Not before it is needed: with what it can do beside, it takes 6 MB.
            from controlplane.discovery.dns import DnsSource

            return DnsSource(dns)
        case DirectorySettings() as directory:
            return DirectorySource(directory, base)
        case docker:
            return DockerSource(docker)


class Discovery:
    """Keeps one task for each source; `run` it, and `follow` when the config has changed."""

    def __init__(
        self,
        plane: Plane,
        discover: Callable[[], Awaitable[None]],
        failed: Callable[[], None],
        *,
        open_source: Callable[[DiscoverySettings], Source] = open_source,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._plane = plane
        self._discover = discover
        self._failed = failed
        self._open = open_source
        self._clock = clock
        self._sleep = sleep
        self._wanted: dict[tuple[str, str], DiscoverySettings] = {}
        self._tasks: dict[tuple[str, str], tuple[DiscoverySettings, asyncio.Task[None]]] = {}
        self._to_reconcile = asyncio.Event()

    def follow(self, pools: Iterable[PoolEntry]) -> None:
        """Follow the sources of these pools and no others."""
        self._wanted = {(pool.name, str(each)): each for pool in pools for each in pool.discovery}
        self._to_reconcile.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recheck(), name="discovery")
            while await self._to_reconcile.wait():
                self._to_reconcile.clear()
                # One whose other settings have changed is another one: it begins anew.
                for key, (settings, task) in tuple(self._tasks.items()):
                    if self._wanted.get(key) != settings:
                        task.cancel()
                        del self._tasks[key]
                for key in self._wanted.keys() - self._tasks.keys():
                    settings = self._wanted[key]
                    follow = self._follow(*key, self._open(settings))
                    self._tasks[key] = settings, group.create_task(follow, name=f"discover {key}")

    async def _follow(self, pool: str, name: str, source: Source) -> None:
        pause = FIRST_PAUSE
        logged: str | None = None
        while True:
            try:
                async with aclosing(source.sets()) as sets:
                    async for found in sets:
                        pause = FIRST_PAUSE
                        logged = _say(pool, name, found.problem, logged)
                        self._plane.discoveries.found(
                            pool,
                            name,
                            found.replicas,
                            found.problem,
                            self._clock(),
                            is_whole=found.is_whole,
                        )
                        await self._discover()
                problem = "the source ended unexpectedly"
            except SourceError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - one source must not end all the others
                _log.exception("a fault of the control plane in %s of pool %s", name, pool)
                problem = f"a fault of the control plane, see its log: {error!r}"[:300]
            logged = _say(pool, name, f"{problem}; the replicas it found before stay", logged)
            self._plane.discoveries.failed(pool, name, problem)
            self._failed()
            # Sources that failed together, because one network did, are not asked again together.
            await self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _recheck(self) -> None:
        """Let go what had to stay, once others serve in its place or it serves no more."""
        logged: dict[str, str | None] = {}
        while True:
            await self._sleep(RECHECK_SECONDS)
            if self._plane.discoveries.withholds:
                await self._discover()
            for pool in {pool for pool, _ in self._wanted}:
                logged[pool] = _say(
                    pool, "discovery", _unsettled(self._plane, pool), logged.get(pool)
                )


def _unsettled(plane: Plane, pool: str) -> str | None:
    """What of the answers of a pool's sources is not followed; None if all of it is."""
    report = plane.discoveries.report(pool)
    if report.withheld:
        return (
            f"{', '.join(report.withheld[:5])}{', …' if len(report.withheld) > 5 else ''} stay,"
            " though no source has them any more: too few would be left"
        )
    return report.clashes[0] if report.clashes else None


def _say(pool: str, name: str, problem: str | None, logged: str | None) -> str | None:
    """Log a problem once, and that it is over; returns the problem."""
    if problem is not None and problem != logged:
        _log.warning("pool %s, %s: %s", pool, name, problem)
    elif problem is None and logged is not None:
        _log.info("pool %s, %s: it works again", pool, name)
    return problem
