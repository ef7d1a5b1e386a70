"""A process with one server: it changes weights when told to, and says what that took.

Run as ``python -m benchmarks.xds.server``.
"""

import asyncio
import gc
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.xds.bare import Bare
from benchmarks.xds.fleet import ChangingCatalog
from benchmarks.xds.orders import Order, obey, say
from benchmarks.xds.ours import Ours
from controlplane.cli.serve import collect_little

CONTENDERS: Final = ("ours", "bare")

SETTLE: Final = 0.02
"""Seconds after the last answer in which gRPC's threads finish what belongs to a push."""

PATIENCE: Final = 120.0
"""Seconds for all answers to a push."""


class Server:
    """Carries out orders."""

    def __init__(self, contender: str, pools: int, replicas: int, tls: Path | None) -> None:
        self._content = ChangingCatalog(pools, replicas)
        self._server = (
            Bare(self._content, self._acknowledged)
            if contender == "bare"
            else Ours(self._content, self._acknowledged, tls)
        )
        self._answers = 0
        self._awaited = 0
        self._complete = asyncio.Event()
        self._completed_at = 0.0

    async def run(self) -> None:
        """Serve until there are no more orders."""
        say({"port": await self._server.start()})
        await obey(self._carry_out)
        await self._server.stop()

    def _acknowledged(self) -> None:
        self._answers += 1
        if self._answers == self._awaited:
            self._completed_at = time.perf_counter()
            self._complete.set()

    async def _carry_out(self, order: Order) -> Mapping[str, Any]:
        match order["do"]:
            case "change":
                return await self._change(order["pool"], order["answers"])
            case "report":
                return _report()
            case other:
                raise ValueError(f"{other!r} is no order")

    async def _change(self, pool: int, answers: int) -> Mapping[str, Any]:
        """Change all weights of a pool, and wait for so many answers; 0: for none."""
        self._answers, self._awaited = 0, answers
        self._complete.clear()
        cpu, clock = time.process_time(), time.perf_counter()
        self._content.change([pool])
        built_cpu, built = time.process_time(), time.perf_counter()
        self._server.push()
        if not answers:
            return {}
        try:
            async with asyncio.timeout(PATIENCE):
                await self._complete.wait()
        except TimeoutError:
            raise RuntimeError(f"{self._answers} of {answers} answers to a change") from None
        await asyncio.sleep(SETTLE)
        return {
            "build_wall": built - clock,
            "build_cpu": built_cpu - cpu,
            "wall": self._completed_at - built,
            "cpu": time.process_time() - built_cpu,
            "surplus": self._answers - answers,
        }


def _report() -> Mapping[str, Any]:
    """What the process holds now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "tasks": len(asyncio.all_tasks()),
    }


@click.command
@click.option("--contender", required=True, type=click.Choice(CONTENDERS))
@click.option("--pools", required=True, type=int)
@click.option("--replicas", required=True, type=int, help="Of each pool.")
@click.option("--tls", type=click.Path(path_type=Path), help="Folder with certificates.")
def main(contender: str, pools: int, replicas: int, tls: Path | None) -> None:
    """Serve, and take orders on standard input."""
    # As the command does, for whichever server it is.
    collect_little()

    async def serve() -> None:
        await Server(contender, pools, replicas, tls).run()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
