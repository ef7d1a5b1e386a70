"""Health checks go on while replicas are there, and more often where something depends on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from controlplane.config import load_config
from controlplane.plane import Plane, Probe, State, Target
from controlplane.scraping import checks
from controlplane.scraping.checks import HealthChecks
from controlplane.scraping.probe import Prober
from controlplane.telemetry.load import Endpoint, Load
from tests.fleet.fleets import without_pool
from tests.processes import DEADLINE, until

CONFIG = """
pools:
  - name: p
    model: m
    listener: {{address: "127.0.0.1:10000"}}
    metrics: {{profile: none}}
    health_check: {{interval: {interval}, timeout: 5s}}
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


class Checking:
    """A plane, the one replica of its pool, and what checks that."""

    def __init__(self, plane: Plane, replica: Replica, health: HealthChecks) -> None:
        self.plane, self.replica, self.health = plane, replica, health

    @property
    def state(self) -> State:
        return self.plane.report("p", "a", 1.0).observed.readiness.state

    async def comes_to(self, state: State) -> None:
        async def is_so() -> bool:
            return self.state is state

        await until(f"the replica is {state.value}", is_so)

    async def checked(self, times: int) -> None:
        """Wait until the replica was checked so many times more."""
        most = self.replica.checks + times

        async def is_so() -> bool:
            return self.replica.checks >= most

        await until("it is checked", is_so)


@asynccontextmanager
async def checking(*used: str, interval: str = "20ms") -> AsyncIterator[Checking]:
    """A replica that is checked; gRPC clients use these pools."""
    replica, app = Replica(), web.Application()
    app.router.add_get("/health", replica.health)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    plane = Plane(0.0)
    port = runner.addresses[0][1]
    plane.declare(load_config(CONFIG.format(port=port, interval=interval), "f"), 0.0)
    health = HealthChecks(plane, lambda: used, lambda: None, lambda _: None)
    running = asyncio.create_task(health.run())
    try:
        yield Checking(plane, replica, health)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await runner.cleanup()


@pytest.mark.parametrize("used", [(), ("p",)])
async def test_a_ready_replica_is_unhealthy_and_ready_again_as_its_checks_say(
    used: tuple[str, ...],
) -> None:
    async with checking(*used) as prober:
        await prober.comes_to(State.READY)
        prober.replica.status = 503
        await prober.comes_to(State.UNHEALTHY)
        # Envoys see for themselves how it is; clients of gRPC do not.
        (member,) = prober.plane.decide(1.0).pools["p"].members
        assert not member.healthy
        prober.replica.status = 200
        await prober.comes_to(State.READY)
        (member,) = prober.plane.decide(2.0).pools["p"].members
        assert member.healthy


async def test_one_of_which_an_envoy_tells_failures_alone_is_asked_before_its_turn() -> None:
    async with checking(interval="1h") as prober:
        await prober.comes_to(State.READY)
        seen = prober.replica.checks
        at = prober.plane.fleet.pool("p").replicas["a"].address
        ends_well = {Endpoint("p", at.host, at.port): Load(1, 1, 0)}
        prober.plane.reported("an Envoy", ends_well, 1.0, 1.0)
        assert not prober.plane.suspected()
        fails = {Endpoint("p", at.host, at.port): Load(0, 1, 0)}
        prober.plane.reported("an Envoy", fails, 1.0, 2.0)
        await prober.checked(1)
        assert prober.replica.checks == seen + 1


async def test_where_envoys_get_answers_one_that_only_we_do_not_reach_stays_ready() -> None:
    async with checking(interval="1h") as prober:
        await prober.comes_to(State.READY)
        target = prober.plane.target("p", "a")
        assert target is not None
        at = target.replica.address
        prober.plane.reported(
            "an Envoy", {Endpoint("p", at.host, at.port): Load(1, 0, 0)}, 1.0, 10.0
        )
        for _ in range(3):
            prober.plane.probed(target, Probe.UNREACHABLE, 12.0)
        await prober.comes_to(State.READY)
        # Its check takes five seconds.
        for _ in range(3):
            prober.plane.probed(target, Probe.UNREACHABLE, 16.0)
        await prober.comes_to(State.UNHEALTHY)


async def test_of_many_ready_replicas_each_is_asked_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "CHECKS_A_SECOND", 0.001)
    async with checking() as prober:
        await prober.comes_to(State.READY)
        seen = prober.replica.checks
        await asyncio.sleep(0.2)
        assert prober.replica.checks == seen


async def test_a_fault_of_ours_in_one_check_is_logged_and_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    probe, faults = Prober.probe, [RuntimeError("a fault")]

    async def fails_once(prober: Prober, target: Target) -> Probe:
        if faults:
            raise faults.pop()
        return await probe(prober, target)

    monkeypatch.setattr(Prober, "probe", fails_once)
    async with checking() as prober:
        await prober.checked(2)
    assert "a fault of the control plane in checking p/a" in caplog.text


async def test_one_that_is_gone_is_checked_no_more() -> None:
    async with checking() as prober:
        await prober.checked(1)
        gone = without_pool(prober.plane.fleet, "p")
        prober.plane.adopt(gone, 1.0)
        prober.health.reconcile(gone.changes)
        async with asyncio.timeout(DEADLINE):
            while any(task.get_name().startswith("check ") for task in asyncio.all_tasks()):
                await asyncio.sleep(0.01)
