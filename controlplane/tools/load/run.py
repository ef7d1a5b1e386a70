"""Send a workload, watch replicas meanwhile, and return what was measured."""

import asyncio
import gc
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from controlplane.tools.interrupt import Interrupt, Stopped, together
from controlplane.tools.load.generator import Generator
from controlplane.tools.load.outcome import Measured, Outcome
from controlplane.tools.load.replicas import StepWatch
from controlplane.tools.load.watch import Watch
from controlplane.tools.load.workload import LoadError, Sources, Workload, departures

REACHED: Final = 2.0
"""Seconds after which the load ends if a target cannot be reached."""
_SHOWN: Final = 0.2
_SPARE: Final = 200
"""Files that are open beside connections to targets."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The progress of a load.

    Attributes:
        p99: Latency of this step in seconds; None before the first answer.
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
    """Send a workload and `show` it five times a second; a signal ends it early.

    Raises:
        LoadError: A target or a source does not answer.
    """
    interrupt = Interrupt()
    _allow_files(workload.most + _SPARE)
    async with aiohttp.ClientSession(trust_env=False) as beside:
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
