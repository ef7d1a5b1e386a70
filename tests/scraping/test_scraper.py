"""The scraper against real sockets: what a replica does with its metrics ends as one sentence."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from string import ascii_lowercase
from threading import get_ident

import pytest
from aiohttp import web

from controlplane.config import load_config
from controlplane.config.metrics import DEFAULT_BYTES
from controlplane.fleet import Change
from controlplane.plane import Exporter, Failure, Plane, Probe, Target
from controlplane.scraping import checks, scraper
from controlplane.scraping.checks import HealthChecks
from controlplane.scraping.scraper import Pace, Scraper
from controlplane.telemetry import Device, Profile, Reading, read
from tests.planes import declare
from tests.processes import DEADLINE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

GOOD = """# TYPE te_request_duration histogram
te_request_duration_bucket{le="0.1"} 3
te_request_duration_bucket{le="+Inf"} 3
te_request_duration_sum 0.06
te_request_duration_count 3
"""


class Recorder(Plane):
    """A plane that also keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.outcomes: asyncio.Queue[Reading | Failure] = asyncio.Queue()
        self.probes: asyncio.Queue[Probe] = asyncio.Queue()
        self.devices: asyncio.Queue[tuple[Device, ...] | Failure] = asyncio.Queue()
        self.scrapes: list[bool] = []
        self.changed: Callable[[Sequence[Change]], None] = lambda _: None

    def record(self, target: Target, outcome: Reading | Failure, now: float) -> None:
        super().record(target, outcome, now)
        self.outcomes.put_nowait(outcome)

    def probed(self, target: Target, probe: Probe, now: float) -> None:
        super().probed(target, probe, now)
        self.probes.put_nowait(probe)

    def record_devices(
        self, exporter: Exporter, outcome: tuple[Device, ...] | Failure, now: float
    ) -> None:
        super().record_devices(exporter, outcome, now)
        self.devices.put_nowait(outcome)


@asynccontextmanager
async def scraped(metrics: Handler | None, health: int = 200) -> AsyncIterator[Recorder]:
    """A plane whose one replica answers like this; None: nobody listens."""

    async def answer_health(request: web.Request) -> web.Response:
        return web.Response(status=health)

    app = web.Application()
    app.router.add_get("/health", answer_health)
    if metrics is not None:
        app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    if metrics is None:
        await runner.cleanup()
    try:
        async with scraping(port) as plane:
            yield plane
    finally:
        await runner.cleanup()


@asynccontextmanager
async def scraping(port: int, metrics: str = "") -> AsyncIterator[Recorder]:
    """A plane whose one replica is at a port, and a scraper that asks it."""
    async with following([f"127.0.0.1:{port}"], f"interval: 200ms{metrics}") as plane:
        yield plane


