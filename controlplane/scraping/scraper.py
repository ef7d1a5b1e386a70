"""Asks replicas for their metrics, and exporters for GPU memory.

One task for each, so that one which hangs delays no other. In come targets, out go readings and
failures, each within the target's interval.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from controlplane.config import Address, GpuSettings, MetricsSettings
from controlplane.config.metrics import AccessSettings
from controlplane.fleet import Change
from controlplane.plane import Exporter, Failure, Plane, Target
from controlplane.scraping.http_connection import Receiver
from controlplane.scraping.probe import name_of, upstream_access
from controlplane.scraping.replica_tasks import Pace, ReplicaTasks
from controlplane.scraping.scrape import MAX_DEADLINE, Access, Getter, ScrapeError, scrape
from controlplane.telemetry import (
    ExpositionError,
    Reading,
    device_profile_of,
    profile_of,
    read,
    read_devices,
)

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
        clock: Callable[[], float] = time.monotonic,
        folder: Path = Path(),
    ) -> None:
        self._plane = plane
        self._noticed = noticed
        self._scraped = scraped
        self._clock = clock
        self._folder = folder
        self._accesses: dict[AccessSettings, Access] = {}
        self._tasks = ReplicaTasks(
            plane, self._follow, "scrape", lambda target: target.settings.metrics.is_scraped
        )
        self._exporters: dict[Exporter, asyncio.Task[None]] = {}
        self._receiver = Receiver(clock)

    def reconcile(self, changes: Iterable[Change]) -> None:
        """Have tasks begin for new targets and end for those that are gone."""
        self._tasks.reconcile(changes)

    async def run(self) -> None:
        """Scrape until cancelled."""
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
            self._accesses[settings] = Access(settings, self._folder, self._clock)
        return self._accesses[settings]

    async def _watch(self, exporter: Exporter) -> None:
        """Scrape an exporter at its interval until cancelled."""
        settings, profile = exporter.settings, device_profile_of(exporter.settings)
        with closing(Getter(self._receiver)) as getter:
            while True:
                due = self._clock() + settings.interval
                outcome = await _read(
                    getter,
                    exporter.address,
                    settings,
                    self.access(exporter.access),
                    lambda text, _: read_devices(text, profile),
                )
                self._plane.record_devices(exporter, outcome, self._clock())
                self._noticed()
                await asyncio.sleep(max(due - self._clock(), 0.0))

    async def _follow(self, target: Target) -> None:
        """Scrape one replica for as long as it is the same one and has metrics."""
        pace = Pace(target.key, self._clock())
        with closing(Getter(self._receiver)) as getter:
            while (now := self._plane.target(target.pool, target.replica.id)) is not None:
                if now.key != target.key or not now.settings.metrics.is_scraped:
                    return
                try:
                    await self._scrape(getter, now)
                except Exception:  # noqa: BLE001 - one replica must not end all the others
                    _log.exception("a fault of ours in scraping %s/%s", now.pool, now.replica.id)
                interval = now.settings.metrics.interval
                await asyncio.sleep(pace.wait(interval, self._clock()))

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
        self._plane.record(target, outcome, self._clock())
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
        _log.exception("a fault of ours in scraping %s", address)
        return Failure(f"a fault of the control plane, see its log: {error!r}"[:300])
