"""A process with all replicas of a scenario: they queue, sleep, and report as TEI does.

Run as ``python -m benchmarks.balance.replicas``. A request's body is the number of its tokens; the
answer's ``x-replica`` header says who served it.
"""

import asyncio
import gc
from bisect import bisect_left
from typing import Final

import click
from aiohttp import web

from benchmarks.balance.slots import Slots

BOUNDS: Final = tuple(0.000015 * 1.5**power for power in range(39))
"""Seconds, of TEI's histograms."""

PATH: Final = "/embed"

SERVED_BY: Final = "x-replica"


class Replica:
    """One simulated replica."""

    def __init__(self, number: int, slots: int, token_seconds: float) -> None:
        """Prepare a replica.

        Args:
            number: Which one it is.
            slots: Requests that it computes at the same time.
            token_seconds: Service time of one token.
        """
        self._headers = {SERVED_BY: str(number)}
        self._slots = Slots(slots)
        self._most = slots
        self._in_flight = 0
        self._token_seconds = token_seconds
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def app(self) -> web.Application:
        """What it serves."""
        app = web.Application()
        app.router.add_post(PATH, self._embed)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/health", self._health)
        return app

    async def _embed(self, request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        tokens = int(await request.read())
        arrived = loop.time()
        done = self._slots.admit(arrived, tokens * self._token_seconds)
        self._in_flight += 1
        try:
            await asyncio.sleep(done - loop.time())
        finally:
            self._in_flight -= 1
        self._counts[bisect_left(BOUNDS, done - arrived)] += 1
        self._sum += done - arrived
        return web.Response(text="[]", headers=self._headers)

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _: web.Request) -> web.Response:
        lines, total = ["# TYPE te_request_duration histogram"], 0
        for bound, count in zip((*BOUNDS, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'te_request_duration_bucket{{le="{bound}"}} {total}')
        lines += [f"te_request_duration_sum {self._sum}", f"te_request_duration_count {total}"]
        waiting = max(self._in_flight - self._most, 0)
        lines += ["# TYPE te_queue_size gauge", f"te_queue_size {waiting}"]
        return web.Response(text="\n".join(lines) + "\n")


@click.command
@click.option("--ports", required=True, help="One for each replica, separated by commas.")
@click.option("--speeds", required=True, help="One for each replica, separated by commas.")
@click.option("--slots", required=True, type=int)
@click.option("--token-seconds", required=True, type=float)
def main(ports: str, speeds: str, slots: int, token_seconds: float) -> None:
    """Serve until terminated."""
    asyncio.run(
        _serve(
            [int(port) for port in ports.split(",")],
            [float(speed) for speed in speeds.split(",")],
            slots,
            token_seconds,
        )
    )


async def _serve(ports: list[int], speeds: list[float], slots: int, token_seconds: float) -> None:
    for number, (port, speed) in enumerate(zip(ports, speeds, strict=True)):
        runner = web.AppRunner(Replica(number, slots, token_seconds / speed).app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
    gc.freeze()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