@asynccontextmanager
async def following(
    addresses: list[str], metrics: str, more: str = "", folder: Path = Path()
) -> AsyncIterator[Recorder]:
    """A plane with a replica at each address, and what asks them."""
    replicas = [
        f'{{id: {id_}, address: "{address}"}}'
        for id_, address in zip(ascii_lowercase, addresses, strict=False)
    ]
    plane = Recorder()
    declare(
        plane,
        load_config(
            f"""
pools:
  - name: minilm
    model: m
    listener: {{address: "127.0.0.1:10000"}}
    metrics: {{{metrics}}}
    replicas: [{", ".join(replicas)}]
    {more}
""",
            "plimsoll.yaml",
        ),
        0.0,
    )
    scraper = Scraper(plane, lambda: None, scraped=plane.scrapes.append, folder=folder)
    health = HealthChecks(plane, lambda: (), lambda: None, scraper.access)

    def changed(changes: Sequence[Change]) -> None:
        scraper.reconcile(changes)
        health.reconcile(changes)

    plane.changed = changed
    tasks = [asyncio.create_task(item.run()) for item in (scraper, health)]
    try:
        yield plane
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def text(body: str | bytes, status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        data = body.encode() if isinstance(body, str) else body
        return web.Response(body=data, status=status, headers=headers)

    return answer


async def first(queue: asyncio.Queue[Reading | Failure]) -> Reading | Failure:
    async with asyncio.timeout(DEADLINE):
        return await queue.get()


async def test_a_good_exposition_is_a_reading() -> None:
    async with scraped(text(GOOD)) as plane:
        outcome = await first(plane.outcomes)
    assert isinstance(outcome, Reading)
    assert outcome.latency is not None


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"# one byte at a time\n")
        await asyncio.sleep(0.05)


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def redirect(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://127.0.0.1:9/metrics")


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        (text("no", status=500), "answers 500, not 200"),
        (redirect, "answers 302, not 200: it leads to 'http://127.0.0.1:9/metrics'"),
        (hang, "took longer than 0.2 s"),
        (drip, "took longer than 0.2 s"),
        (reset, "the connection was closed without an answer"),
        (text("<html><body>hello</body></html>\n"), "GET /metrics"),
        (text(b"\xff\xfe\n"), "is not UTF-8 text"),
        (
            text(gzip.compress(b"0" * 1_000_000), headers={"Content-Encoding": "gzip"}),
            "answers compressed, which was not asked for",
        ),
        (
            text(b"#" * (DEFAULT_BYTES + 1)),
            "is longer than 8388608 bytes: metrics.max_bytes allows more",
        ),
        (None, "nobody listens"),
    ],
)
async def test_a_scrape_that_yields_nothing_says_why(
    metrics: Handler | None, sentence: str
) -> None:
    async with scraped(metrics) as plane, asyncio.timeout(DEADLINE):
        # On a busy machine a scrape may take too long before anything else is wrong with it.
        while True:
            outcome = await plane.outcomes.get()
            assert isinstance(outcome, Failure)
            if sentence in outcome.sentence:
                break


async def test_an_endless_exposition_ends_at_a_limit() -> None:
    async with scraped(endless) as plane:
        outcome = await first(plane.outcomes)
    assert isinstance(outcome, Failure)
    assert "is longer than" in outcome.sentence or "took longer than" in outcome.sentence


