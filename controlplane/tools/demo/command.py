"""``plimsoll demo``: run everything on this machine and watch the weights move."""

import asyncio
import json
import math
import tempfile
from collections import deque
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiohttp
import click
from rich.console import Console

from controlplane.cli.terminal import USAGE, Number, fail
from controlplane.client import Client, ReplicaInShort
from controlplane.tools.demo.layout import (
    PORTS,
    SLOW,
    SLOWED,
    Installed,
    Layout,
    free_ports,
    installed,
)
from controlplane.tools.demo.processes import DemoError, Processes
from controlplane.tools.demo.screen import Result, Row, Scene, Screen, speeds
from controlplane.tools.demo.stage import Stage
from controlplane.tools.demo.traffic import ROUND, SHORTEST, Act, Phase, acts, departures, fault
from controlplane.tools.interrupt import Interrupt, Stopped, together
from controlplane.tools.load.envoy import Tally
from controlplane.tools.load.generator import Generator
from controlplane.tools.load.record import Answer, Series, nearest_rank
from controlplane.tools.load.run import ANSWER
from controlplane.tools.load.schedule import Step

SAMPLE: Final = 0.5
"""Seconds between two looks at everything."""
RECENT: Final = 4.0
"""Seconds whose shares the table shows."""
_RECENT_REQUESTS: Final = 100
DEADLINE: Final = 30.0
"""Seconds after which a request has failed."""
MOST: Final = 10_000
"""Requests in flight at most; a rate of 1000 has more only where nothing answers."""


async def demonstrate(found: Installed, seconds: float, rate: float, screen: Screen) -> Result:
    """Run a demonstration from start to end; with 0 seconds until a signal."""
    interrupt = Interrupt()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plimsoll-demo-")))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        processes = await stack.enter_async_context(Processes(folder))
        layout = Layout.on(free_ports(PORTS))
        api = await stack.enter_async_context(Client(f"http://{layout.admin}", timeout=ANSWER))
        stage = Stage(layout, session, api)
        began = asyncio.get_running_loop().time()

        def ready(line: str) -> None:
            screen.say(f"{asyncio.get_running_loop().time() - began:4.1f} s  {line}")

        rising = stage.rise(found, processes, folder, ready)
        await together(rising, processes.watch(), interrupt.watch())
        play = _Play(stage, rate, seconds, screen)
        try:
            await together(play.run(), play.look_again(), processes.watch(), interrupt.watch())
        except Stopped:
            if seconds:
                raise
        return play.result()


class _Play:
    """Load on the sidecars, what is done to a replica meanwhile, and what is seen of it."""

    def __init__(self, stage: Stage, rate: float, seconds: float, screen: Screen) -> None:
        self._stage, self._seconds, self._screen = stage, seconds, screen
        self._step = Step(0, rate, 0.0, 0.0, seconds or math.inf)
        self._generator = Generator(
            [f"http://{sidecar.listener}/v1/embeddings" for sidecar in stage.layout.sidecars],
            [self._step],
            most=MOST,
            timeout=DEADLINE,
            fault=fault,
            answered=self._answered,
        )
        self._recent: deque[float] = deque(maxlen=_RECENT_REQUESTS)
        self._tally = Tally()
        self._reported: dict[str, ReplicaInShort] = {}
        self._undisturbed: dict[str, ReplicaInShort] = {}
        self._act = Act(0.0, Phase.UNDISTURBED)
        self._start = asyncio.get_running_loop().time()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._start

    @property
    def _outcome(self) -> Series:
        return self._generator.record.steps[0].whole

    def _answered(self, answer: Answer) -> None:
        if answer.fault is None:
            self._recent.append(answer.latency)

    async def run(self) -> None:
        load = self._generator.run(departures(self._step), self._start)
        await asyncio.gather(load, self._disturb())

    async def _disturb(self) -> None:
        slowed = next(each for each in self._stage.layout.replicas if each.id == SLOWED)
        for act in acts(self._seconds):
            await asyncio.sleep(act.at - self._now)
            # What was counted so far belongs to the act that ends here.
            await self._look(act.at)
            self._act = act
            match act.phase:
                case Phase.SLOWED:
                    self._undisturbed = self._undisturbed or dict(self._reported)
                    await self._stage.slow(slowed, SLOW)
                    self._screen.say(f"replica {SLOWED} now runs at {SLOW:g}× speed")
                case Phase.RESTORED:
                    await self._stage.slow(slowed, slowed.speed)
                    self._screen.say(f"replica {SLOWED} runs at {slowed.speed:g}× speed again")

    async def look_again(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE)
            await self._look(None)
            self._screen.show(self._scene())

    def result(self) -> Result:
        return Result.of(
            self._outcome,
            self._tally,
            self._undisturbed or self._reported,
            envoys=len(self._stage.layout.sidecars),
            slowed=SLOWED,
            seconds=self._seconds or ROUND,
        )

    async def _look(self, at: float | None) -> None:
        hosts, reported = await asyncio.gather(self._stage.hosts(), self._stage.reported())
        self._reported |= reported
        counts = {
            envoy: {id_: host.requests for id_, host in known.items()}
            for envoy, known in hosts.items()
        }
        self._tally.add(self._now if at is None else at, counts)

    def _scene(self) -> Scene:
        now, outcome, recent = self._now, self._outcome, [*self._recent]
        shares = self._tally.shares(now - RECENT, now)
        given = {replica.id: replica.speed for replica in self._stage.layout.replicas}
        return Scene(
            phase=self._act.phase,
            since=now - self._act.at,
            rate=self._step.rate,
            requests=outcome.requests,
            failed=outcome.failed,
            p50=nearest_rank(recent, 0.5) if recent else None,
            p99=nearest_rank(recent, 0.99) if recent else None,
            rows=[
                Row(id_, speed, self._reported.get(id_), shares.get(id_, 0.0))
                for id_, speed in speeds(given, self._act.phase).items()
            ],
        )


@click.command
@click.option(
    "--seconds",
    type=Number(min=0, max=86_400),
    default=60.0,
    show_default=True,
    help="Time for which requests are sent; 0: until Ctrl-C.",
)
@click.option(
    "--rate",
    type=Number(min=1, max=1000),
    default=20.0,
    show_default=True,
    help="Requests per second, through both Envoys together.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and no table.")
def command(seconds: float, rate: float, as_json: bool) -> None:
    """Run a control plane, four replicas and two Envoys here, and slow one replica down."""
    if 0 < seconds < SHORTEST:
        fail(f"--seconds: weights need {SHORTEST:g} s to move; give that or more, or 0", USAGE)
    console = Console(stderr=as_json)
    try:
        found = installed()
        with Screen(console, live=console.is_terminal and not as_json) as screen:
            result = asyncio.run(demonstrate(found, seconds, rate, screen))
    except DemoError as error:
        fail(str(error))
    except Stopped as stopped:
        raise SystemExit(stopped.code) from None
    if as_json:
        click.echo(json.dumps(result.as_json()))
    else:
        for sentence in result.sentences():
            click.echo(sentence)
    if result.outcome.failed:
        raise SystemExit(1)
