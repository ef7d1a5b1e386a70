"""Does anything stay behind? Streams that come and go, and a long time of changes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.figures import Progress
from benchmarks.xds.stage import Clients, Held, Server, asking, server

POOLS: Final = 10
REPLICAS: Final = 8
WARM_UP: Final = 1000
"""Cycles before the first look; by then caches and the allocator have what they need."""

STREAMS: Final = 200
REPLACED: Final = 5
"""Streams that leave each second of the soak, with as many others in their place."""

CHANGES: Final = 4
"""In each second of the soak, as many as the control plane makes at most."""

LOOKS: Final = 20
"""At what is held, during a soak."""

TOLERATED: Final = 2 << 20
"""Bytes by which resident memory may grow while the same is repeated: allocators keep some."""


@dataclass(frozen=True, slots=True)
class Endurance:
    """What the server held, look by look.

    Attributes:
        cycles: Before the first stream after warming up, half-way, and after the last.
        count: Of the cycles.
        soak: Before it, at times with all streams, and when they were gone.
        seconds: Of the soak.
    """

    cycles: tuple[Held, ...]
    count: int
    soak: tuple[Held, ...]
    seconds: float


async def run(clients: Clients, progress: Progress, *, count: int, seconds: float) -> Endurance:
    """Connect and leave so often, then change weights for so long."""
    async with server("ours", pools=POOLS, replicas=REPLICAS) as each:
        asked = asking(each, all_pools=True)
        await clients.tell("cycle", each, range(WARM_UP), **asked)
        cycles = [await settled(each)]
        for half in (range(count // 2), range(count // 2, count)):
            progress(f"endurance: {len(half)} times connect and leave")
            await clients.tell("cycle", each, half, **asked)
            cycles.append(await settled(each))
        progress(f"endurance: {seconds:g} s of changes to {STREAMS} streams")
        soak = await _soak(each, clients, seconds)
    return Endurance(tuple(cycles), count, tuple(soak), seconds)


async def _soak(server: Server, clients: Clients, seconds: float) -> list[Held]:
    await clients.tell("open", server, range(STREAMS), **asking(server, all_pools=True))
    # Memory is looked at with the streams there, as an operator would.
    looks: list[Held] = []
    loop = asyncio.get_running_loop()
    begun, number, pool = loop.time(), STREAMS, 0
    while (elapsed := loop.time() - begun) < seconds:
        if elapsed >= len(looks) * seconds / LOOKS:
            looks.append(await server.held())
        for _ in range(CHANGES):
            await server.change_soon(pool % POOLS)
            pool += 1
            await asyncio.sleep(1 / CHANGES)
        await clients.tell("replace", server, range(number, number + REPLACED))
        number += REPLACED
    # Whoever is connected still learns of every change.
    await server.change(0, STREAMS)
    await clients.tell("close", server, ())
    return [*looks, await settled(server)]


async def settled(server: Server) -> Held:
    """What a server holds once it holds no less for a while: leaving takes a moment."""
    held = await server.held()
    same = 0
    while same < 3:
        await asyncio.sleep(0.5)
        before, held = held, await server.held()
        fell = held.tasks < before.tasks or held.descriptors < before.descriptors
        same = 0 if fell else same + 1
    return held


def table(done: Endurance) -> str:
    """What was held, and whether it came back to where it was."""
    first, last = done.cycles[0], done.cycles[-1]
    lines = [
        f"### endurance: {done.count} times connect and leave; {done.seconds:g} s, {STREAMS}"
        f" streams of which {REPLACED} are replaced each second, {CHANGES} changes a second",
        "",
        "| | tasks | descriptors | RSS, MB |",
        "|---|---:|---:|---:|",
        _line("before the cycles", first),
        _line("after half of them", done.cycles[1]),
        _line("after all", last),
        _line("soak, first look", done.soak[0]),
        _line("soak, half-way", done.soak[len(done.soak) // 2]),
        _line("soak, last look", done.soak[-2]),
        _line("all streams gone", done.soak[-1]),
        "",
        _verdict("Cycles", [*done.cycles[1:]], back_to=first, then=last),
        _verdict("Soak", done.soak[len(done.soak) // 2 : -1], back_to=first, then=done.soak[-1]),
    ]
    return "\n".join(lines)


def _line(name: str, held: Held) -> str:
    return f"| {name} | {held.tasks} | {held.descriptors} | {held.rss / 1e6:.1f} |"


def _verdict(name: str, later: Sequence[Held], *, back_to: Held, then: Held) -> str:
    """Tasks and descriptors are back, and memory stays over the second half."""
    tasks, descriptors = then.tasks - back_to.tasks, then.descriptors - back_to.descriptors
    grown = later[-1].rss - later[0].rss
    met = "met" if max(tasks, descriptors) <= 0 and grown <= TOLERATED else "missed"
    return (
        f"{name}: {tasks:+} tasks, {descriptors:+} descriptors; memory {grown / 1e6:+.1f} MB over"
        f" the second half, wanted none, none and ≤ {TOLERATED / 1e6:.1f} MB: {met}."
    )
