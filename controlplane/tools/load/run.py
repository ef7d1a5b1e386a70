"""The whole of it: send, look meanwhile, notice who is not there, and hand over what was seen."""

import asyncio
import gc
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from controlplane.tools.load.errors import LoadError
from controlplane.tools.load.generator import KEEPALIVE, Generator
from controlplane.tools.load.interrupt import Interrupt, Stopped
from controlplane.tools.load.outcome import Measured, Outcome
from controlplane.tools.load.replicas import StepWatch
from controlplane.tools.load.together import together
from controlplane.tools.load.watch import Watch
from controlplane.tools.load.workload import Sources, Workload

REACHED: Final = 2.0
"""Seconds after which a target that nobody answers at is called so."""
_SHOWN: Final = 0.2
_SPARE: Final = 200
"""Files that are open beside connections to targets."""


@dataclass(frozen=True, slots=True)
class Moment:
    """How far it is.

    Attributes:
        elapsed: Seconds since the load began.
        rate: Requests per second that are meant to leave now.
        failed: Of those that have ended in this step.
        p99: Of their latencies in seconds; None before there is any.
    """

    elapsed: float
    rate: float
    sent: int
    in_flight: int
    failed: int
    p99: float | None


async def send(
    workload: Workload, sources: Sources, show: Callable[[Moment], None] | None = None
) -> Outcome:
    """Send a workload, unless somebody stops it before its end.

    Args:
        workload: To send.
        sources: To look at meanwhile.
        show: Told five times a second how far it is.

    Raises:
        LoadError: A target, or somebody who is to be looked at, is not there.
    """
    interrupt = Interrupt()
    _allow_files(workload.most + _SPARE)
    connections = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE)
    async with (
        # Neither proxies nor ~/.netrc nor cookies have a say in this.
        aiohttp.ClientSession(
            connector=connections, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session,
        aiohttp.ClientSession(trust_env=False) as beside,
    ):
        watch = Watch(sources, beside)
        await watch.open()
        generator = Generator(workload, session)
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
        cut=generator.cut,
        stopped=stopped.code if stopped else None,
    )


async def _load(generator: Generator, watch: Watch, workload: Workload) -> None:
    begun = asyncio.get_running_loop().time()
    looking = asyncio.create_task(watch.run(begun, workload.steps))
    try:
        await generator.run(begun)
        if not generator.cut:
            await looking
    finally:
        looking.cancel()


async def _reach(generator: Generator, workload: Workload) -> None:
    """Raise once a target turns out not to be there."""
    while True:
        await asyncio.sleep(REACHED)
        _all_reached(generator, workload)


def _all_reached(generator: Generator, workload: Workload) -> None:
    for number, target in enumerate(workload.targets):
        reason = generator.record.silent(number)
        if reason is not None:
            raise LoadError(f"nobody answers at {target.url}: {reason}")


async def _show(
    generator: Generator, workload: Workload, show: Callable[[Moment], None] | None
) -> None:
    while True:
        await asyncio.sleep(_SHOWN)
        if show is None:
            continue
        elapsed = generator.elapsed
        step = next((it for it in workload.steps if elapsed < it.end), workload.steps[-1])
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
    """Let this process have so many connections, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
