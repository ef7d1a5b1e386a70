"""What a pool's metrics settings make the scraper do: nothing, another port, an exporter."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.config.metrics import DEFAULT_BYTES
from controlplane.fleet import PutPool, PutReplica
from controlplane.plane import Failure, Probe, State
from controlplane.telemetry import Reading
from tests.fleet.fleets import without_pool
from tests.processes import DEADLINE
from tests.scraping.test_scraper import GOOD, Handler, first, hang, redirect, scraping, text


@asynccontextmanager
async def serving(**paths: Handler) -> AsyncIterator[int]:
    """A server that answers these paths, and its port."""
    app = web.Application()
    for path, handler in paths.items():
        app.router.add_get(f"/{path}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_with_profile_none_a_replica_is_asked_for_its_health_and_for_nothing_else() -> None:
    asked: list[str] = []

    async def health(request: web.Request) -> web.Response:
        # Unhealthy at first, so that more than one round of the scraper is seen.
        asked.append(request.path)
        return web.Response(status=503 if len(asked) < 3 else 200)

    async def metrics(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text=GOOD)

    async with (
        serving(health=health, metrics=metrics) as port,
        scraping(port, ", profile: none") as plane,
        asyncio.timeout(DEADLINE),
    ):
        while await plane.probes.get() is not Probe.HEALTHY:
            pass
    assert {*asked} == {"/health"}
    assert plane.outcomes.empty()


def following() -> list[str]:
    """The names of the tasks that follow a replica."""
    names = (task.get_name() for task in asyncio.all_tasks())
    return [name for name in names if name.startswith("scrape ")]


async def test_a_replica_without_metrics_is_not_scraped_until_it_has_some() -> None:
    async with (
        serving(health=text(""), metrics=text(GOOD)) as port,
        scraping(port, ", profile: none") as plane,
        asyncio.timeout(DEADLINE),
    ):
        assert await plane.probes.get() is Probe.HEALTHY
        assert not following()
        settings = plane.fleet.pool("minilm").settings
        said = settings.model_dump(mode="json", exclude_unset=True)
        with_metrics = validated(PoolSettings, said | {"metrics": {"profile": "tei"}})
        plane.changed(plane.apply(PutPool("minilm", with_metrics), 1.0))
        assert isinstance(await first(plane.outcomes), Reading)
        assert len(following()) == 1


async def test_a_replica_that_moves_is_followed_at_its_new_address_and_no_longer_at_the_old() -> (
    None
):
    async with (
        serving(health=text(""), metrics=text(GOOD)) as old,
        serving(health=text(""), metrics=text(GOOD)) as new,
        scraping(old) as plane,
        asyncio.timeout(DEADLINE),
    ):
        assert isinstance(await first(plane.outcomes), Reading)
        before = following()
        moved = validated(ReplicaSettings, {"address": f"127.0.0.1:{new}"})
        plane.changed(plane.apply(PutReplica("minilm", "a", moved), 1.0))
        while set(following()) & set(before) or not following():
            await asyncio.sleep(0.01)


async def test_the_replicas_of_a_pool_that_went_are_followed_no_longer() -> None:
    async with (
        serving(health=text(""), metrics=text(GOOD)) as port,
        scraping(port) as plane,
        asyncio.timeout(DEADLINE),
    ):
        assert isinstance(await first(plane.outcomes), Reading)
        assert following()
        for name in plane.fleet.pools:
            gone = without_pool(plane.fleet, name)
            plane.adopt(gone, 1.0)
            plane.changed(gone.changes)
        while following():
            await asyncio.sleep(0.01)


async def test_metrics_may_be_served_on_another_port_than_requests() -> None:
    async with (
        serving(health=text("")) as port,
        serving(metrics=text(GOOD)) as other,
        scraping(port, f", port: {other}") as plane,
    ):
        assert isinstance(await first(plane.outcomes), Reading)


async def test_a_closed_port_of_metrics_does_not_make_a_replica_gone() -> None:
    async with serving() as other:
        pass
    async with (
        serving(health=text("")) as port,
        scraping(port, f", port: {other}") as plane,
        asyncio.timeout(DEADLINE),
    ):
        for _ in range(2):
            outcome = await plane.outcomes.get()
            assert isinstance(outcome, Failure)
            assert not outcome.refused
        assert plane.report("minilm", "a", 1.0).observed.readiness.state is not State.GONE


EXPOSED = """DCGM_FI_DEV_FB_USED{UUID="GPU-1"} 30
DCGM_FI_DEV_FB_FREE{UUID="GPU-1"} 10
"""


async def test_an_exporter_is_read_once_an_interval_for_all_replicas() -> None:
    asked = 0

    async def exporter(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(text=EXPOSED)

    async with (
        serving(health=text(""), metrics=text(GOOD), gpus=exporter) as port,
        scraping(
            port, f', gpu: {{addresses: ["127.0.0.1:{port}"], path: /gpus, interval: 1h}}'
        ) as plane,
        asyncio.timeout(DEADLINE),
    ):
        devices = await plane.devices.get()
        for _ in range(3):
            await plane.outcomes.get()
    assert isinstance(devices, tuple)
    assert [(device.uuid, device.memory.fraction) for device in devices] == [("GPU-1", 0.75)]
    assert asked == 1


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (text("no", status=500), "answers 500, not 200"),
        (redirect, "answers 302, not 200: it leads to 'http://127.0.0.1:9/metrics'"),
        (hang, "took longer than 0.2 s"),
        (text("<html>\n"), "is no metric sample"),
        (
            text(b"#" * (DEFAULT_BYTES + 1)),
            "is longer than 8388608 bytes: metrics.max_bytes allows more",
        ),
        (text('DCGM_FI_DEV_FB_USED{UUID="G"} -1\n'), "DCGM_FI_DEV_FB_USED is negative"),
    ],
)
async def test_an_exporter_that_tells_nothing_is_asked_again_and_stops_nobody(
    answer: Handler, sentence: str
) -> None:
    async with (
        serving(health=text(""), metrics=text(GOOD), gpus=answer) as port,
        scraping(
            port, f', gpu: {{addresses: ["127.0.0.1:{port}"], path: /gpus, interval: 200ms}}'
        ) as plane,
        asyncio.timeout(DEADLINE),
    ):
        for _ in range(2):
            outcome = await plane.devices.get()
            assert isinstance(outcome, Failure)
            assert sentence in outcome.sentence
        assert isinstance(await plane.outcomes.get(), Reading)
