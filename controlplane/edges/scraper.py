"""Asks replicas for their metrics and, until they are ready, for their health.

One task per replica, so that one which hangs delays no other. In come targets, out go readings,
failures and probes, each within the target's interval.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol
from zlib import crc32

import aiohttp

from controlplane.plane import Failure, Probe, Target
from controlplane.signals import ExpositionError, Reading, profile_of, read

_log = logging.getLogger(__name__)

MAX_BYTES: Final = 4 << 20
"""Of an exposition; a longer one is a failed scrape."""

MAX_DEADLINE: Final = 10.0
"""Seconds; the deadline of a scrape is its interval, and never more than this."""

# No redirects: an address is a host and a port that somebody registered, not a place to be sent
# on from. No compression: nothing that is small on the wire can be large in memory.
_HEADERS: Final = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}

Key = tuple[str, str, int]


class Scraped(Protocol):
    """Who is asked for targets and told what came of them; `plane.Plane` is one."""

    def targets(self) -> Sequence[Target]:
        """What is to be scraped."""

    def target(self, pool: str, replica_id: str) -> Target | None:
        """One of them as it is now; None when it is no longer there."""

    def record(self, target: Target, outcome: Reading | Failure, now: float) -> None:
        """Take in a scrape."""

    def probed(self, target: Target, probe: Probe, now: float) -> None:
        """Take in the answer to a health probe."""


class Scraper:
    """Keeps one task for each target; `run` it, and `reconcile` when the fleet has changed."""

    def __init__(
        self,
        plane: Scraped,
        noticed: Callable[[], None],
        *,
        scraped: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a scraper.

        Args:
            plane: Has the targets, takes what comes of them.
            noticed: Called after anything was recorded; must not block.
            scraped: Called after every scrape, with whether it was good; must not block.
            clock: Seconds that never go back.
        """
        self._plane = plane
        self._noticed = noticed
        self._scraped = scraped
        self._clock = clock
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._changed.set()

    def reconcile(self) -> None:
        """Have tasks begin for new targets and end for those that are gone."""
        self._changed.set()

    async def run(self) -> None:
        """Scrape until cancelled."""
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        async with (
            aiohttp.ClientSession(
                connector=connector, headers=_HEADERS, trust_env=False, auto_decompress=False
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            while await self._changed.wait():
                self._changed.clear()
                wanted = {target.key: target for target in self._plane.targets()}
                for key in self._tasks.keys() - wanted.keys():
                    self._tasks.pop(key).cancel()
                for key in wanted.keys() - self._tasks.keys():
                    follow = self._follow(session, wanted[key])
                    self._tasks[key] = group.create_task(follow, name=f"scrape {key[0]}/{key[1]}")

    async def _follow(self, session: aiohttp.ClientSession, target: Target) -> None:
        """Scrape one replica at its interval, as long as it is that replica."""
        due = self._clock()
        first = True
        while (now := self._plane.target(target.pool, target.replica.id)) is not None:
            if now.key != target.key:
                return
            try:
                await self._once(session, now)
            except Exception as error:  # noqa: BLE001 - one replica must not end all the others
                _log.exception("a fault of ours in scraping %s/%s", now.pool, now.replica.id)
                fault = Failure(f"a fault of the control plane, see its log: {error!r}"[:300])
                self._record(now, fault)
            interval = now.settings.metrics.interval
            # Replicas that came together are spread over the interval after their first scrape.
            due += interval * _offset(now.key) if first else interval
            first = False
            due = max(due, self._clock())
            await asyncio.sleep(due - self._clock())

    async def _once(self, session: aiohttp.ClientSession, target: Target) -> None:
        deadline = min(target.settings.metrics.interval, MAX_DEADLINE)
        if target.probe:
            probe = await _probe(session, target, deadline)
            self._plane.probed(target, probe, self._clock())
            self._noticed()
        outcome = await _scrape(session, target, deadline, self._clock)
        self._record(target, outcome)
        self._noticed()

    def _record(self, target: Target, outcome: Reading | Failure) -> None:
        self._plane.record(target, outcome, self._clock())
        self._scraped(isinstance(outcome, Reading))


def _offset(key: Key) -> float:
    """A fraction from ½ to 1½ that is the same for the same replica."""
    return 0.5 + crc32(repr(key).encode()) / 2**32


async def _probe(session: aiohttp.ClientSession, target: Target, deadline: float) -> Probe:
    url = f"http://{target.replica.settings.address}{target.settings.health_check.path}"
    # A check that Envoy would still accept is not cut short by a short scraping interval.
    timeout = aiohttp.ClientTimeout(total=max(deadline, target.settings.health_check.timeout))
    try:
        async with session.get(url, allow_redirects=False, timeout=timeout) as response:
            return Probe.HEALTHY if response.status == 200 else Probe.UNHEALTHY
    except aiohttp.ClientConnectorError as error:
        return Probe.REFUSED if _is_refused(error) else Probe.UNREACHABLE
    except (aiohttp.ClientError, TimeoutError):
        return Probe.UNREACHABLE


async def _scrape(
    session: aiohttp.ClientSession, target: Target, deadline: float, clock: Callable[[], float]
) -> Reading | Failure:
    metrics = target.settings.metrics
    where = f"GET {metrics.path} on {target.replica.settings.address}"
    url = f"http://{target.replica.settings.address}{metrics.path}"
    timeout = aiohttp.ClientTimeout(total=deadline)
    try:
        async with session.get(url, allow_redirects=False, timeout=timeout) as response:
            if response.status != 200:
                return Failure(f"{where} answers {response.status}, not 200")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                return Failure(f"{where} answers compressed, which was not asked for")
            at = clock()
            body = await _body(response)
    except TimeoutError:
        return Failure(f"{where} took longer than {deadline:g} s")
    except aiohttp.ClientConnectorError as error:
        refused = _is_refused(error)
        why = "nobody listens" if refused else error.os_error.strerror or "cannot connect"
        return Failure(f"{where}: {why}", refused=refused)
    except aiohttp.ClientError as error:
        return Failure(f"{where}: {type(error).__name__}: {str(error)[:200]}")
    if body is None:
        return Failure(f"{where} is longer than {MAX_BYTES >> 20} MiB")
    try:
        return read(body.decode("utf-8"), profile_of(metrics), at)
    except UnicodeDecodeError:
        return Failure(f"{where} is not UTF-8 text")
    except ExpositionError as error:
        return Failure(f"{where}: {error}")


async def _body(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, or None when it is longer than `MAX_BYTES`."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            response.close()
            return None
    return bytes(body)


def _is_refused(error: aiohttp.ClientConnectorError) -> bool:
    return isinstance(error.os_error, ConnectionRefusedError)
