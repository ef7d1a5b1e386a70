"""The simulated fleet: its processes, and the config file that tells the control plane of it."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from benchmarks.scrape.pages import SERVERS
from benchmarks.xds.fleet import pool_name
from benchmarks.xds.orders import Process, process

PROCESSES: Final = 2
"""That replicas are dealt out to."""

INTERVAL: Final = 1.0
"""Seconds between two scrapes of a replica."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What replicas saw of the scraper.

    Attributes:
        scrapes: How many there were.
        bytes: What they answered.
        gaps: How often each time from one scrape of a replica to the next was seen, milliseconds.
    """

    scrapes: int
    bytes: int
    gaps: dict[int, int]

    def gap(self, part: float) -> int:
        """The gap in milliseconds that this part of them, 0 to 1, does not exceed."""
        left = part * sum(self.gaps.values())
        for gap, count in sorted(self.gaps.items()):
            left -= count
            if left <= 0:
                return gap
        return 0


class Fleet:
    """Simulated replicas that answer.

    Attributes:
        pools: The ports and the profile of each pool.
    """

    def __init__(self, processes: list[Process], pools: list[tuple[str, list[int]]]) -> None:
        self._processes = processes
        self.pools = pools

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [each.pid for each in self._processes]

    async def forget(self) -> None:
        """Have the replicas begin to count."""
        await asyncio.gather(*(each.ask("forget") for each in self._processes))

    async def asked(self) -> Asked:
        """What they saw since."""
        said = await asyncio.gather(*(each.ask("report") for each in self._processes))
        gaps: Counter[int] = Counter()
        for each in said:
            gaps.update(dict(each["gaps"]))
        return Asked(
            sum(item["scrapes"] for item in said), sum(entry["bytes"] for entry in said), dict(gaps)
        )

    def write_config(self, path: Path, admin: int, xds: int) -> None:
        """Tell a control plane of everything, with nothing set that it would not do by itself."""
        pools = [
            {
                "name": pool_name(number),
                "model": "simulated",
                "listener": {"address": f"127.0.0.1:{10_000 + number}"},
                "metrics": {"profile": profile, "interval": f"{INTERVAL:g}s"},
                "replicas": [
                    {"id": f"replica-{index:03}", "address": f"127.0.0.1:{port}", "slots": 4}
                    for index, port in enumerate(ports)
                ],
            }
            for number, (profile, ports) in enumerate(self.pools)
        ]
        data = {
            "admin": {"address": f"127.0.0.1:{admin}"},
            "xds": {"address": f"127.0.0.1:{xds}"},
            "store": {"path": str(path.with_suffix(".db"))},
            "pools": pools,
        }
        path.write_text(yaml.safe_dump(data))


@asynccontextmanager
async def fleet(pools: int, replicas: int) -> AsyncIterator[Fleet]:
    """Run so many replicas in so many pools; half of the pools have servers of each kind."""
    kinds = [tuple(SERVERS)[number % len(SERVERS)] for number in range(pools)]
    each = replicas // pools
    async with AsyncExitStack() as stack:
        processes = []
        for number in range(PROCESSES):
            served = [kind for kind in kinds for _ in range(number, each, PROCESSES)]
            arguments = ("--first", number * replicas, *served)
            processes.append(
                await stack.enter_async_context(
                    process(sys.executable, "-m", "benchmarks.scrape.replicas", *arguments)
                )
            )
        ports = [iter((await one.answer())["ports"]) for one in processes]
        yield Fleet(
            processes,
            [(kind, [next(ports[index % PROCESSES]) for index in range(each)]) for kind in kinds],
        )
