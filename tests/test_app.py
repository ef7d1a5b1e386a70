"""How often Envoys are told: at once, and then not again before the push interval is over."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import chain, count, repeat
from pathlib import Path

import pytest

from controlplane import app
from controlplane.app import running, steer
from controlplane.config import load_config
from controlplane.fleet import Command, Drain, Undrain
from controlplane.latest import Latest, Notice
from controlplane.plane import PUSH_INTERVAL, Plane, Probe
from controlplane.plane.recovery import DECIDING, SAVED
from controlplane.resources.catalog import Catalog
from controlplane.xds import Offer
from tests.planes import declare
from tests.processes import DEADLINE, until

CONFIG = load_config(
    """
pools:
  - name: minilm
    model: all-MiniLM-L6-v2
    listener: {address: "127.0.0.1:10000"}
    replicas: [{id: a, address: "127.0.0.1:9001"}]
""",
    "plimsoll.yaml",
)


class Steered:
    """A plane that is steered, with a sleep that ends when the test says so.

    Its decisions take seconds of CPU as `costs` has it, and nothing else does.
    """

    def __init__(self, costs: Iterable[float]) -> None:
        self._costs, self._cpu = iter(costs), 0.0
        self.plane = Plane(0.0)
        self._deciding = self.plane.deciding
        self.plane.deciding = self.deciding  # type: ignore[method-assign]
        declare(self.plane, CONFIG, 0.0)
        self.slot: Latest[Offer | None] = Latest(None)
        self.woken = Notice(lambda: 0.0)
        self.decisions: list[float] = []
        self.asleep: asyncio.Queue[float] = asyncio.Queue()
        self.resume: asyncio.Queue[None] = asyncio.Queue()
        self.now = 100.0

    def deciding(self, now: float, envoys: int | None = None) -> Callable[[], Catalog]:
        self._cpu += next(self._costs)
        return self._deciding(now, envoys)

    async def sleep(self, seconds: float) -> None:
        self.asleep.put_nowait(seconds)
        await self.resume.get()
        self.now += seconds

    def report(self, seconds: float) -> tuple[()]:
        self.decisions.append(seconds)
        return ()

    async def run(self) -> None:
        await steer(
            self.plane,
            self.slot,
            self.woken,
            self.report,
            sleep=self.sleep,
            cpu=lambda: self._cpu,
            clock=lambda: self.now,
        )

    async def round(self) -> None:
        """Let it do what there is to do, and sleep."""
        self.woken.set()
        assert await self.asleep.get() == PUSH_INTERVAL
        self.resume.put_nowait(None)

    def answer(self, probe: Probe) -> None:
        target = self.plane.target("minilm", "a")
        assert target is not None
        self.plane.probed(target, probe, 0.0)
        self.woken.set()


@asynccontextmanager
async def steering(costs: Iterable[float] = repeat(0.0)) -> AsyncIterator[Steered]:
    """A plane that is steered until the test is over."""
    steered = Steered(costs)
    task = asyncio.create_task(steered.run())
    try:
        async with asyncio.timeout(DEADLINE):
            yield steered
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_change_is_pushed_at_once_and_the_next_one_after_the_interval() -> None:
    async with steering() as steered:
        steered.answer(Probe.UNHEALTHY)
        assert await steered.asleep.get() == PUSH_INTERVAL
        assert steered.slot.revision == 1
        # While it sleeps a second change comes; Envoys hear of it when the interval is over.
        steered.answer(Probe.HEALTHY)
        for _ in range(10):
            await asyncio.sleep(0)
        assert steered.slot.revision == 1
        steered.resume.put_nowait(None)
        assert await steered.asleep.get() == PUSH_INTERVAL
        assert steered.slot.revision == 2


async def test_what_changes_nothing_for_envoy_is_not_pushed() -> None:
    async with steering() as steered:
        for _ in range(3):
            steered.answer(Probe.HEALTHY)
            await steered.round()
        assert steered.slot.revision == 1
        assert len(steered.decisions) == 3


async def test_a_look_at_nothing_new_does_not_put_off_what_comes_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "IDLE_INTERVAL", 0.0)
    async with steering() as steered:
        steered.answer(Probe.HEALTHY)
        await steered.round()
        while len(steered.decisions) < 5:
            await asyncio.sleep(0)
        assert steered.asleep.empty()
        steered.plane.apply(Drain("minilm", "a"), 0.0)
        await steered.round()
        assert steered.slot.revision == 2


async def test_one_decision_that_takes_long_delays_nothing_and_two_do() -> None:
    async with steering(repeat(60.0)) as steered:
        for _ in range(3):
            steered.answer(Probe.HEALTHY)
            await steered.round()
        assert len(steered.decisions) == 2


async def test_a_drain_does_not_wait_for_the_next_decision() -> None:
    async with steering(repeat(60.0)) as steered:
        for _ in range(2):
            steered.answer(Probe.HEALTHY)
            await steered.round()
        steered.plane.apply(Drain("minilm", "a"), 0.0)
        await steered.round()
        assert len(steered.decisions) == 2
        assert steered.slot.revision == 2
        assert steered.slot.value is not None
        catalog = steered.slot.value.catalog
        assert isinstance(catalog, Catalog)
        (member,) = catalog.pools["minilm"].members
        assert member.draining


async def test_what_is_told_meanwhile_does_not_put_the_decision_off() -> None:
    # The first decision takes all that was saved up, and each other one what is in two rounds.
    async with steering(chain([SAVED], repeat(2 * DECIDING * PUSH_INTERVAL))) as steered:
        steered.answer(Probe.HEALTHY)
        for step in range(40):
            command: Command = Undrain("minilm", "a") if step % 2 else Drain("minilm", "a")
            steered.plane.apply(command, 0.0)
            await steered.round()
        assert len(steered.decisions) == pytest.approx(20, abs=2)


async def test_what_waited_for_a_decision_was_noticed_when_it_was_noticed() -> None:
    # More than was saved up: the next decision waits for longer than a round.
    times, costs = count(1.0), chain([SAVED], repeat(3.5 * DECIDING * PUSH_INTERVAL))
    async with steering(costs) as steered:
        steered.woken = Notice(lambda: next(times))
        for probe in (Probe.UNHEALTHY, Probe.UNHEALTHY, Probe.HEALTHY):
            steered.answer(probe)
            await steered.round()
        assert len(steered.decisions) == 2
        while steered.slot.revision < 2:
            await steered.round()
        assert steered.slot.value is not None
        assert steered.slot.value.noticed_at == 3.0


async def test_where_envoys_send_spans_takes_a_restart_to_change_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "plimsoll.yaml"
    servers = 'admin: {address: "127.0.0.1:0"}\nxds: {address: "127.0.0.1:0"}\n'
    path.write_text(servers)
    async with running(load_config(servers, "plimsoll.yaml"), path):
        path.write_text(f'{servers}otlp: {{address: "127.0.0.1:4317"}}\n')

        async def says() -> bool:
            return f"{path}:3: otlp: cannot change while the control plane runs" in caplog.text

        await until("the change is refused", says)


async def test_a_config_file_that_was_emptied_is_not_used_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "plimsoll.yaml"
    servers = 'admin: {address: "127.0.0.1:0"}\nxds: {address: "127.0.0.1:0"}\n'
    path.write_text(servers)
    async with running(load_config(servers, "plimsoll.yaml"), path):
        path.write_text("# nothing\n")

        async def says() -> bool:
            return f"the previous one applies: {path}: is empty" in caplog.text

        await until("the empty file is refused", says)
