"""The command line: slots in shuffled order, certificates that change, streams over mutual TLS."""

import asyncio
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Final

import click

from benchmarks import machine
from benchmarks.figures import Progress
from benchmarks.mesh.report import SIZES, Slot, table
from benchmarks.mesh.worlds import PLAIN, WAYS, World, worlds
from benchmarks.xds import fan_out
from benchmarks.xds.stage import clients
from controlplane.tools.load.generator import Generator
from controlplane.tools.load.schedule import Departure, Step, schedule

RESULTS: Final = Path(__file__).parent / "results"

REQUESTS: Final = "requests"
STREAMS: Final = "streams"
PARTS: Final = (REQUESTS, STREAMS)

RATES: Final = {"1 KB": 200.0, "200 KB": 50.0}
"""Requests per second."""
SETTLE: Final = 1.0
"""Seconds of each slot that do not count."""
RENEWALS: Final = 0.5
"""Seconds between two changes of every certificate."""
RENEWED: Final = ("tls", "mtls")
"""Under load meanwhile, one after the other."""


@click.command
@click.option("--rounds", type=click.IntRange(1, 100), help="Of everything; 10, quick 3.")
@click.option("--quick", is_flag=True, help="Five minutes, to try it out.")
@click.option("--only", type=click.Choice(PARTS), help="One part; its results have its name.")
def main(rounds: int | None, only: str | None, *, quick: bool) -> None:
    """Measure what TLS costs a request, and the control plane."""
    with tempfile.TemporaryDirectory(prefix="bench-mesh-") as folder:
        try:
            asyncio.run(_main(rounds or (3 if quick else 10), only, Path(folder), quick=quick))
        except asyncio.CancelledError:
            click.echo("\nterminated; nothing is written", err=True)
            sys.exit(128 + signal.SIGTERM)


async def _main(rounds: int, only: str | None, folder: Path, *, quick: bool) -> None:
    this = asyncio.current_task()
    assert this is not None
    # As Ctrl-C does by itself: contexts close, so everything that was started ends.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    described = machine.describe()
    head = " · ".join(f"{name} {value}" for name, value in described.items())
    click.echo(head)
    progress, parts, data = Progress(), list[str](), dict[str, object]()
    seconds = 6.0 if quick else 12.0
    if only != STREAMS:
        async with worlds(folder) as (found, renew):
            slots = await _slots(found, rounds, seconds, progress)
            parts.append(table(slots, WAYS, PLAIN))
            for way in RENEWED:
                progress(f"certificates change: {WAYS[way]}")
                slot, changes, count = await _renewed(found[way], way, renew, 2 * seconds)
                slots.append(slot)
                parts.append(
                    f"{WAYS[way]}: {slot.failed} of {slot.requests + slot.failed} requests failed"
                    f" while all {count} certificates changed {changes} times."
                )
        data["slots"] = [asdict(each) for each in slots]
    if only != REQUESTS:
        async with clients(2) as started:
            pushed = await fan_out.run(
                started, progress, fan_out.MTLS, rounds=2 if quick else 5, pushes=5 if quick else 15
            )
        parts.append(fan_out.table(pushed, fan_out.MTLS))
        data["streams"] = [asdict(each) for each in pushed]
    text = "\n\n".join(parts) + "\n"
    click.echo(f"\n{text}")
    data["machine"] = {**described, "load_average_after": round(os.getloadavg()[0], 2)}
    # Results that are kept are named by when they began; a trial replaces the last one.
    kept = "quick" if quick else str(described["when"])[:16].replace(":", "")
    if only:
        kept += f"-{only}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{kept}.md").write_text(f"{head}\n\n{text}")
    (RESULTS / f"{kept}.json").write_text(json.dumps(data, indent=1) + "\n")
    click.echo(f"written: {RESULTS / kept}.md and .json")


async def _slots(
    found: Mapping[str, World], rounds: int, seconds: float, progress: Progress
) -> list[Slot]:
    """Every way under load with requests of every size, in another order each time."""
    slots, random = list[Slot](), Random(1)
    for number in range(1, rounds + 1):
        order = [(way, size) for way in WAYS for size in SIZES]
        random.shuffle(order)
        for way, size in order:
            progress(f"round {number} of {rounds}: {WAYS[way]}, {size}")
            slots.append(await _slot(found[way], way, size, number, seconds))
    return slots


async def _renewed(
    world: World, way: str, renew: Callable[[], int], seconds: float
) -> tuple[Slot, int, int]:
    """Load while every certificate changes; how often, and how many certificates there are."""
    load, changes, count = asyncio.create_task(_slot(world, way, "1 KB", 0, seconds)), 0, 0
    try:
        while not (await asyncio.wait([load], timeout=RENEWALS))[0]:
            count = renew()
            changes += 1
        return await load, changes, count
    finally:
        load.cancel()


async def _slot(world: World, way: str, size: str, number: int, seconds: float) -> Slot:
    rate, body = RATES[size], json.dumps({"input": "x" * SIZES[size]}).encode()
    step = Step(0, rate, 0.0, SETTLE, seconds)
    generator = Generator([world.url], [step], most=256, timeout=30.0, tls=world.tls)
    departures = (Departure(at, item, body=body) for at, item in schedule([step], number))
    before = machine.cpu_seconds({way: world.pids})[way]
    await generator.run(departures, asyncio.get_running_loop().time())
    cpu = machine.cpu_seconds({way: world.pids})[way] - before
    whole = generator.record.steps[0].whole
    sent = max(generator.sent, 1)
    return Slot(
        way,
        size,
        number,
        1000 * (whole.quantile(0.5) or math.nan),
        1000 * (whole.quantile(0.99) or math.nan),
        1000 * cpu / sent,
        whole.requests - whole.failed,
        whole.failed,
    )


if __name__ == "__main__":
    main()
