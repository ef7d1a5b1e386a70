"""Kill −9 at random moments under writes: nothing that was answered is lost, nothing is half done.

Whole control planes are killed, reached over real HTTP. Whoever writes remembers what was answered;
of the one request that was not, either all has happened or nothing. The audit log says the same.

``PLIMSOLL_KILLS=500`` has each test make so many rounds, however long they take, and
``PLIMSOLL_KILLS_SEED`` repeats the moments of a run.
"""

import asyncio
import json
import math
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.processes import DEADLINE, free_port, process, serving, until

ROUNDS = int(os.environ.get("PLIMSOLL_KILLS", "200"))
REAL_ROUNDS = int(os.environ.get("PLIMSOLL_KILLS", "3"))
"""Of the program as users start it, which takes a second for that."""
SECONDS = math.inf if "PLIMSOLL_KILLS" in os.environ else 4.0
"""After so many no further round begins, unless it was said how many there are to be."""
LONGEST = 0 if "PLIMSOLL_KILLS" in os.environ else 900
SEED = int(os.environ.get("PLIMSOLL_KILLS_SEED", time.time_ns() % 1_000_000))
LEAST = 10
REAL_LEAST = 2
"""Rounds, however slow the machine is."""

EARLY = 0.3
"""Part of the rounds before which the real program is also killed while it starts."""

MOST_WRITES = 30
"""Answered in a round before the kill, which comes within `MOMENT` seconds then."""
MOMENT = 0.01

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
            left = {key: item for key, item in now.items() if key != id_}
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
        found[name] = {
            replica["id"]: (replica["slots"], replica["draining"] == "operator")
            for replica in replicas
        }
    return found


async def audited(
    session: aiohttp.ClientSession, url: str
) -> dict[tuple[str, str | None], dict[str, Any] | None]:
    """What pools and replicas have come to, by what the audit log says of them last."""
    async with session.get(f"{url}/v1/audit?limit=1000") as response:
        entries = (await response.json())["entries"]
    numbers = [entry["number"] for entry in entries]
    assert numbers == list(range(numbers[0], numbers[0] - len(numbers), -1)) if numbers else True
    found: dict[tuple[str, str | None], dict[str, Any] | None] = {}
    for entry in reversed(entries):
        name, after = entry["pool"], entry["after"]
        if entry["replica"] is None and after is None:
            # It takes its replicas with it without a word about each.
            found = {key: None if key[0] == name else item for key, item in found.items()}
        found[name, entry["replica"]] = after
    return found


def agrees(
    said: dict[tuple[str, str | None], dict[str, Any] | None], there: dict[str, dict[str, Shown]]
) -> bool:
    """Whether the audit log has led to what there is."""
    for (name, id_), after in said.items():
        if id_ is None:
            if (after is not None) != (name in there):
                return False
            continue
        shown = None if after is None else (after["slots"], after["draining"] == "operator")
        if shown != there.get(name, {}).get(id_):
            return False
    return True


def written(writers: Sequence[Writer]) -> int:
    """How many of their requests were answered."""
    return sum(writer.expected.writes for writer in writers)


async def killed_once(
    url: str, kill: Callable[[], None], writers: Sequence[Writer], chance: random.Random
) -> None:
    """Look at what a control plane has kept, write to it, and kill it meanwhile."""
    async with aiohttp.ClientSession(trust_env=False) as session:
        there = await contents(session, url)
        for writer in writers:
            writer.settle(there.get(writer.pool))
        said = await audited(session, url)
        assert agrees(said, there), (said, there)
        # The newest entries reach back far enough to tell of most of them.
        assert len(said) > len(writers) or written(writers) < 50
        enough = written(writers) + chance.randint(0, MOST_WRITES)
        writing = [asyncio.create_task(item.write(session, url)) for item in writers]
        async with asyncio.timeout(DEADLINE):
            while written(writers) < enough:
                await asyncio.sleep(0.001)
        await asyncio.sleep(chance.uniform(0.0, MOMENT))
        kill()
        await asyncio.gather(*writing)


@pytest.mark.timeout(LONGEST)
async def test_a_kill_at_any_moment_loses_nothing_answered_and_half_applies_nothing(
    tmp_path: Path,
) -> None:
    chance, writers = begun()
    started, rounds = time.monotonic(), 0
    while rounds < ROUNDS:
        if time.monotonic() - started > SECONDS and rounds >= LEAST:
            break
        rounds += 1
        async with serving(tmp_path, []) as plane:
            await killed_once(f"http://{plane.admin}", plane.kill, writers, chance)
    told(rounds, writers)
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]
    assert written(writers) > rounds


@asynccontextmanager
async def program(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The real program, not forked from one that has all imported, as users start it."""
    command = (sys.executable, "-m", "controlplane", "serve", "--config", config)
    async with process(*command, log=config.with_suffix(".log")) as started:
        yield started


@pytest.mark.timeout(LONGEST)
async def test_a_kill_of_the_real_program_while_it_starts_or_serves_loses_nothing_either(
    tmp_path: Path,
) -> None:
    chance, writers = begun()
    admin, config = free_port(), tmp_path / "plimsoll.yaml"
    ports = {"admin": admin, "xds": free_port()}
    config.write_text(
        yaml.safe_dump({key: {"address": f"127.0.0.1:{port}"} for key, port in ports.items()})
    )
    url = f"http://127.0.0.1:{admin}"

    async def answers() -> bool:
        with suppress(aiohttp.ClientError):
            async with aiohttp.request("GET", f"{url}/livez"):
                return True
        return False

    began, rounds, early = time.monotonic(), 0, 0
    while rounds < REAL_ROUNDS:
        if time.monotonic() - began > SECONDS and rounds >= REAL_LEAST:
            break
        rounds += 1
        if chance.random() < EARLY:
            early += 1
            async with program(config) as started:
                with suppress(TimeoutError):
                    # About as long as it takes to start.
                    await asyncio.wait_for(started.wait(), chance.uniform(0.0, 2.0))
                assert started.returncode is None, config.with_suffix(".log").read_text()
                started.kill()
        async with program(config) as started:
            await until("plimsoll serves", answers)
            await killed_once(url, started.kill, writers, chance)
    told(rounds, writers, f", {early} more while it started")
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]
    assert written(writers) > rounds


def begun() -> tuple[random.Random, list[Writer]]:
    """Chance, and writers that make the same moves with the same seed; pytest shows it."""
    print(f"PLIMSOLL_KILLS_SEED={SEED}")  # noqa: T201 - with a failure
    chance = random.Random(SEED)  # noqa: S311 - the same moments with the same seed, nearly
    return chance, [Writer(number, chance.randrange(1 << 30)) for number in range(WRITERS)]


def told(rounds: int, writers: Sequence[Writer], more: str = "") -> None:
    """What was done, for who runs hundreds with ``-s``."""
    print(f"{rounds} kills{more}, {written(writers)} writes answered")  # noqa: T201 - as said
