"""Health checks for gRPC clients: of ready replicas, whose pool one uses, and of no others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from controlplane.config import load_config
from controlplane.plane import Plane, Probe, Target
from controlplane.scraping.checks import HealthChecks
from controlplane.scraping.probe import Prober
from tests.processes import DEADLINE

CONFIG = """
pools:
  - name: p
    model: m
    listener: {{address: "127.0.0.1:10000"}}
    metrics: {{profile: none}}
    health_check: {{interval: 20ms, timeout: 5s}}
    replicas: [{{id: a, address: "127.0.0.1:{port}"}}]
"""


class Replica:
    """Answers checks, and counts them."""

    def __init__(self) -> None:
        self.status = 200
        self.checks = 0

    async def health(self, request: web.Request) -> web.Response:
        self.checks += 1
        return web.Response(status=self.status)


@asynccontextmanager
async def checking(used: list[str], *, ready: bool = True) -> AsyncIterator[tuple[Plane, Replica]]:
    """A plane with one replica, of which clients use these pools."""
    replica, app = Replica(), web.Application()
    app.router.add_get("/health", replica.health)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    plane = Plane(0.0)
    plane.declare(load_config(CONFIG.format(port=runner.addresses[0][1]), "f"), 0.0)
    if ready:
        target = plane.target("p", "a")
        assert target is not None
        plane.probed(target, Probe.HEALTHY, 0.0)
    running = asyncio.create_task(
        HealthChecks(plane, lambda: used, lambda: None, lambda _: None).run()
    )
    try:
        yield plane, replica
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await runner.cleanup()


def is_well(plane: Plane) -> bool:
    (member,) = plane.decide(1.0).pools["p"].members
    return member.healthy


async def checked(replica: Replica, times: int) -> None:
    """Wait until a replica was checked so many times more."""
    before = replica.checks
    async with asyncio.timeout(DEADLINE):
        while replica.checks < before + times:
            await asyncio.sleep(0.01)


async def test_a_replica_whose_pool_is_used_is_ill_and_well_as_its_checks_say() -> None:
    async with checking(["p"]) as (plane, replica):
        await checked(replica, 2)
        assert is_well(plane)
        replica.status = 503
        await checked(replica, 4)
        assert not is_well(plane)
        # It stays ready: Envoys see for themselves how it is.
        assert plane.report("p", "a", 1.0).observed.readiness.is_shown
        replica.status = 200
        await checked(replica, 3)
        assert is_well(plane)


async def test_a_fault_of_ours_in_one_check_is_logged_and_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    probe, faults = Prober.probe, [RuntimeError("a fault")]

    async def fails_once(prober: Prober, target: Target) -> Probe:
        if faults:
            raise faults.pop()
        return await probe(prober, target)

    monkeypatch.setattr(Prober, "probe", fails_once)
    async with checking(["p"]) as (_, replica):
        await checked(replica, 2)
    assert "a fault of ours in checking p/a" in caplog.text


async def test_a_pool_that_no_client_uses_is_not_checked_and_no_more_once_it_has_left() -> None:
    used: list[str] = []
    async with checking(used) as (_, replica):
        await asyncio.sleep(0)
        assert replica.checks == 0
        used.append("p")
        await checked(replica, 1)
        used.clear()
        async with asyncio.timeout(DEADLINE):
            while any(task.get_name() == "check p/a" for task in asyncio.all_tasks()):
                await asyncio.sleep(0.01)


async def test_a_replica_that_is_not_ready_is_left_to_the_scraper() -> None:
    async with checking(["p"], ready=False) as (plane, replica):
        target = plane.target("p", "a")
        assert target is not None
        await asyncio.sleep(0.2)
        assert replica.checks == 0
        plane.probed(target, Probe.HEALTHY, 0.0)
        await checked(replica, 2)
