"""A config file of thousands of replicas is taken in while the control plane answers others."""

import time
from pathlib import Path
from typing import Any

import yaml

from controlplane import fleet as fleets
from controlplane.config import Config, load_config
from controlplane.fleet import Fleet
from tests.processes import Plimsoll, serving, until

REPLICAS = 3000
TRIES = 4
"""Changes of the file: a busy machine holds up some answers, and one that stands still holds up
the answers to all of them."""


def pool(concurrency: int) -> dict[str, Any]:
    """A pool of replicas at which nobody listens."""
    return {
        "name": "p",
        "model": "m",
        "listener": {"address": "127.0.0.1:9"},
        "metrics": {"profile": "none", "interval": "60s"},
        "replicas": [
            {"id": f"r{i}", "address": f"127.0.{i // 250}.{i % 250 + 1}:1", "slots": concurrency}
            for i in range(REPLICAS)
        ],
    }


def in_one_piece(before: Config, after: Config) -> float:
    """Seconds of CPU that it takes to work out what a changed file changes in the fleet."""
    fleet = fleets.declare(Fleet(), before, 0.0).fleet
    begun = time.thread_time()
    fleets.declare(fleet, after, 0.0)
    return time.thread_time() - begun


async def longest_answer(plane: Plimsoll, file: Path, text: str, concurrency: int) -> float:
    """Change the file; return the seconds of the longest answer until all follows from it."""
    beside = file.with_name("new")
    beside.write_text(text)
    beside.replace(file)
    longest, after = 0.0, 0
    while after < 100:
        asked = time.monotonic()
        found = await plane.get(f"/v1/pools/p/replicas/r{REPLICAS - 1}")
        longest = max(longest, time.monotonic() - asked)
        after += found["slots"] == concurrency
    return longest


async def test_no_answer_waits_for_a_large_config_file(tmp_path: Path) -> None:
    async with serving(tmp_path, [pool(1)]) as plane:
        file = tmp_path / "plimsoll.yaml"
        data = yaml.safe_load(file.read_text())
        texts = [yaml.safe_dump(data | {"pools": [pool(count + 1)]}) for count in range(TRIES + 1)]
        configs = [load_config(text, "") for text in texts[:2]]

        async def is_ready() -> bool:
            return await plane.get("/readyz") is not None

        await until("all replicas have been asked once", is_ready)
        for tried in range(1, TRIES + 1):
            piece = in_one_piece(*configs)
            longest = await longest_answer(plane, file, texts[tried], tried + 1)
            if longest < 1.5 * piece:
                break
        assert longest < 1.5 * piece
