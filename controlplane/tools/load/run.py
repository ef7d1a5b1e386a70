"""Send a workload, watch replicas meanwhile, and return what was measured."""

import asyncio
import gc
import json
import resource
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from yarl import URL

from controlplane.client import Client, ClientError, Replica
from controlplane.tools.interrupt import Interrupt, Stopped, together
from controlplane.tools.load import envoy
from controlplane.tools.load.envoy import Host, StepWatch, clusters_of, hosts_of_all
from controlplane.tools.load.generator import Generator
from controlplane.tools.load.outcome import Measured, Outcome
from controlplane.tools.load.schedule import Step, looks
from controlplane.tools.load.workload import LoadError, Workload, departures

EVERY: Final = 0.5
"""Seconds between two looks at most: requests in flight are sampled, not counted."""

ANSWER: Final = 2.0
"""Seconds for a source to answer."""

_ANSWER: Final = aiohttp.ClientTimeout(total=ANSWER)


@dataclass(frozen=True, slots=True)
class Sources:
    """What can tell what replicas get and do.

    Attributes:
        pool: That the targets lead to; also the name of Envoy's cluster.
        envoys: URLs of their admin interfaces.
    """

    pool: str = ""
    api: Client | None = None
    envoys: Sequence[str] = ()


class Watch:
    """Looks at all sources again and again."""

    def __init__(self, sources: Sources, session: aiohttp.ClientSession) -> None:
        self.steps: dict[int, StepWatch] = {}
        self._sources = sources
        self._session = session
        self._before: dict[str, dict[str, envoy.Buckets]] = {}

    async def open(self) -> None:
        """Check that every source answers."""
        pool = self._sources.pool
        for url in self._sources.envoys:
            answer = await self._get(f"{url}/clusters?format=json")
            if not isinstance(answer, dict):
                raise LoadError(f"--envoy-admin: no Envoy's admin interface answers at {url}")
            known = {str(each.get("name")) for each in answer.get("cluster_statuses", ())}
            if pool not in known:
                has = ", ".join(sorted(known)) or "none"
                raise LoadError(f"--pool: the Envoy at {url} has no cluster {pool!r}, but: {has}")
        self._before = await self._histograms()

    async def run(self, begun: float, plan: Sequence[Step]) -> None:
        """Look at both ends of every step, and between; `begun` is by the event loop's clock."""
        loop = asyncio.get_running_loop()
        for step in plan:
            for at in looks(step, EVERY):
                await asyncio.sleep(begun + at - loop.time())
                envoys, replicas = await asyncio.gather(self._hosts(), self._reported())
                watch = self.steps.setdefault(step.number, StepWatch())
                watch.add(loop.time(), envoys, replicas)

    async def hops(self) -> dict[str, dict[str, envoy.Hop]]:
        """Return what each Envoy's histograms show of the whole load."""
        after = await self._histograms()
        return {url: envoy.hops(self._before.get(url, {}), now) for url, now in after.items()}

    async def _hosts(self) -> dict[str, dict[str, Host]]:
        urls = self._sources.envoys
        answers = await asyncio.gather(
            *(self._get(f"{each}/clusters?format=json") for each in urls)
        )
        return hosts_of_all(dict(zip(urls, answers, strict=True)), self._sources.pool)

    async def _histograms(self) -> dict[str, dict[str, envoy.Buckets]]:
        urls = self._sources.envoys
        answers = await asyncio.gather(*(self._histograms_at(each) for each in urls))
        return {
            url: envoy.histograms(answer)
            for url, answer in zip(urls, answers, strict=True)
            if isinstance(answer, dict)
        }

    async def _histograms_at(self, url: str) -> Any:
        pool, known = self._sources.pool, await self._get(f"{url}/clusters?format=json")
        clusters = clusters_of(known, pool) if isinstance(known, dict) else [pool]
        return await self._get(url + envoy.query(pool, clusters))

    async def _reported(self) -> dict[str, Replica]:
        if self._sources.api is None:
            return {}
        try:
            return {each.id: each for each in await self._sources.api.replicas(self._sources.pool)}
        except ClientError:
            return {}

    async def _get(self, url: str) -> Any:
        """Return the JSON of a page; None when there is none."""
        try:
            async with self._session.get(
                URL(url, encoded=True), timeout=_ANSWER, allow_redirects=False
            ) as answer:
                return json.loads(await answer.read()) if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None


