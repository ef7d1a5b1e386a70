"""The real control plane, ``plimsoll serve``, while it scrapes: what it takes, how late it is."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.machine import Watch, cpu_seconds, free_ports
from benchmarks.scrape.fleet import Asked, Fleet
from tests.processes import process, until

ASK_EVERY: Final = 0.1
"""Seconds between two requests to the REST API, that show how long the event loop was busy."""


@dataclass(frozen=True, slots=True)
class Period:
    """A time for which the control plane was watched.

    Attributes:
        seconds: How long.
        cpu: Seconds of CPU, user and system.
        rss: Bytes of resident memory at the end.
        peak: The most there were since the process began.
        asked: What the replicas saw.
        failed: Scrapes that yielded nothing.
        decisions: That were made.
        deciding: Seconds that they took altogether.
        answers: Milliseconds to each answer of the REST API.
        cores: Taken by the control plane, replicas, this process and all others, on average.
    """

    seconds: float
    cpu: float
    rss: int
    peak: int
    asked: Asked
    failed: int
    decisions: int
    deciding: float
    answers: list[float]
    cores: dict[str, float]

    @property
    def load(self) -> float:
        """Of one core."""
        return self.cpu / self.seconds

    @property
    def rate(self) -> float:
        """Scrapes per second."""
        return self.asked.scrapes / self.seconds


class Served:
    """A control plane that runs.

    Attributes:
        xds: Its xDS address.
    """

    def __init__(self, pid: int, admin: int, xds: int, session: aiohttp.ClientSession) -> None:
        self._pid = pid
        self._admin = f"http://127.0.0.1:{admin}"
        self._session = session
        self.xds = f"127.0.0.1:{xds}"

    async def answers(self, path: str = "/livez") -> bool:
        """Whether it says that it is well."""
        try:
            async with self._session.get(self._admin + path) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def watch(self, fleet: Fleet, seconds: float) -> Period:
        """Watch it for so long."""
        before = await self._told()
        await fleet.forget()
        watch = Watch({"plane": [self._pid], "replicas": fleet.pids})
        begun, cpu = time.monotonic(), cpu_seconds({"plane": [self._pid]})["plane"]
        answers = await self._ask_until(begun + seconds)
        took, cpu = time.monotonic() - begun, cpu_seconds({"plane": [self._pid]})["plane"] - cpu
        cores, asked, memory = watch.cores(), await fleet.asked(), memory_of(self._pid)
        after = await self._told()
        return Period(
            seconds=took,
            cpu=cpu,
            rss=memory["VmRSS"],
            peak=memory["VmHWM"],
            asked=asked,
            failed=round(after["failed"] - before["failed"]),
            decisions=round(after["decisions"] - before["decisions"]),
            deciding=after["deciding"] - before["deciding"],
            answers=answers,
            cores=cores,
        )

    async def _ask_until(self, end: float) -> list[float]:
        took = []
        due = time.monotonic()
        while due < end and time.monotonic() < end:
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            await self.answers()
            # From when it should have been asked: whoever waits for an answer asks less often.
            took.append(1000 * (time.monotonic() - due))
            due += ASK_EVERY
        return took

    async def _told(self) -> dict[str, float]:
        """What it says of itself. That takes long, so it is not asked while it is watched."""
        async with self._session.get(f"{self._admin}/metrics") as response:
            text = await response.text()
        series = {
            "failed": 'plimsoll_scrapes_total{result="failed"}',
            "decisions": "plimsoll_decision_seconds_count",
            "deciding": "plimsoll_decision_seconds_sum",
        }
        return {name: value_of(text, each) for name, each in series.items()}


@asynccontextmanager
async def served(fleet: Fleet, folder: Path) -> AsyncIterator[Served]:
    """Run a control plane that scrapes a fleet."""
    admin, xds = free_ports(2)
    config = folder / "plimsoll.yaml"
    fleet.write_config(config, admin, xds)
    command = (sys.executable, "-m", "controlplane", "serve", "--config", config)
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        process(*command, "--log-level", "warning", log=folder / "plimsoll.log") as started,
    ):
        plane = Served(started.pid, admin, xds, session)
        await until(f"plimsoll serves; see {folder}", partial(plane.answers, "/readyz"))
        yield plane


def memory_of(pid: int) -> dict[str, int]:
    """``VmRSS`` and ``VmHWM`` of a process, bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {name: int(found[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM")}


def value_of(text: str, series: str) -> float:
    """The value of one series of an exposition; 0 where it is not there."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
