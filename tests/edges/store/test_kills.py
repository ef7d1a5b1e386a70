"""Kill −9 at random moments under writes: nothing that was answered is lost, nothing is half done.

Whole control planes are killed, reached over real HTTP. Whoever writes remembers what was answered;
of the one request that was not, either all has happened or nothing.

Most are forked by a program that has all imported, hundreds in a minute. Others are the real
``plimsoll serve``, killed while it starts, reads what it kept, or writes. There are as many rounds
as ``PLIMSOLL_KILLS`` says, or as time allows. ``PLIMSOLL_KILLS_SEED`` repeats the moments of a run.
"""

import asyncio
import json
import math
import os
import random
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
import yaml

from tests.forked import Forked
from tests.processes import DEADLINE

ROUNDS = int(os.environ.get("PLIMSOLL_KILLS", "200"))
SECONDS = math.inf if "PLIMSOLL_KILLS" in os.environ else 20.0
"""After so many no further round begins, unless it was said how many there are to be."""

REAL_ROUNDS = int(os.environ.get("PLIMSOLL_KILLS", "15"))
REAL_SECONDS = math.inf if "PLIMSOLL_KILLS" in os.environ else 15.0
"""The same with the real program, which takes a second to start."""

SEED = int(os.environ.get("PLIMSOLL_KILLS_SEED", time.time_ns() % 1_000_000))

LEAST = 3
"""Rounds that there are, however long they take."""

MOST_WRITES = 40
"""Writes that are answered in a round before the kill, which may come in the middle of any."""

WRITERS = 3
IDS = 4

Shown = tuple[int, bool]
"""Slots, and whether it is drained."""

Content = dict[str, Shown] | None
"""Of a pool: its replicas by id. None: there is no such pool."""


@dataclass
class Expected:
    """What a pool must be after a restart: as answered, or with the open request carried out."""

    answered: Content = None
    asked: Content = None
    writes: int = 0


class Planes(Protocol):
    """Starts control planes."""

    @property
    def started(self) -> list[int]:
        """The pid of each."""

    async def start(self, config: Path) -> tuple[int, str]:
        """Start one; returns its pid and the URL of its API, which answers."""


@dataclass
class Forks:
    """Has them forked."""

    folder: Path
    forks: list[Forked] = field(default_factory=list)

    @property
    def started(self) -> list[int]:
        """The pid of each that has answered."""
        return [it.pid for it in self.forks]

    async def start(self, config: Path) -> tuple[int, str]:
        """Start one; returns its pid and the URL of its API."""
        log = self.folder / f"{len(self.forks)}.log"
        forked = await Forked.start(log, "serve", "--config", config)
        said = b""
        async with asyncio.timeout(DEADLINE):
            while (url := api(said)) is None:
                assert forked.returncode is None, said.decode()
                await asyncio.sleep(0.005)
                said = log.read_bytes() if log.exists() else b""
        self.forks.append(forked)
        return forked.pid, url

    async def end(self) -> None:
        """Wait for the end of all, which were killed."""
        for fork in self.forks:
            await fork.wait()


@dataclass
class Programs:
    """Runs the real program."""

    folder: Path
    chance: random.Random
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)
    early: int = 0

    @property
    def started(self) -> list[int]:
        """The pid of each that has answered."""
        return [it.pid for it in self.processes]

    async def start(self, config: Path) -> tuple[int, str]:
        """Start one; now and then one before it, which is killed before it is ready."""
        if self.chance.random() < 0.3:
            self.early += 1
            await self._killed_early(config)
        process = await self._run(config)
        assert process.stderr is not None
        while (url := api(said := await asyncio.wait_for(process.stderr.readline(), 60))) is None:
            assert said, await process.wait()
        self.processes.append(process)
        return process.pid, url

    async def end(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _killed_early(self, config: Path) -> None:
        process = await self._run(config)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), self.chance.uniform(0.0, 2.0))
        assert process.returncode is None, "it ended by itself"
        process.kill()
        await process.wait()

    async def _run(self, config: Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controlplane", "serve", "--config", config),
            stderr=asyncio.subprocess.PIPE,
        )


def api(said: bytes) -> str | None:
    """Where the API of a control plane is, by what it has said so far."""
    url, comma, _ = said.partition(b"REST on ")[2].partition(b",")
    return url.decode() if comma else None


