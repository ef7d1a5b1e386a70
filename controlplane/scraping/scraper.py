"""Asks replicas for their metrics, and exporters for GPU memory.

One task for each, so that one which hangs delays no other. In come targets, out go readings and
failures, each within the target's interval.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Hashable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar
from zlib import crc32

from controlplane.config import Address, GpuSettings, MetricsSettings
from controlplane.config.metrics import AccessSettings
from controlplane.fleet import Change, Key
from controlplane.plane import Exporter, Failure, Plane, Target
from controlplane.scraping.probe import name_of, upstream_access
from controlplane.scraping.scrape import MAX_DEADLINE, Access, Getter, Receiver, ScrapeError, scrape
from controlplane.telemetry import (
    ExpositionError,
    Reading,
    device_profile_of,
    profile_of,
    read,
    read_devices,
)
from controlplane.turns import Turns


class ReplicaTasks:
    """Follows the fleet; `run` it, and `reconcile` when the fleet has changed."""

    def __init__(
        self,
        plane: Plane,
        follow: Callable[[Target], Coroutine[Any, Any, None]],
        name: str,
        is_followed: Callable[[Target], bool] = lambda _: True,
    ) -> None:
        """Prepare.

        Args:
            follow: What the task of a replica does; it ends by itself where `is_followed` no longer
                holds, and is cancelled when there is another process in the replica's place.
            name: Of the tasks.
        """
        self._plane, self._follow, self._name = plane, follow, name
        self._is_followed = is_followed
        # By pool and replica id, with the generation that is followed.
        self._tasks: dict[tuple[str, str], tuple[int, asyncio.Task[None]]] = {}
        # What has changed since tasks were begun and ended last.
        self._dirty: set[Key] = {(name, None) for name in plane.fleet.pools}
        self._changed = asyncio.Event()
        self._changed.set()

    def __len__(self) -> int:
        return len(self._tasks)

    def reconcile(self, changes: Iterable[Change]) -> None:
        """Start tasks for new replicas, and end the tasks of replicas that are gone."""
        self._dirty.update((change.pool, change.replica) for change in changes)
        self._changed.set()

    async def run(
        self, group: asyncio.TaskGroup, changed: Callable[[], None] = lambda: None
    ) -> None:
        """Follow the fleet until cancelled; `changed` is called after every look at changes."""
        while await self._changed.wait():
            self._changed.clear()
            dirty, self._dirty = self._dirty, set()
            turns = Turns()
            for name, id_ in self._replicas(dirty):
                target = self._plane.target(name, id_)
                if target is not None and not self._is_followed(target):
                    target = None
                known = self._tasks.get((name, id_))
                if known and (target is None or target.replica.generation != known[0]):
                    del self._tasks[name, id_]
                    known[1].cancel()
                if target is not None and (name, id_) not in self._tasks:
                    task = group.create_task(
                        self._follow(target), name=f"{self._name} {target.key}"
                    )
                    self._tasks[name, id_] = target.replica.generation, task
                await turns.give_way()
            changed()

    def _replicas(self, dirty: Iterable[Key]) -> dict[tuple[str, str], None]:
        """Who may have to be followed from now on, or no longer: with a pool, all of it."""
        pools = {name for name, id_ in dirty if id_ is None}
        found = {(name, id_): None for name, id_ in dirty if id_ is not None}
        found |= {key: None for key in self._tasks if key[0] in pools}
        fleet = self._plane.fleet.pools
        return found | {
            (name, id_): None for name in pools if name in fleet for id_ in fleet[name].replicas
        }


class Pace:
    """When a replica is asked next, so that many that came together are spread over the interval.

    `due`: when that is to be, seconds of a clock.
    """

    def __init__(self, key: Hashable, now: float) -> None:
        """The first time is now."""
        # A fraction from ½ to 1½ that is the same for the same replica.
        self._part = 0.5 + crc32(repr(key).encode()) / 2**32
        self.due = now

    def wait(self, interval: float, now: float) -> float:
        """Seconds to wait from now on, at an interval."""
        self.due += interval * self._part
        self._part = 1.0
        # A late replica keeps its turn: all late ones would else be asked at once, for ever.
        self.due += max((now - self.due) // interval, 0.0) * interval
        return max(self.due - now, 0.0)


_log = logging.getLogger(__name__)

T = TypeVar("T")


class Scraper:
    """Scrapes every target; `run` it, and `reconcile` when the fleet has changed."""

    def __init__(
        self,
        plane: Plane,
        noticed: Callable[[], None],
        *,
        scraped: Callable[[bool], None],
        folder: Path = Path(),
    ) -> None:
        self._plane = plane
        self._noticed = noticed
        self._scraped = scraped
        self._folder = folder
        self._accesses: dict[AccessSettings, Access] = {}
        self._tasks = ReplicaTasks(
            plane, self._follow, "scrape", lambda target: target.settings.metrics.is_scraped
        )
        self._exporters: dict[Exporter, asyncio.Task[None]] = {}
        self._receiver = Receiver()

    def reconcile(self, changes: Iterable[Change]) -> None:
        """Have tasks begin for new targets and end for those that are gone."""
        self._tasks.reconcile(changes)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:

            def follow_exporters() -> None:
                # One that is to be asked more often, or in another way, is another one.
                wanted = set(self._plane.exporters())
                for gone in self._exporters.keys() - wanted:
                    self._exporters.pop(gone).cancel()
                for exporter in wanted - self._exporters.keys():
                    task = group.create_task(self._watch(exporter), name=f"scrape {exporter}")
                    self._exporters[exporter] = task

            await self._tasks.run(group, follow_exporters)

    def access(self, settings: AccessSettings | None) -> Access | None:
        """The one that all who are asked alike share."""
        if settings is None:
            return None
        if settings not in self._accesses:
            self._accesses[settings] = Access(settings, self._folder)
        return self._accesses[settings]

    async def _watch(self, exporter: Exporter) -> None:
        """Scrape an exporter at its interval until cancelled."""
        settings, profile = exporter.settings, device_profile_of(exporter.settings)
        with closing(Getter(self._receiver)) as getter:
            while True:
                due = time.monotonic() + settings.interval
                outcome = await _read(
                    getter,
                    exporter.address,
                    settings,
                    self.access(exporter.access),
                    lambda text, _: read_devices(text, profile),
                )
                self._plane.record_devices(exporter, outcome, time.monotonic())
                self._noticed()
                await asyncio.sleep(max(due - time.monotonic(), 0.0))

    async def _follow(self, target: Target) -> None:
        """Scrape one replica for as long as it is the same one and has metrics."""
        pace = Pace(target.key, time.monotonic())
        with closing(Getter(self._receiver)) as getter:
            while (now := self._plane.target(target.pool, target.replica.id)) is not None:
                if now.key != target.key or not now.settings.metrics.is_scraped:
                    return
                try:
                    await self._scrape(getter, now)
                except Exception:  # noqa: BLE001 - one replica must not end all the others
                    _log.exception(
                        "a fault of the control plane in scraping %s/%s", now.pool, now.replica.id
                    )
                interval = now.settings.metrics.interval
                await asyncio.sleep(pace.wait(interval, time.monotonic()))

    async def _scrape(self, getter: Getter, target: Target) -> None:
        metrics, served = target.settings.metrics, target.replica.settings.address
        outcome = await _read(
            getter,
            address := metrics.where(served),
            metrics,
            self.access(_scraped_by(target)),
            lambda text, at: read(text, profile_of(metrics), at),
            server_name=name_of(target) if target.access is None else None,
        )
        if isinstance(outcome, Failure) and address != served:
            # Who refuses on a port of its metrics alone may still serve requests.
            outcome = replace(outcome, refused=False)
        self._plane.record(target, outcome, time.monotonic())
        self._scraped(isinstance(outcome, Reading))
        self._noticed()


LONG: Final = 1 << 17
"""Characters of an exposition from which on others are not to wait until it is read: that takes
some 30 ms for each million, and more where its labels are new."""


def _scraped_by(target: Target) -> AccessSettings | None:
    """Say how a replica is scraped: as the pool says, else as it is reached, on the same port."""
    own, served = target.settings.metrics.port, target.replica.settings.address.port
    if target.access is not None or own not in (None, served):
        return target.access
    return upstream_access(target.settings)


async def _read(
    getter: Getter,
    address: Address,
    settings: MetricsSettings | GpuSettings,
    access: Access | None,
    understand: Callable[[str, float], T],
    server_name: str | None = None,
) -> T | Failure:
    """Scrape once; whatever goes wrong must not end the scraping of all others."""
    try:
        text, at = await scrape(
            getter,
            address,
            settings.path,
            settings.timeout or min(settings.interval, MAX_DEADLINE),
            most=settings.max_bytes,
            access=access,
            server_name=server_name,
        )
        if len(text) >= LONG:
            return await asyncio.to_thread(understand, text, at)
        return understand(text, at)
    except ScrapeError as error:
        return Failure(str(error), error.refused)
    except ExpositionError as error:
        return Failure(f"GET {settings.path} on {address}: {error}")
    except Exception as error:  # noqa: BLE001 - as said
        _log.exception("a fault of the control plane in scraping %s", address)
        return Failure(f"a fault of the control plane, see its log: {error!r}"[:300])