REACHED: Final = 2.0
"""Seconds after which the load ends if a target cannot be reached."""
_SHOWN: Final = 0.2
_SPARE: Final = 200
"""Files that are open beside connections to targets."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The progress of a load."""

    elapsed: float
    rate: float
    sent: int
    in_flight: int
    failed: int
    p99: float | None


async def send(
    workload: Workload, sources: Sources, show: Callable[[Moment], None] | None = None
) -> Outcome:
    """Send a workload and `show` it five times a second; a signal ends it early."""
    interrupt = Interrupt()
    _allow_files(workload.most + _SPARE)
    async with AsyncExitStack() as stack:
        beside = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        if sources.api is not None:
            await stack.enter_async_context(sources.api)
        watch = Watch(sources, beside)
        await watch.open()
        generator = Generator(
            [target.url for target in workload.targets],
            workload.steps,
            most=workload.most,
            timeout=workload.timeout,
            replica_header=workload.replica_header,
        )
        # What lives now lives to the end; collecting it again and again holds requests up.
        gc.collect()
        gc.freeze()
        stopped: Stopped | None = None
        try:
            await together(
                _load(generator, watch, workload),
                _reach(generator, workload),
                _show(generator, workload, show),
                interrupt.watch(),
            )
        except Stopped as caught:
            stopped = caught
        finally:
            gc.unfreeze()
        _all_reached(generator, workload)
        hops = await watch.hops()
    measured = []
    for step in workload.steps[: generator.reached + 1]:
        if step.number not in generator.record.steps or generator.elapsed <= step.counts_from:
            continue
        record = generator.record.steps[step.number]
        seconds = min(step.end, generator.elapsed) - step.counts_from
        seen = watch.steps.get(step.number, StepWatch()).seen(record.replicas, seconds)
        whole = stopped is None or generator.elapsed >= step.end
        measured.append(Measured(step, record, seen, seconds, whole=whole))
    return Outcome(
        workload=workload,
        steps=tuple(measured),
        hops=hops,
        unanswered=generator.unanswered,
        cut=generator.cut_at is not None,
        stopped=stopped.code if stopped else None,
    )


async def _load(generator: Generator, watch: Watch, workload: Workload) -> None:
    begun = asyncio.get_running_loop().time()
    looking = asyncio.create_task(watch.run(begun, workload.steps))
    try:
        await generator.run(departures(workload), begun)
        if generator.cut_at is None:
            await looking
    finally:
        looking.cancel()


async def _reach(generator: Generator, workload: Workload) -> None:
    """Raise once a target turns out to be unreachable."""
    while True:
        await asyncio.sleep(REACHED)
        _all_reached(generator, workload)


def _all_reached(generator: Generator, workload: Workload) -> None:
    for number, target in enumerate(workload.targets):
        reason = generator.record.silent(number)
        if reason is not None:
            raise LoadError(f"{target.url} cannot be reached: {reason}")


async def _show(
    generator: Generator, workload: Workload, show: Callable[[Moment], None] | None
) -> None:
    while True:
        await asyncio.sleep(_SHOWN)
        if show is None:
            continue
        elapsed = generator.elapsed
        step = next((each for each in workload.steps if elapsed < each.end), workload.steps[-1])
        whole = generator.record.steps[step.number].whole
        show(
            Moment(
                elapsed=elapsed,
                rate=step.rate,
                sent=generator.sent,
                in_flight=generator.in_flight,
                failed=whole.failed,
                p99=whole.latency.quantile(0.99),
            )
        )


def _allow_files(wanted: int) -> None:
    """Raise the limit of open files, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
