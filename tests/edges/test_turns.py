"""Long work gives way to others, and what comes of it is the same."""

import asyncio
import json
from itertools import count
from typing import Any

import pytest

from controlplane.edges.turns import FEW, SLICE, Turns, encoded


async def others(turns: Turns, pieces: int) -> int:
    """How often others have their turn during so many pieces of work."""
    had = 0

    async def count_turns() -> None:
        nonlocal had
        while True:
            await asyncio.sleep(0)
            had += 1

    other = asyncio.create_task(count_turns())
    for _ in range(pieces):
        await turns.give_way()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    return had


async def test_others_have_a_turn_after_every_slice() -> None:
    ticks = count()
    assert await others(Turns(lambda: next(ticks) * SLICE), 100) >= 50


async def test_short_work_is_not_interrupted() -> None:
    assert await others(Turns(lambda: 0.0), 100) == 0


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": 1, "b": [1, "2", None, {"c": 0.5}]},
        {"replicas": [{"id": f"r{n}", "list": [n]} for n in range(FEW * 3)], "next": None},
        {"pools": [{"name": "p", "replicas": [{"ü": '"'}] * (FEW + 1)}, {"name": "q"}]},
    ],
)
async def test_what_is_encoded_in_pieces_is_the_same(document: dict[str, Any]) -> None:
    assert await encoded(document, Turns()) == json.dumps(document)


async def test_a_long_list_is_encoded_in_pieces() -> None:
    ticks = count()
    turns = Turns(lambda: next(ticks) * SLICE)
    await encoded({"pools": [{"replicas": [{"id": n} for n in range(FEW + 1)]}]}, turns)
    assert next(ticks) > FEW
