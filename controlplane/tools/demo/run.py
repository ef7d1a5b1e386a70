"""The whole of it: start, send, disturb, watch, sum up, and leave nothing behind."""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import aiohttp

from controlplane.tools.demo.installed import Installed
from controlplane.tools.demo.layout import PORTS, SLOW, SLOWED, Layout, free_ports
from controlplane.tools.demo.load import Load, percentile
from controlplane.tools.demo.processes import Processes
from controlplane.tools.demo.result import Result
from controlplane.tools.demo.stage import Stage
from controlplane.tools.demo.story import ROUND, Act, Phase, acts
from controlplane.tools.demo.table import Row, Scene, speeds
from controlplane.tools.load.envoy_stats import Tally
from controlplane.tools.load.interrupt import Interrupt, Stopped
from controlplane.tools.load.standing import Standing
from controlplane.tools.load.together import together

SAMPLE: Final = 0.5
"""Seconds between two looks at everything."""
RECENT: Final = 4.0
"""Seconds of which the table shows the shares."""
_RECENT_REQUESTS: Final = 100
_SEED: Final = 1876


class Screen(Protocol):
    """Where it is shown."""

    def say(self, line: str) -> None:
        """Tell of something that has happened."""

    def show(self, scene: Scene) -> None:
        """Show how things are."""


async def demonstrate(found: Installed, seconds: float, rate: float, screen: Screen) -> Result:
    """Run a demonstration from start to end.

    Args:
        found: What to run.
        seconds: How long requests are sent; 0: until somebody stops it.
        rate: Requests per second.
        screen: To show it on.

    Raises:
        DemoError: Something cannot start, or has died.
        Stopped: Somebody stopped it before its end.
    """
    interrupt = Interrupt()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plimsoll-demo-")))
        connections = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connections))
        processes = await stack.enter_async_context(Processes(folder))
        stage = Stage(Layout.on(free_ports(PORTS)), session)
        began = asyncio.get_running_loop().time()

        def ready(line: str) -> None:
            screen.say(f"{asyncio.get_running_loop().time() - began:4.1f} s  {line}")

        rising = stage.rise(found, processes, folder, ready)
        await together(rising, processes.watch(), interrupt.watch())
        urls = [f"http://{it.listener}/v1/embeddings" for it in stage.layout.sidecars]
        play = _Play(stage, Load(session, urls, rate, _SEED), rate, screen.show, screen.say)
        try:
            await together(
                play.run(seconds),
                play.load.run(),
                play.look_again(),
                processes.watch(),
                interrupt.watch(),
            )
        except Stopped:
            if seconds:
                raise
        return play.result(seconds or ROUND)


@dataclass(slots=True)
class _Play:
    """What has happened since the load began."""

    stage: Stage
    load: Load
    rate: float
    show: Callable[[Scene], None]
    say: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)
    standings: dict[str, Standing] = field(default_factory=dict)
    undisturbed: dict[str, Standing] = field(default_factory=dict)
    act: Act = field(default_factory=lambda: Act(0.0, Phase.UNDISTURBED))
    _start: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._start

    async def run(self, seconds: float) -> None:
        """Let one act follow the other."""
        slowed = next(it for it in self.stage.layout.replicas if it.id == SLOWED)
        for act in acts(seconds):
            await asyncio.sleep(act.at - self._now)
            # What was counted so far belongs to the act that ends here.
            await self._look(act.at)
            self.act = act
            match act.phase:
                case Phase.SLOWED:
                    self.undisturbed = self.undisturbed or dict(self.standings)
                    await self.stage.slow(slowed, SLOW)
                    self.say(f"replica {SLOWED} now runs at {SLOW:g}× speed")
                case Phase.RESTORED:
                    await self.stage.slow(slowed, slowed.speed)
                    self.say(f"replica {SLOWED} runs at {slowed.speed:g}× speed again")
        await self.load.finish()

    async def look_again(self) -> None:
        """Look at everything, again and again."""
        while True:
            await asyncio.sleep(SAMPLE)
            await self._look(None)
            self.show(self._scene())

    def result(self, seconds: float) -> Result:
        """Sum up, `seconds` being the length of the first round."""
        return Result.of(
            self.load.outcome,
            self.tally,
            self.undisturbed or self.standings,
            envoys=len(self.stage.layout.sidecars),
            slowed=SLOWED,
            seconds=seconds,
        )

    async def _look(self, at: float | None) -> None:
        hosts, standings = await asyncio.gather(self.stage.hosts(), self.stage.standings())
        self.standings |= standings
        counts = {
            envoy: {id_: host.requests for id_, host in known.items()}
            for envoy, known in hosts.items()
        }
        self.tally.add(self._now if at is None else at, counts)

    def _scene(self) -> Scene:
        now, outcome = self._now, self.load.outcome
        shares = self.tally.shares(now - RECENT, now)
        given = {replica.id: replica.speed for replica in self.stage.layout.replicas}
        return Scene(
            phase=self.act.phase,
            since=now - self.act.at,
            rate=self.rate,
            requests=outcome.requests,
            failed=outcome.failed,
            p50=percentile(outcome.latencies[-_RECENT_REQUESTS:], 0.5),
            p99=percentile(outcome.latencies[-_RECENT_REQUESTS:], 0.99),
            rows=[
                Row(id_, speed, self.standings.get(id_, Standing()), shares.get(id_, 0.0))
                for id_, speed in speeds(given, self.act.phase).items()
            ],
        )
