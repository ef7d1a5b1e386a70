"""Ours beside go-control-plane, with clients in Go: a fan-out, one change of many, and memory.

All streams ask for the endpoints of all pools and for nothing else, and all nodes share one
snapshot of the SnapshotCache, which is its best case. Where there is no Go, nothing is run.
"""

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.figures import Progress, number, range_of
from benchmarks.xds.stage import Clients, Measured, asking, clients, measure, server
from controlplane.resources.resource import ENDPOINT

STREAMS: Final = 1000
FOLDER: Final = Path(__file__).parent / "go"
PROGRAM: Final = Path(".venv/xds-peer")
TITLES: Final = {"ours": "ours", "linear": "LinearCache", "snapshot": "SnapshotCache"}


@dataclass(frozen=True, slots=True)
class Size:
    """Pools, replicas of each, and what to call that."""

    title: str
    pools: int
    replicas: int


SIZES: Final = (Size("all weights of one pool", 1, 64), Size("one of 500 pools", 500, 4))


@dataclass(frozen=True, slots=True)
class Cell:
    """What one server did at one size, and the bytes by which it grew for a stream."""

    size: Size
    contender: str
    measured: Sequence[Measured]
    bytes_per_stream: float

    def median(self, what: str) -> float:
        """Of building and pushing a change, in seconds; ``wall`` or ``cpu``."""
        return median(self.values(what))

    def values(self, what: str) -> list[float]:
        """Of all changes."""
        pushes = [push for each in self.measured for push in each.pushes]
        return [getattr(push, f"build_{what}") + getattr(push, what) for push in pushes]


async def built() -> Path | None:
    """Build the program; None where there is no Go, or its modules cannot be had."""
    if (go := shutil.which("go")) is None:
        return None
    building = await asyncio.create_subprocess_exec(
        *(go, "build", "-o", str(PROGRAM.absolute()), "."), cwd=FOLDER
    )
    return PROGRAM.absolute() if await building.wait() == 0 else None


async def run(progress: Progress, *, rounds: int, pushes: int) -> list[Cell]:
    """Play every size with every server, all of a size in turn; empty without Go."""
    progress("peers: go build")
    if (program := await built()) is None:
        return []
    async with clients(1, (program, "client")) as streams:
        return [
            cell
            for size in SIZES
            for cell in await _play(program, size, streams, progress, rounds, pushes)
        ]


async def _play(
    program: Path, size: Size, streams: Clients, progress: Progress, rounds: int, pushes: int
) -> list[Cell]:
    async with AsyncExitStack() as stack:
        servers, grown = {}, {}
        for name in TITLES:
            progress(f"peers: {STREAMS} streams to {name}, {size.title}")
            each = servers[name] = await stack.enter_async_context(
                server(
                    name,
                    pools=size.pools,
                    replicas=size.replicas,
                    program=None if name == "ours" else program,
                )
            )
            empty = (await each.held()).rss
            asked = asking(each, all_pools=True, type_urls=(ENDPOINT,))
            await streams.tell("open", each, range(STREAMS), **asked)
            await each.change(0, STREAMS)
            grown[name] = ((await each.held()).rss - empty) / STREAMS
        measured: dict[str, list[Measured]] = {name: [] for name in TITLES}
        for count in range(rounds):
            for name in sorted(servers, reverse=bool(count % 2)):
                progress(f"peers: round {count + 1} of {rounds}, {name}, {size.title}")
                changes = [(change % size.pools, STREAMS) for change in range(pushes)]
                measured[name].append(await measure(servers[name], streams, changes))
        for each in servers.values():
            await streams.tell("close", each, ())
    return [Cell(size, name, measured[name], grown[name]) for name in TITLES]


def table(cells: Sequence[Cell]) -> str:
    """A line for each server and size, and how ours compares."""
    title = f"### peers: {STREAMS} streams of clients in Go, to ours and to go-control-plane"
    if not cells:
        return f"{title}\n\nLeft out: there is no Go, or its modules could not be had."
    lines = [
        title,
        "",
        "| change | server | change to last ACK, ms | server CPU per change, ms | kB per stream |"
        " ours to it: wall | CPU | memory |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in cells:
        ours = next(item for item in cells if item.size == cell.size and item.contender == "ours")
        ratios = (
            ours.median("wall") / cell.median("wall"),
            ours.median("cpu") / cell.median("cpu"),
            ours.bytes_per_stream / cell.bytes_per_stream,
        )
        shown = ["–"] * 3 if cell is ours else [f"{ratio:.2f} ×" for ratio in ratios]
        words = (
            cell.size.title,
            TITLES[cell.contender],
            *(range_of([1000 * value for value in cell.values(what)]) for what in ("wall", "cpu")),
            number(cell.bytes_per_stream / 1000),
            *shown,
        )
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)
