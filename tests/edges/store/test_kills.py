"""Kill −9 at random moments under writes: nothing that was answered is lost, nothing is half done.

Whole control planes are killed, reached over real HTTP. Whoever writes remembers what was answered;
of the one request that was not, either all has happened or nothing.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.processes import DEADLINE, serving

ROUNDS = int(os.environ.get("PLIMSOLL_KILLS", "200"))
SECONDS = None if "PLIMSOLL_KILLS" in os.environ else 20.0
"""After so many no further round begins, unless it was said how many there are to be."""
LEAST = 10
"""Rounds, however slow the machine is."""

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


def written(writers: Sequence[Writer]) -> int:
    """How many of their requests were answered."""
    return sum(it.expected.writes for it in writers)


@pytest.mark.timeout(900)
async def test_a_kill_at_any_moment_loses_nothing_answered_and_half_applies_nothing(
    tmp_path: Path,
) -> None:
    chance = random.Random(4711)  # noqa: S311 - the same moments with the same seed, nearly
    writers = [Writer(number, 4711 + number) for number in range(WRITERS)]
    begun, rounds = time.monotonic(), 0
    while rounds < ROUNDS:
        if SECONDS is not None and time.monotonic() - begun > SECONDS and rounds >= LEAST:
            break
        rounds += 1
        async with (
            serving(tmp_path, []) as plane,
            aiohttp.ClientSession(trust_env=False) as session,
        ):
            url = f"http://{plane.admin}"
            there = await contents(session, url)
            for writer in writers:
                writer.settle(there.get(writer.pool))
            enough = written(writers) + chance.randint(0, MOST_WRITES)
            writing = [asyncio.create_task(it.write(session, url)) for it in writers]
            async with asyncio.timeout(DEADLINE):
                while written(writers) < enough:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(chance.uniform(0.0, MOMENT))
            plane.kill()
            await asyncio.gather(*writing)
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]
    assert written(writers) > rounds
