"""Sources as they run: what they find reaches the fleet, and none of them can end the others."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controlplane.config import DiscoverySettings, PoolEntry, ReplicaSettings, validated
from controlplane.discovery import Discovery, Found, SourceError
from controlplane.discovery.discovery import FIRST_PAUSE, LONGEST_PAUSE, RECHECK_SECONDS
from controlplane.fleet import PutPool
from controlplane.plane import Plane, Probe
from tests.processes import until

LISTENER = {"address": "127.0.0.1:10000"}


class Script:
    """A source that yields, fails or waits as it is told: sets, errors, and nothing else."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[Found | Exception] = asyncio.Queue()
        self.begun = 0

    async def sets(self) -> AsyncGenerator[Found, None]:
        self.begun += 1
        while True:
            step = await self.steps.get()
            if isinstance(step, Exception):
                raise step
            yield step

    def found(self, *ports: int, problem: str | None = None) -> None:
        replicas = {
            f"r{port}": validated(ReplicaSettings, {"address": f"10.0.0.1:{port}"})
            for port in ports
        }
        self.steps.put_nowait(Found(replicas, problem))


class Run:
    """A discovery of scripted sources, whose sleeps end when the test says so."""

    def __init__(self) -> None:
        self.plane = Plane(0.0)
        self.changes = self.failures = 0
        self.scripts: dict[str, Script] = {}
        self.pauses: list[float] = []
        self.resumed: dict[bool, asyncio.Event] = {True: asyncio.Event(), False: asyncio.Event()}
        self.discovery = Discovery(
            self.plane,
            self._discover,
            self._failed,
            open_source=self._open,
            clock=lambda: 0.0,
            sleep=self._sleep,
        )

    async def _discover(self) -> None:
        before = self.plane.fleet
        self.plane.discover(0.0)
        self.changes += self.plane.fleet is not before

    def _failed(self) -> None:
        self.failures += 1

    def _open(self, settings: DiscoverySettings) -> Script:
        return self.scripts.setdefault(str(settings), Script())

    async def _sleep(self, seconds: float) -> None:
        is_recheck = seconds == RECHECK_SECONDS
        if not is_recheck:
            self.pauses.append(seconds)
        await self.resumed[is_recheck].wait()
        self.resumed[is_recheck].clear()

    def follow(self, *folders: str, interval: str = "1s") -> None:
        sources = [{"directory": {"path": folder, "interval": interval}} for folder in folders]
        data = {"name": "p", "model": "m", "listener": LISTENER, "discovery": sources}
        entry = validated(PoolEntry, data)
        self.plane.apply(PutPool("p", entry.settings()), 0.0)
        self.plane.discoveries.adopt([entry])
        self.discovery.follow([entry])

    def script(self, folder: str) -> Script:
        return self.scripts[f"directory {folder}"]

    @property
    def ids(self) -> set[str]:
        return {
            replica.id
            for replica in self.plane.fleet.pool("p").replicas.values()
            if not replica.draining
        }

    async def have(self, *ids: str) -> None:
        async def holds() -> bool:
            return self.ids == set(ids)

        await until(f"the fleet has {ids}, not {self.ids}", holds)

    async def said(self, folder: str, problem: str | None) -> None:
        def told() -> str | None:
            known = {source.source: source for source in self.plane.discoveries.report("p").sources}
            return known[f"directory {folder}"].problem

        async def holds() -> bool:
            return told() == problem

        await until(f"the problem is {problem}, not {told()}", holds)

    def serve(self) -> None:
        for target in self.plane.targets():
            self.plane.probed(target, Probe.HEALTHY, 0.0)


@asynccontextmanager
async def running(*folders: str) -> AsyncIterator[Run]:
    run = Run()
    run.follow(*folders)
    task = asyncio.create_task(run.discovery.run())

    async def open_() -> bool:
        return len(run.scripts) == len(folders) and all(item.begun for item in run.scripts.values())

    await until("the sources are asked", open_)
    try:
        yield run
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_a_source_yields_reaches_the_fleet_and_is_told() -> None:
    async with running("one") as run:
        run.script("one").found(1, 2)
        await run.have("r1", "r2")
        assert run.changes == 1
        run.script("one").found(1, 2, problem="something")
        await run.said("one", "something")
        assert run.changes == 1


