"""Asks replicas for their metrics and, until they are ready, for their health.

One task per replica, and one per exporter of GPU memory, so that one which hangs delays no other.
In come targets, out go readings, failures and probes, each within the target's interval.

A probe is a connection of its own. Ten thousand replicas that are all asked twice a second take
more than a core, none is answered in time, and so all are asked again for ever: probes are in
progress 64 at a time (`AT_ONCE`), and when many replicas are not ready each is asked more rarely.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol
from zlib import crc32

from controlplane.config import GpuSettings, MetricsSettings
from controlplane.config.metrics import AccessSettings
from controlplane.fleet import Change, Fleet, Key
from controlplane.plane import Exporter, Failure, Probe, Target
from controlplane.scraping.access import Access
from controlplane.scraping.http_get import Getter
from controlplane.scraping.probe import Prober, name_of, probing, upstream_access
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
from controlplane.turns import Turns

_log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Probes in progress: the last of them is answered long before its second is over, as each takes
half a millisecond of CPU. Where nobody answers at all, so many are asked in the time of one."""

PROBES_A_SECOND: Final = 300.0
"""Of replicas that are asked again, all together: a fifth of a core. Up to 150 that are not ready
are each asked twice a second; of 10,000 each one every half a minute."""


class Scraped(Protocol):
    """Who is asked what to scrape and told what came of it; `plane.Plane` is one."""

    @property
    def fleet(self) -> Fleet:
        """Who there is to be scraped."""

    def target(self, pool: str, replica_id: str) -> Target | None:
        """One replica as it is now; None when it is no longer there."""

    def record(self, target: Target, outcome: Reading | Failure, now: float) -> None:
        """Take in a scrape."""

    def probed(self, target: Target, probe: Probe, now: float) -> None:
        """Take in the answer to a health probe."""

    def exporters(self) -> Sequence[Exporter]:
        """Where GPU memory is to be read."""

    def record_devices(
        self, exporter: Exporter, outcome: tuple[Device, ...] | Failure, now: float
    ) -> None:
        """Take in a scrape of one of them."""


