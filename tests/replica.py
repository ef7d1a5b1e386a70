"""A replica that does as it is told: real HTTP, TEI's metrics, and no model."""

import asyncio
import socket
import ssl
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from tests.processes import free_port

BOUNDS = tuple(0.000015 * 1.5**power for power in range(39))

BYTES_PER_TOKEN = 4


class FakeReplica:
    """Counts what reaches it.

    Attributes:
        served: Requests answered.
        service: Seconds that a request takes in one of its slots.
        token_seconds: Where it is given, so long for each token instead, and tokens are counted.
        queue: Texts that it says wait in it; None: it says nothing.
        lengths: Tokens of the requests answered, if they are counted.
        loaded: Whether its health check answers 200.
        answers: Requests are answered while it is set.
        answers_health: Health checks are answered, well or not, while it is set.
        report: The load that it reports with each answer (ORCA); empty: none.
        fails_every: It answers each so-manieth request with 500; 0: none.
        cuts_off: It closes in the middle of its answers.
        paths: Of the requests that reached it.
        headers: Of the last one.
    """

    def __init__(self, service: float = 0.002, *, loaded: bool = True) -> None:
        self.port = free_port()
        self.served = 0
        self.started = 0
        self.service = service
        self.loaded = loaded
        self.memory: tuple[int, int] | None = None
        self.token_seconds: float | None = None
        self.queue: int | None = None
        self.lengths: list[int] = []
        self.answers, self.answers_health = asyncio.Event(), asyncio.Event()
        self.answers.set()
        self.answers_health.set()
        self.report = ""
        self.fails_every = 0
        self.cuts_off = False
        self.paths: set[str] = set()
        self.headers: Mapping[str, str] = {}
        self._slot = asyncio.Semaphore(1)
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"127.0.0.1:{self.port}"

    @web.middleware
    async def notes(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Write down whatever comes, and go on."""
        if request.method == "POST":
            self.paths.add(request.raw_path)
            self.headers = request.headers
        return await handler(request)

    async def health(self, request: web.Request) -> web.Response:
        """200 once loaded, as TEI does."""
        await self.answers_health.wait()
        return web.Response(status=200 if self.loaded else 503)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """Take the time that it takes, and count it; the answer names the replica."""
        self.started += 1
        if self.fails_every and self.started % self.fails_every == 0:
            return web.Response(status=500)
        if self.cuts_off:
            return await _cut_off(request)
        await self.answers.wait()
        await self.compute(len(await request.read()) // BYTES_PER_TOKEN)
        headers = {"x-replica": self.address}
        if self.report:
            headers["endpoint-load-metrics"] = f"TEXT {self.report}"
        return web.json_response({"object": "list", "data": []}, headers=headers)

    async def compute(self, tokens: int) -> None:
        """Take the time that a request takes, and count it."""
        begun = asyncio.get_running_loop().time()
        service = self.service if self.token_seconds is None else tokens * self.token_seconds
        async with self._slot:
            await asyncio.sleep(service)
        if self.token_seconds is not None:
            self.lengths.append(tokens)
        taken = asyncio.get_running_loop().time() - begun
        self._counts[bisect_left(BOUNDS, taken)] += 1
        self._sum += taken
        self.served += 1

    async def metrics(self, request: web.Request) -> web.Response:
        """The histogram under TEI's name."""
        lines, total = ["# TYPE te_request_duration histogram"], 0
        for bound, count in zip((*BOUNDS, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'te_request_duration_bucket{{le="{bound}"}} {total}')
        lines += [f"te_request_duration_sum {self._sum}", f"te_request_duration_count {total}"]
        if self.token_seconds is not None:
            lines.append("# TYPE te_batch_next_tokens histogram")
            lines.append(f"te_batch_next_tokens_sum {sum(self.lengths)}")
        if self.queue is not None:
            lines += ["# TYPE te_queue_size gauge", f"te_queue_size {self.queue}"]
        if self.memory is not None:
            for name, value in zip(("used", "total"), self.memory, strict=True):
                lines.append(f"# TYPE te_gpu_memory_{name}_bytes gauge")
                lines.append(f'te_gpu_memory_{name}_bytes{{gpu_uuid="GPU-{self.port}"}} {value}')
        return web.Response(text="\n".join(lines) + "\n")


async def _cut_off(request: web.Request) -> web.StreamResponse:
    """Say that a body is longer than what comes of it."""
    answer = web.StreamResponse(headers={"content-length": "1000"})
    await answer.prepare(request)
    await answer.write(b"{")
    assert request.transport is not None
    request.transport.abort()
    return answer


@asynccontextmanager
async def replica(
    service: float = 0.002, *, loaded: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FakeReplica]:
    """Run a fake replica in this process until the context closes, or it is stopped."""
    fake = FakeReplica(service, loaded=loaded)
    app = web.Application(middlewares=[fake.notes])
    app.add_routes(
        [
            web.get("/health", fake.health),
            web.get("/metrics", fake.metrics),
            web.post("/v1/embeddings", fake.embeddings),
            web.post("/v1/batch", fake.embeddings),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", fake.port))
    listening.settimeout(0)
    await web.SockSite(runner, listening, ssl_context=tls).start()
    try:
        yield fake
    finally:
        # A connection that asyncio is just about to serve when its server closes stays open, and
        # nobody answers there; that of a process that ends is closed.
        asyncio.get_running_loop().remove_reader(listening)
        for _ in range(5):
            await asyncio.sleep(0)
        await runner.cleanup()
