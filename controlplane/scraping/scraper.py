"""Asks replicas for their metrics, and exporters for GPU memory.

One task for each, so that one which hangs delays no other. In come targets, out go readings and
failures, each within the target's interval.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from controlplane.config import GpuSettings, MetricsSettings
from controlplane.config.metrics import AccessSettings
from controlplane.fleet import Change
from controlplane.plane import Exporter, Failure, Target
from controlplane.scraping.access import Access
from controlplane.scraping.http_get import Getter
from controlplane.scraping.probe import name_of, upstream_access
from controlplane.scraping.replica_tasks import Followed, ReplicaTasks, offset
from controlplane.scraping.scrape import MAX_DEADLINE, ScrapeError, receiver, scrape
from controlplane.telemetry import (
    Device,
    ExpositionError,
    Reading,
    device_profile_of,
    profile_of,
    read,
    read_devices,
)

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Scraped(Followed, Protocol):
    """Who is asked what to scrape and told what came of it; `plane.Plane` is one."""

    def record(self, target: Target, outcome: Reading | Failure, now: float) -> None:
        """Take in a scrape."""

    def exporters(self) -> Sequence[Exporter]:
        """Where GPU memory is to be read."""

    def record_devices(
        self, exporter: Exporter, outcome: tuple[Device, ...] | Failure, now: float
    ) -> None:
        """Take in a scrape of one of them."""


class Scraper:
    """Scrapes every target; `run` it, and `reconcile` when the fleet has changed."""

    def __init__(
        self,
        plane: Scraped,
        noticed: Callable[[], None],
        *,
        scraped: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
        folder: Path = Path(),
    ) -> None:
        """Prepare a scraper.

        Args:
            plane: Has the targets, takes what comes of them.
            noticed: Called after anything was recorded; must not block.
            scraped: Called after every scrape, with whether it was good; must not block.
            clock: Seconds that never go back.
            folder: That the paths of files with credentials are relative to.
        """
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
        self._receiver = receiver(clock)

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
        with closing(Getter(self._receiver)) as getter:
            await self._read(getter, exporter)

    async def _read(self, getter: Getter, exporter: Exporter) -> None:
        settings = exporter.settings
        profile = device_profile_of(settings)
        deadline = _deadline(settings)
        while True:
            due = self._clock() + settings.interval
            outcome: tuple[Device, ...] | Failure
            try:
                text, _ = await scrape(
                    getter,
                    exporter.address,
                    settings.path,
                    deadline,
                    most=settings.max_bytes,
                    access=self.access(exporter.access),
                )
                outcome = await _in_turn(text, partial(read_devices, text, profile))
            except ScrapeError as error:
                outcome = Failure(str(error), error.refused)
            except ExpositionError as error:
                outcome = Failure(f"GET {settings.path} on {exporter.address}: {error}")
            except Exception as error:  # noqa: BLE001 - one exporter must not end all the others
                _log.exception("a fault of ours in scraping %s", exporter.address)
                outcome = Failure(f"a fault of the control plane, see its log: {error!r}"[:300])
            self._plane.record_devices(exporter, outcome, self._clock())
            self._noticed()
            await asyncio.sleep(max(due - self._clock(), 0.0))

    async def _follow(self, target: Target) -> None:
        """Scrape one replica for as long as it is the same one and has metrics."""
        with closing(Getter(self._receiver)) as getter:
            await self._ask(getter, target)

    async def _ask(self, getter: Getter, target: Target) -> None:
        due, first = self._clock(), True
        while (now := self._plane.target(target.pool, target.replica.id)) is not None:
            metrics = now.settings.metrics
            if now.key != target.key or not metrics.is_scraped:
                return
            try:
                await self._scrape(getter, now)
            except Exception as error:  # noqa: BLE001 - one replica must not end all the others
                _log.exception("a fault of ours in scraping %s/%s", now.pool, now.replica.id)
                fault = Failure(f"a fault of the control plane, see its log: {error!r}"[:300])
                self._record(now, fault)
            # Replicas that came together are spread over the interval after their first scrape.
            due += metrics.interval * offset(now.key) if first else metrics.interval
            first = False
            # Whoever is late keeps its turn: all late at once would else be asked at once for ever.
            late = self._clock() - due
            due += max(late // metrics.interval, 0.0) * metrics.interval
            await asyncio.sleep(max(due - self._clock(), 0.0))

    async def _scrape(self, getter: Getter, target: Target) -> None:
        outcome = await _read(getter, target, self.access(_scraped_by(target)))
        self._record(target, outcome)
        self._noticed()

    def _record(self, target: Target, outcome: Reading | Failure) -> None:
        self._plane.record(target, outcome, self._clock())
        self._scraped(isinstance(outcome, Reading))


LONG: Final = 1 << 17
"""Characters of an exposition from which on others are not to wait until it is read: that takes
some 30 ms for each million, and more where its labels are new."""


async def _in_turn(text: str, reading: Callable[[], T]) -> T:
    """Read a text, a long one in another thread."""
    return reading() if len(text) < LONG else await asyncio.to_thread(reading)


def _deadline(settings: MetricsSettings | GpuSettings) -> float:
    """Seconds for one scrape."""
    return settings.timeout or min(settings.interval, MAX_DEADLINE)


def _scraped_by(target: Target) -> AccessSettings | None:
    """How a replica is scraped: as the pool says, and otherwise as it is reached.

    Where metrics have a port of their own, nothing follows from the one that serves requests.
    """
    own, served = target.settings.metrics.port, target.replica.settings.address.port
    if target.access is not None or own not in (None, served):
        return target.access
    return upstream_access(target.settings)


async def _read(getter: Getter, target: Target, access: Access | None) -> Reading | Failure:
    metrics = target.settings.metrics
    address = metrics.where(target.replica.settings.address)
    try:
        text, at = await scrape(
            getter,
            address,
            metrics.path,
            _deadline(metrics),
            most=metrics.max_bytes,
            access=access,
            server_name=name_of(target) if target.access is None else None,
        )
        return await _in_turn(text, partial(read, text, profile_of(metrics), at))
    except ScrapeError as error:
        # Who refuses on a port of its metrics alone may still serve requests.
        return Failure(str(error), error.refused and address == target.replica.settings.address)
    except ExpositionError as error:
        return Failure(f"GET {metrics.path} on {address}: {error}")