class Scraper:
    """Keeps one task for each target; `run` it, and `reconcile` when the fleet has changed."""

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
        # By pool and replica id, with the generation that is asked.
        self._tasks: dict[tuple[str, str], tuple[int, asyncio.Task[None]]] = {}
        self._exporters: dict[Exporter, asyncio.Task[None]] = {}
        # Those that have been asked and were not ready.
        self._unready: set[Hashable] = set()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._receiver = receiver(clock)
        # What has changed since tasks were begun and ended last.
        self._dirty: set[Key] = {(name, None) for name in plane.fleet.pools}
        self._changed = asyncio.Event()
        self._changed.set()

    def reconcile(self, changes: Iterable[Change]) -> None:
        """Have tasks begin for new targets and end for those that are gone."""
        self._dirty.update((it.pool, it.replica) for it in changes)
        self._changed.set()

    async def run(self) -> None:
        """Scrape until cancelled."""
        async with probing(self.access) as prober, asyncio.TaskGroup() as group:

            def begin(key: Hashable, following: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
                return group.create_task(following, name=f"scrape {key}")

            while await self._changed.wait():
                self._changed.clear()
                dirty, self._dirty = self._dirty, set()
                turns = Turns()
                for name, id_ in self._replicas(dirty):
                    target = self._plane.target(name, id_)
                    known = self._tasks.get((name, id_))
                    if known and (target is None or target.replica.generation != known[0]):
                        del self._tasks[name, id_]
                        known[1].cancel()
                    if target is not None and (name, id_) not in self._tasks:
                        task = begin(target.key, self._follow(prober, target))
                        self._tasks[name, id_] = target.replica.generation, task
                    await turns.give_way()
                # One that is to be asked more often, or in another way, is another one.
                wanted = set(self._plane.exporters())
                for gone in self._exporters.keys() - wanted:
                    self._exporters.pop(gone).cancel()
                for exporter in wanted - self._exporters.keys():
                    self._exporters[exporter] = begin(exporter, self._watch(exporter))

    def _replicas(self, dirty: Iterable[Key]) -> dict[tuple[str, str], None]:
        """Who may have to be followed from now on, or no longer: with a pool, all of it."""
        pools = {name for name, id_ in dirty if id_ is None}
        found = {(name, id_): None for name, id_ in dirty if id_ is not None}
        found |= {key: None for key in self._tasks if key[0] in pools}
        fleet = self._plane.fleet.pools
        return found | {
            (name, id_): None for name in pools if name in fleet for id_ in fleet[name].replicas
        }

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
                outcome = read_devices(text, profile)
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

    async def _follow(self, prober: Prober, target: Target) -> None:
        """Ask one replica for as long as it is the same one and there is anything to be asked."""
        try:
            with closing(Getter(self._receiver)) as getter:
                await self._ask(prober, getter, target)
        finally:
            self._unready.discard(target.key)
            prober.forget(target.pool, target.replica.id)

    async def _ask(self, prober: Prober, getter: Getter, target: Target) -> None:
        due = probe_due = self._clock()
        first = True
        while (now := self._plane.target(target.pool, target.replica.id)) is not None:
            if now.key != target.key:
                return
            is_scraped, interval = now.settings.metrics.is_scraped, now.settings.metrics.interval
            try:
                if now.probe and (due >= probe_due or not is_scraped):
                    await self._probe(prober, now)
                    probe_due = due + self._probe_interval(interval) - interval
                if is_scraped:
                    await self._scrape(getter, now)
            except Exception as error:  # noqa: BLE001 - one replica must not end all the others
                _log.exception("a fault of ours in scraping %s/%s", now.pool, now.replica.id)
                fault = Failure(f"a fault of the control plane, see its log: {error!r}"[:300])
                self._record(now, fault)
            after = self._plane.target(target.pool, target.replica.id) if now.probe else now
            if after is not None and not after.probe:
                self._unready.discard(target.key)
                probe_due = due
                if not after.settings.metrics.is_scraped:
                    if after.key == target.key:
                        self._tasks.pop((target.pool, target.replica.id), None)
                    return
            if not is_scraped:
                interval = self._probe_interval(interval)
            # Replicas that came together are spread over the interval after their first scrape.
            due += interval * offset(now.key) if first else interval
            first = False
            # Whoever is late keeps its turn: all late at once would else be asked at once for ever.
            late = self._clock() - due
            due += max(late // interval, 0.0) * interval
            await asyncio.sleep(max(due - self._clock(), 0.0))

    def _probe_interval(self, interval: float) -> float:
        """Seconds between two probes of a replica that is not ready: longer the more there are."""
        return max(interval, len(self._unready) / PROBES_A_SECOND)

    async def _probe(self, prober: Prober, target: Target) -> None:
        # Its time begins when it is its turn: whoever waits for us has not failed to answer.
        async with self._at_once:
            found = await prober.probe(target)
        if found is not Probe.HEALTHY:
            self._unready.add(target.key)
        self._plane.probed(target, found, self._clock())
        self._noticed()

    async def _scrape(self, getter: Getter, target: Target) -> None:
        outcome = await _read(getter, target, self.access(_scraped_by(target)))
        self._record(target, outcome)
        self._noticed()

    def _record(self, target: Target, outcome: Reading | Failure) -> None:
        self._plane.record(target, outcome, self._clock())
        self._scraped(isinstance(outcome, Reading))


def offset(key: Hashable) -> float:
    """A fraction from ½ to 1½ that is the same for the same replica."""
    return 0.5 + crc32(repr(key).encode()) / 2**32


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
        return read(text, profile_of(metrics), at)
    except ScrapeError as error:
        # Who refuses on a port of its metrics alone may still serve requests.
        return Failure(str(error), error.refused and address == target.replica.settings.address)
    except ExpositionError as error:
        return Failure(f"GET {metrics.path} on {address}: {error}")