class Writer:
    """Changes one pool again and again, and knows what must be there."""

    def __init__(self, number: int, seed: int) -> None:
        self.pool = f"pool-{number}"
        self.listener = f"127.0.0.1:{10000 + number}"
        self.random = random.Random(seed)  # noqa: S311 - the same moves with the same seed
        self.expected = Expected()

    async def write(self, session: aiohttp.ClientSession, url: str) -> None:
        """Write until nobody answers."""
        while True:
            method, path, body, after = self._next()
            self.expected.asked = after
            try:
                async with session.request(
                    method, f"{url}/v1/pools/{self.pool}{path}", json=body
                ) as response:
                    text = await response.read()
            except (aiohttp.ClientError, TimeoutError):
                return
            assert response.status in (200, 201, 204), text
            self.expected.answered = after
            self.expected.writes += 1

    def _next(self) -> tuple[str, str, Any, Content]:
        """A request that will be carried out, and what there is after it."""
        now = self.expected.answered
        if now is None:
            settings = {"model": "m", "listener": {"address": self.listener}}
            return "PUT", "", settings, {}
        move = self.random.random()
        if move < 0.05:
            return "DELETE", "", None, None
        id_ = f"r{self.random.randrange(IDS)}"
        path = f"/replicas/{id_}"
        if id_ not in now or move < 0.5:
            slots = self.random.randint(1, 1000)
            drained = now[id_][1] if id_ in now else False
            address = f"127.0.0.1:{20000 + int(id_[1:])}"
            return "PUT", path, {"address": address, "slots": slots}, now | {id_: (slots, drained)}
        if move < 0.7:
            left = {key: it for key, it in now.items() if key != id_}
            return "DELETE", f"{path}?force=true", None, left
        slots, drained = now[id_]
        verb = "undrain" if drained else "drain"
        return "POST", f"{path}/{verb}", None, now | {id_: (slots, not drained)}

    def settle(self, found: Content) -> None:
        """Compare with what is there, and go on from it."""
        allowed = (self.expected.answered, self.expected.asked)
        assert found in allowed, (self.pool, found, allowed)
        self.expected.answered = self.expected.asked = found


async def contents(session: aiohttp.ClientSession, url: str) -> dict[str, dict[str, Shown]]:
    """What a control plane says there is."""
    found: dict[str, dict[str, Shown]] = {}
    async with session.get(f"{url}/v1/pools") as response:
        names = [pool["name"] for pool in (await response.json())["pools"]]
    for name in names:
        async with session.get(f"{url}/v1/pools/{name}/replicas") as response:
            replicas = json.loads(await response.read())["replicas"]
        found[name] = {it["id"]: (it["slots"], it["draining"] == "operator") for it in replicas}
    return found


async def killed_again_and_again(
    planes: Planes, folder: Path, chance: random.Random, rounds: int, seconds: float
) -> int:
    """Have planes killed while they are written to, and look at what each finds when it starts.

    Returns:
        How many writes were answered.
    """
    config = folder / "plimsoll.yaml"
    ports = {"admin": {"address": "127.0.0.1:0"}, "xds": {"address": "127.0.0.1:0"}}
    config.write_text(yaml.safe_dump(ports))
    writers = [Writer(number, chance.randrange(1 << 30)) for number in range(WRITERS)]
    begun = time.monotonic()
    for number in range(rounds + 1):
        is_last = number == rounds or (number >= LEAST and time.monotonic() - begun > seconds)
        pid, url = await planes.start(config)
        is_killed = False
        try:
            async with aiohttp.ClientSession(trust_env=False) as session:
                there = await contents(session, url)
                for writer in writers:
                    writer.settle(there.get(writer.pool))
                if is_last:
                    break
                enough = sum(it.expected.writes for it in writers) + chance.randrange(MOST_WRITES)
                writing = [asyncio.create_task(it.write(session, url)) for it in writers]
                async with asyncio.timeout(60):
                    while sum(it.expected.writes for it in writers) < enough:
                        await asyncio.sleep(0.001)
                await asyncio.sleep(chance.uniform(0.0, 0.02))
                os.kill(pid, signal.SIGKILL)
                is_killed = True
                await asyncio.gather(*writing)
        finally:
            # Whatever has happened: nobody else ends it.
            if not is_killed:
                os.kill(pid, signal.SIGKILL)
    assert not [name for name in os.listdir(folder) if "damaged" in name]
    return sum(it.expected.writes for it in writers)


@pytest.mark.timeout(900 if math.inf > SECONDS else 0)
async def test_a_kill_at_any_moment_loses_nothing_answered_and_half_applies_nothing(
    tmp_path: Path,
) -> None:
    print(f"PLIMSOLL_KILLS_SEED={SEED}")  # noqa: T201 - pytest shows it with a failure
    chance = random.Random(SEED)  # noqa: S311 - the same moments with the same seed, nearly
    forks = Forks(tmp_path)
    writes = await killed_again_and_again(forks, tmp_path, chance, ROUNDS, SECONDS)
    await forks.end()
    print(f"{len(forks.started)} kills, {writes} writes")  # noqa: T201 - as above
    assert writes > len(forks.started)


@pytest.mark.timeout(900 if math.inf > SECONDS else 0)
async def test_a_kill_of_the_real_program_at_any_moment_loses_nothing_either(
    tmp_path: Path,
) -> None:
    print(f"PLIMSOLL_KILLS_SEED={SEED}")  # noqa: T201 - as above
    chance = random.Random(SEED)  # noqa: S311 - as above
    programs = Programs(tmp_path, chance)
    try:
        writes = await killed_again_and_again(programs, tmp_path, chance, REAL_ROUNDS, REAL_SECONDS)
    finally:
        await programs.end()
    killed = f"{len(programs.started)} kills, {programs.early} more while starting"
    print(f"{killed}, {writes} writes")  # noqa: T201 - as above
    assert writes > 0