@asynccontextmanager
async def answering(data: bytes) -> AsyncIterator[Recorder]:
    """A plane whose one replica answers every request with these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, scraping(server.sockets[0].getsockname()[1]) as plane:
        yield plane


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff not HTTP at all\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff;\x01=\r\nContent-Type: \xe9;;=\r\n\r\n<",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_whatever_a_replica_answers_ends_as_a_failed_scrape_and_not_more(data: bytes) -> None:
    async with answering(data) as plane:
        for _ in range(2):
            assert isinstance(await first(plane.outcomes), Failure)


async def test_a_fault_of_ours_with_one_replica_is_a_failed_scrape_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> Reading:
        raise RuntimeError("a fault")

    monkeypatch.setattr("controlplane.scraping.scraper.read", broken)
    async with scraped(text(GOOD)) as plane:
        for _ in range(2):
            outcome = await first(plane.outcomes)
            assert isinstance(outcome, Failure)
            assert "RuntimeError" in outcome.sentence


async def test_a_fault_of_ours_in_taking_a_reading_is_logged_and_ends_no_scraping(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record, faults = Plane.record, [RuntimeError("a fault")]

    def fails_once(plane: Plane, target: Target, outcome: Reading | Failure, now: float) -> None:
        if faults:
            raise faults.pop()
        record(plane, target, outcome, now)

    monkeypatch.setattr(Plane, "record", fails_once)
    async with scraped(text(GOOD)) as plane:
        assert isinstance(await first(plane.outcomes), Reading)
    assert "a fault of the control plane in scraping minilm/a" in caplog.text


@pytest.mark.parametrize(
    ("health", "probe"), [(200, Probe.HEALTHY), (503, Probe.UNHEALTHY), (302, Probe.UNHEALTHY)]
)
async def test_a_new_replica_is_asked_for_its_health(health: int, probe: Probe) -> None:
    async with scraped(text(GOOD), health) as plane, asyncio.timeout(DEADLINE):
        assert await plane.probes.get() is probe


async def test_a_closed_port_is_a_refusal() -> None:
    async with scraped(None) as plane, asyncio.timeout(DEADLINE):
        assert await plane.probes.get() is Probe.REFUSED


async def test_a_replica_that_hangs_is_scraped_again_at_the_next_interval() -> None:
    async with scraped(hang) as plane, asyncio.timeout(DEADLINE):
        for _ in range(3):
            assert isinstance(await plane.outcomes.get(), Failure)


async def test_each_scrape_is_counted_as_good_or_failed() -> None:
    async with asyncio.timeout(DEADLINE), scraped(text(GOOD)) as plane:
        await plane.outcomes.get()
        await plane.outcomes.get()
        assert set(plane.scrapes) == {True}
    async with asyncio.timeout(DEADLINE), scraped(text("", status=500)) as plane:
        await plane.outcomes.get()
        await plane.outcomes.get()
        assert set(plane.scrapes) == {False}


async def test_only_so_many_probes_are_in_progress_and_each_has_its_whole_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "AT_ONCE", 4)
    connected: list[asyncio.StreamWriter] = []
    most = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        await reader.readuntil(b"\r\n\r\n")
        connected.append(writer)
        most = max(most, len(connected))
        # Answered once the next ones would have come, if there could be any more.
        await asyncio.sleep(0.3)
        connected.remove(writer)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, [f"127.1.0.{n}" for n in range(1, 21)], 0)
    addresses = ["{}:{}".format(*socket.getsockname()) for socket in server.sockets]
    async with server, following(addresses, "profile: none") as plane, asyncio.timeout(DEADLINE):
        # The last wait longer for their turn than a replica has to answer: a second.
        assert {await plane.probes.get() for _ in addresses} == {Probe.HEALTHY}
    assert most == 4


async def test_while_many_are_not_ready_each_is_asked_more_rarely_and_scraped_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "PROBES_A_SECOND", 0.001)
    async with scraped(text(GOOD), 503) as plane, asyncio.timeout(DEADLINE):
        for _ in range(4):
            assert isinstance(await plane.outcomes.get(), Reading)
    assert plane.probes.qsize() == 1


async def test_few_that_are_not_ready_are_asked_in_every_interval() -> None:
    async with scraped(text(GOOD), 503) as plane, asyncio.timeout(DEADLINE):
        for _ in range(4):
            assert await plane.probes.get() is Probe.UNHEALTHY
    # Its health check would be due once in five intervals.
    assert plane.outcomes.qsize() < 12


@pytest.mark.parametrize("more", [0, scraper.LONG])
async def test_a_long_exposition_is_read_in_another_thread_and_a_short_one_is_not(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()

    def noted(text: str, profile: Profile, at: float) -> Reading:
        threads.add(get_ident())
        return read(text, profile, at)

    monkeypatch.setattr(scraper, "read", noted)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=GOOD + "other 1\n" * (more // 8))

    async with scraped(metrics) as plane:
        assert isinstance(await asyncio.wait_for(plane.outcomes.get(), DEADLINE), Reading)
    assert (threads == {get_ident()}) is (more == 0)


def test_replicas_that_came_together_are_asked_at_different_times_and_then_at_the_interval() -> (
    None
):
    paces = [Pace(key, 0.0) for key in range(20)]
    first = [pace.wait(1.0, 0.0) for pace in paces]
    assert all(0.5 <= seconds <= 1.5 for seconds in first)
    assert len({round(seconds, 3) for seconds in first}) > 10
    assert paces[0].wait(1.0, first[0]) == pytest.approx(1.0)


def test_a_late_replica_is_asked_once_and_keeps_its_turn() -> None:
    pace = Pace("a", 0.0)
    turn = pace.wait(1.0, 0.0)
    assert pace.wait(1.0, turn + 3.4) == 0.0
    assert pace.wait(1.0, turn + 3.4) == pytest.approx(0.6)