async def test_a_source_that_fails_keeps_its_last_set_and_is_asked_again() -> None:
    async with running("one") as run:
        run.script("one").found(1)
        await run.have("r1")
        run.script("one").steps.put_nowait(SourceError("nobody answers"))
        await run.said("one", "nobody answers")
        assert run.plane.discoveries.report("p").sources[0].failing
        assert run.failures == 1
        assert run.ids == {"r1"}
        run.script("one").found(1, 2)
        run.resumed[False].set()
        await run.have("r1", "r2")
        await run.said("one", None)
        assert not run.plane.discoveries.report("p").sources[0].failing
        assert run.script("one").begun == 2


async def test_a_source_that_goes_on_failing_is_asked_ever_more_rarely() -> None:
    async with running("one") as run:
        for number in range(8):
            run.script("one").steps.put_nowait(SourceError(f"fails {number}"))
            await run.said("one", f"fails {number}")
            run.resumed[False].set()
        wanted = [min(FIRST_PAUSE * 2**power, LONGEST_PAUSE) for power in range(8)]
        assert all(w / 2 <= p <= w for w, p in zip(wanted, run.pauses, strict=True)), run.pauses
        run.script("one").found(1)
        await run.have("r1")
        run.script("one").steps.put_nowait(SourceError("fails again"))
        await run.said("one", "fails again")
        assert run.pauses[-1] <= FIRST_PAUSE


async def test_a_fault_in_one_source_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with running("one", "two") as run:
        run.script("one").steps.put_nowait(ZeroDivisionError("oops"))
        await run.said(
            "one", "a fault of the control plane, see its log: ZeroDivisionError('oops')"
        )
        assert "a fault of the control plane in directory one of pool p" in caplog.text
        run.script("two").found(2)
        await run.have("r2")


async def test_a_problem_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with running("one") as run:
        for ports in ((1,), (1, 2)):
            run.script("one").found(*ports, problem="bad file")
            await run.have(*(f"r{port}" for port in ports))
        run.script("one").found(1, 2, 3)
        await run.have("r1", "r2", "r3")
    said = [
        record.getMessage() for record in caplog.records if "directory one" in record.getMessage()
    ]
    assert said == [
        "pool p, directory one: bad file",
        "pool p, directory one: it works again",
    ]


async def test_sources_that_come_and_go_in_the_config_are_followed() -> None:
    async with running("one", "two") as run:
        run.script("one").found(1, 3)
        run.script("two").found(2)
        await run.have("r1", "r2", "r3")
        run.serve()
        run.follow("one", "three")
        run.plane.discover(0.0)
        await run.have("r1", "r3")

        async def open_() -> bool:
            return "directory three" in run.scripts

        await until("the new source is asked", open_)
        run.script("three").found(4)
        await run.have("r1", "r3", "r4")
        # The one that stayed was not begun anew, the one that went is told nothing any more.
        assert run.script("one").begun == 1
        run.script("two").found(2, 5)
        run.script("one").found(1, 3, 6)
        await run.have("r1", "r3", "r4", "r6")
        assert run.script("two").steps.qsize() == 1


async def test_a_source_whose_settings_change_begins_anew_with_what_it_had() -> None:
    async with running("one") as run:
        run.script("one").found(1)
        await run.have("r1")
        run.follow("one", interval="2s")

        async def anew() -> bool:
            return run.script("one").begun == 2

        await until("the source begins anew", anew)
        assert run.ids == {"r1"}


async def test_what_had_to_stay_goes_once_others_serve_in_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running("one") as run:
        run.script("one").found(1, 2)
        await run.have("r1", "r2")
        run.serve()
        run.script("one").found(3, 4)
        await run.have("r1", "r2", "r3", "r4")
        run.resumed[True].set()

        async def told() -> bool:
            return "r1, r2 stay, though no source has them any more" in caplog.text

        await until("it is logged", told)
        assert run.plane.discoveries.report("p").withheld == ("r1", "r2")
        run.serve()
        run.resumed[True].set()
        await run.have("r3", "r4")
        assert run.plane.discoveries.report("p").withheld == ()


async def test_a_pool_that_is_gone_is_found_nothing_for() -> None:
    async with running("one") as run:
        run.script("one").found(1)
        await run.have("r1")
        run.discovery.follow([])
        run.plane.discoveries.adopt([])
        run.script("one").found(1, 2)
        await asyncio.sleep(0.01)
        assert run.ids == {"r1"}
