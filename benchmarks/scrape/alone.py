"""A process with the scraper and nothing behind it: what it reads is counted and dropped.

Run as ``python -m benchmarks.scrape.alone``.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.xds.orders import Order, obey, say
from controlplane.cli.serve import collect_little
from controlplane.config_file import read_config
from controlplane.fleet import declare
from controlplane.plane import Failure, Plane, Target
from controlplane.scraping.scraper import Scraper
from controlplane.telemetry import Reading


class Sink(Plane):
    """Has targets, and forgets what comes of them.

    Attributes:
        delays: Milliseconds from the first byte of each answer until it was read and taken in.
        failed: Scrapes that yielded nothing.
    """

    def __init__(self, config: Path) -> None:
        super().__init__(time.monotonic())
        self.adopt(declare(self.fleet, read_config(config), time.monotonic()), time.monotonic())
        self.delays: list[float] = []
        self.failed = 0

    def record(self, target: Target, outcome: Reading | Failure, now: float) -> None:  # noqa: ARG002
        """Count a scrape."""
        if isinstance(outcome, Reading):
            self.delays.append(1000 * (now - outcome.at))
        else:
            self.failed += 1


@click.command
@click.argument("config", type=click.Path(path_type=Path))
def main(config: Path) -> None:
    """Scrape what a config file names until the input ends."""
    sink = Sink(config)
    collect_little()
    asyncio.run(_main(sink))


async def _main(sink: Sink) -> None:
    scraper = Scraper(sink, lambda: None, scraped=lambda _: None)

    async def carry_out(order: Order) -> Mapping[str, Any]:
        assert order["do"] == "measure"
        sink.delays.clear()
        sink.failed = 0
        begun, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(order["seconds"])
        return {
            "seconds": time.monotonic() - begun,
            "cpu": time.process_time() - cpu,
            "scrapes": len(sink.delays),
            "failed": sink.failed,
            "p50": _rank(sink.delays, 0.5),
            "p99": _rank(sink.delays, 0.99),
        }

    task = asyncio.create_task(scraper.run())
    say({})
    await obey(carry_out)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _rank(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[int(part * (len(ordered) - 1))] if ordered else 0.0


if __name__ == "__main__":
    main()
