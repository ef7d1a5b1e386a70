"""Servers for load: real HTTP on loopback, which answer as they are told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any

from aiohttp import web

from controlplane.tools.load.schedule import plan
from controlplane.tools.load.workload import Fixed, Target, Words, Workload, body_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler, tls: SSLContext | None = None) -> AsyncIterator[str]:
    """Serve one handler until the context closes; gives its URL."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.add_routes([web.route("*", "/{any:.*}", handle)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}/v1/embeddings"
    finally:
        await runner.cleanup()


class Counting:
    """Answers one request at a time, and counts them.

    Attributes:
        pauses: Seconds that some take, by their number from 1 on; others take none.
    """

    def __init__(self, status: int = 200, pauses: dict[int, float] | None = None) -> None:
        self.served = 0
        self.pauses = pauses or {}
        self.bodies: list[Any] = []
        self.headers: dict[str, str] = {}
        self._status = status
        self._turn = asyncio.Lock()

    async def __call__(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        async with self._turn:
            self.served += 1
            await asyncio.sleep(self.pauses.get(self.served, 0))
        return web.json_response([], status=self._status, headers=self.headers)


def workload(*urls: str, rates: tuple[float, ...] = (100,), **more: Any) -> Workload:
    """A second of load for each rate, unless it is told otherwise."""
    given: dict[str, Any] = {"warm_up": 0.0, "seconds": 1.0, "weights": [1] * len(urls)} | more
    steps = plan(rates, given.pop("warm_up"), given.pop("seconds"))
    targets = [Target(url, weight) for url, weight in zip(urls, given.pop("weights"), strict=True)]
    bodies = [body_of("openai", "m")] * len(urls)
    return Workload(targets, bodies, steps, Words(Fixed(5)), seed=1, **given)
